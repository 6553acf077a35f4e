"""Extra data from folds to a run: images left out, recorded inputs, and later verbs."""

import json
import shutil

import pytest
from tiny_run import pristine

from kit import lineage, phantom, recipes
from kit.competition import layout
from kit.core.errors import KitError
from kit.data import patients
from kit.inference import maps
from kit.report import provenance
from kit.workflows.check import check
from kit.workflows.extra import open_extra
from kit.workflows.folds import describe_extra, make_folds
from kit.workflows.train import Job, train
from kit.workflows.workspace import Workspace, open_run

RECIPE = """
about: One network with extra data and one without.
folds: {holdout: 0.5}
network:
  encoder: tu-test_resnet
  encoder_weights: null
  decoder_channels: [8, 8, 8, 8, 8]
  image_head: true
loss: {image: 0.3}
extra: {data: more, labels: image, weight: 0.5}
stages:
  - {size: 32, epochs: 1, batch_size: 4}
members: {a: {}, b: {extra: null}}
"""
COUNT = 12


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set, and another one without test images, which has images of two patients of the first."""
    folder = pristine(tmp_path_factory.mktemp("extra"), RECIPE)
    more = folder / "data/more"
    phantom.write(more, train=COUNT, test=1, size=64, seed=5)
    for name in ("dicom-images-test", "sample_submission.csv", "solution.csv"):
        shutil.rmtree(more / name) if (more / name).is_dir() else (more / name).unlink()
    return folder


@pytest.fixture(scope="module")
def split(place):
    """Folds of the data set; then the other data set gets two of its patients, one from each part."""
    data = layout.open_folder(place / "tiny")
    _, made, _ = make_folds(Workspace(place), place / "tiny", recipe(place))
    owners = dict(zip(data.train, patients.patient_ids(data), strict=True))
    shared = [owners[made.table.image_id[rows[0]]] for rows in (made.validation(0), made.training(0))]
    images = sorted(layout.open_folder(place / "data/more").train)
    lines = [f"{image},{patient}" for image, patient in zip(images, shared, strict=False)]
    (place / "data/more/patients.csv").write_text("\n".join(["ImageId,PatientId", *lines]) + "\n")
    return made


def recipe(place, overrides=""):
    return recipes.load(place / "small.yaml", overrides)


def test_a_data_set_without_test_images_can_be_extra_data(place):
    workspace = Workspace(place)
    checked = check(workspace, place / "data/more")
    assert f"{COUNT} training and 0 test images" in checked.about
    assert checked.errors == 0
    assert len(make_folds(workspace, place / "data/more", recipe(place))[1].table) == COUNT


def test_from_folds_to_a_run(place, split, caplog):
    workspace, wanted, data = Workspace(place), recipe(place), place / "tiny"
    [line] = describe_extra(workspace, data, wanted, split)
    assert line.startswith(f"extra data more: {COUNT} images")
    assert "left out for sharing a patient with the validation part: fold 0 1, in all 1" in line
    assert describe_extra(workspace, data, recipes.load("demo"), split) == []

    caplog.set_level("INFO")
    run, done = train(workspace, Job(data, wanted))
    assert done
    assert line in caplog.text
    validating = split.table.image_id[split.validation(0)].tolist()
    assert list(maps.open_maps(run.oof(0)).ids) == validating
    assert len((place / "data/cache/more/32/images.ids.txt").read_text().split()) == COUNT
    assert not train(workspace, Job(data, wanted))[1]

    inputs = {part.label: json.loads(run.part(part).inputs_path.read_text()) for part in wanted.parts()}
    assert list(inputs["a"]["extra"]) == lineage.extra_data(run) == ["more"]
    assert "extra" not in inputs["b"]
    assert provenance.hashes(run)["extra data more"] == inputs["a"]["extra"]["more"]

    labels = place / "data/more/train-rle.csv"
    before = labels.read_text()
    image, _, _ = before.splitlines()[1].partition(",")
    labels.write_text(before + f"{image}, 3 5\n")
    with pytest.raises(KitError, match="was trained with other extra data more than today's"):
        train(workspace, Job(data, wanted))
    (place / "data/more").rename(place / "data/away")  # no verb after the training needs it
    assert open_run(workspace, data, wanted).recipe == wanted
    (place / "data/away").rename(place / "data/more")
    labels.write_text(before)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("none", "extra.data=none: data/none is not a folder: name one in data/"),
        ("./none", "extra.data=./none: none is not a folder"),
        ("{place}/tiny", "another data set of this training is called tiny, too"),
        ("{place}/other/more", "another data set of this training is called more, too"),
    ],
)
def test_invalid_extra_data_are_refused_in_one_line(place, split, monkeypatch, given, message):
    monkeypatch.chdir(place)
    if given.endswith("other/more"):
        shutil.copytree(place / "data/more", place / "other/more")
    wanted = recipe(place, f"members.b.extra={{data: {given.format(place=place)}}}")
    with pytest.raises(KitError) as error:
        open_extra(Workspace(), layout.open_folder(place / "tiny"), wanted, split)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_set_of_the_same_images_leaves_nothing_to_train_on(place, split):
    shutil.copytree(place / "tiny", place / "copy")
    with pytest.raises(KitError, match=r"10 that are in tiny.*: nothing is left to train on"):
        open_extra(
            Workspace(place),
            layout.open_folder(place / "tiny"),
            recipe(place, f"extra.data={place}/copy"),
            split,
        )
