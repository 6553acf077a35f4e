"""Every recipe of the kit, all its networks and stages, from folds to submission at a tiny size."""

import json
import shutil
from dataclasses import dataclass

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from kit import networks, phantom, recipes
from kit.competition import layout, rle, scoring
from kit.core.errors import KitError
from kit.inference import maps, rules
from kit.kaggle.settings import Settings
from kit.recipes.schema import Network, Recipe
from kit.run import Run
from kit.workflows import kernel as kernels
from kit.workflows.folds import make_folds
from kit.workflows.predict import predict, predict_by
from kit.workflows.thresholds import explore
from kit.workflows.train import train
from kit.workflows.validate import validate
from kit.workflows.workspace import Workspace

SMALLEST = {"efficient": "tu-test_efficientnet", "": "tu-test_resnet"}
"""The smallest encoder of the family, else the smallest ResNet."""


def tiny(name: str, more: str = "") -> Recipe:
    """The recipe with networks, sizes and batches for a test: an epoch of two steps a stage."""
    whole, overrides = recipes.load(name), []

    def shrink(prefix: str, stages: list, encoder: str, decoder: bool) -> None:
        encoder = next(small for family, small in SMALLEST.items() if family in encoder)
        overrides.extend([f"{prefix}network.encoder={encoder}", f"{prefix}network.encoder_weights=none"])
        if decoder:
            overrides.append(f"{prefix}network.decoder_channels=[16,16,16,16,16]")
        for i, stage in enumerate(stages):
            stage = stage if isinstance(stage, dict) else stage.model_dump()
            ones = [key for key in ("swa_epochs", "best_checkpoints", "frozen_epochs") if stage.get(key)]
            size = 64 if i or stage["size"] == 1024 else 32
            values = {"size": size, "epochs": 1, "batch_size": 6, **dict.fromkeys(ones, 1)}
            values |= {"last_learning_rates": []} if stage.get("last_learning_rates") else {}
            overrides.extend(f"{prefix}stages.{i}.{key}={value}" for key, value in values.items())

    shrink("", whole.stages, whole.network.encoder, decoder=True)
    for part in whole.parts():
        if whole.members:
            own = whole.members[part.label].get("stages", [])
            shrink(f"members.{part.label}.", own, part.network.encoder, part.network.decoder_channels is not None)
    return recipes.load(name, " ".join([*overrides, more]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


@pytest.fixture(autouse=True)
def data(folder, monkeypatch):
    """A small competition with folds, in a folder of its own that the tests share."""
    monkeypatch.chdir(folder)
    path = folder / "tiny"
    if not path.exists():
        phantom.write(path, train=24, test=8, size=128)
        make_folds(Workspace(), path, recipes.load("demo"), 2)
    return path


@pytest.mark.parametrize("name", recipes.names())
class TestEveryRecipe:
    def test_from_training_to_submission(self, name, data):
        wanted = tiny(name)
        if wanted.start:
            train(Workspace(), data, tiny(wanted.start))
        run, done = train(Workspace(), data, wanted)
        assert done
        for part in wanted.parts():
            own = run.part(part)
            assert own.finished_stages() == [(fold, stage) for fold in (0, 1) for stage in range(len(part.stages))]
            assert own.read_recipe() == part
            for fold, stage in own.finished_stages():
                metrics = pd.read_csv(own.stage(fold, stage) / "metrics.csv")
                assert metrics.weights.tolist() == ["epoch", "final"]
                assert np.isfinite(metrics.validation_loss).all()
        sizes = [part.stages[-1].size for part in wanted.parts() if part.role == "segment"]
        ids = [image_id for fold in (0, 1) for image_id in maps.open_maps(run.oof(fold)).ids]
        assert sorted(ids) == sorted(layout.open_folder(data).train)
        assert maps.open_maps(run.oof(0)).array.shape[1:] == (max(sizes), max(sizes))
        assert ("gate" in json.loads(run.thresholds.read_text())) == wanted.is_gated

        submission, done = predict(Workspace(), data, wanted)
        assert done
        assert validate(submission, data) == []
        assert len(submission.read_text().splitlines()) == 1 + 8

    def test_a_second_time_there_is_nothing_to_do(self, name, data):
        assert not train(Workspace(), data, tiny(name))[1]
        assert not predict(Workspace(), data, tiny(name))[1]

    def test_the_search_promised_what_the_rule_gives(self, name, data):
        wanted, competition = tiny(name), layout.open_folder(data)
        run = Workspace().run(competition, wanted)
        rule, scores = rules.read(run.thresholds), []
        for fold in (0, 1):
            stack = maps.open_maps(run.oof(fold, wanted.tta))
            presence = [None] * len(stack)
            if wanted.is_gated:
                presence = np.load(run.oof(fold, wanted.tta, "classify"))
            for image_id, levels, given in zip(stack.ids, stack, presence, strict=True):
                truth = rle.union(competition.labels[image_id], competition.shape)
                mask = rule.mask(maps.upsample(levels, competition.shape), given)
                both = mask.sum() + truth.sum()
                scores.append(2 * (mask & truth).sum() / both if both else 1.0)
        weights = np.ones(len(scores))
        if wanted.prevalence:
            ids = [image_id for fold in (0, 1) for image_id in maps.open_maps(run.oof(fold)).ids]
            positive = np.array([bool(competition.labels[image_id]) for image_id in ids])
            share = positive.mean()
            weights = np.where(positive, wanted.prevalence / share, (1 - wanted.prevalence) / (1 - share))
        promised = json.loads(run.thresholds.read_text())["dice"]
        assert np.average(scores, weights=weights) == pytest.approx(promised, abs=1e-9)


def by_hand(threshold, levels, image_probability):
    """The mask by a recipe's own thresholds, counted pixel by pixel."""
    if threshold.gate is not None and image_probability is not None and image_probability < threshold.gate:
        return np.zeros(levels.shape, bool)
    top = threshold.binarization if threshold.top is None else threshold.top
    counted = sum(1 for level in levels.ravel().tolist() if level / 255 >= top)
    enough = counted * 1024 * 1024 / levels.size >= threshold.removal
    return (levels / 255 >= threshold.binarization) & enough


@pytest.mark.parametrize("name", recipes.names())
def test_the_recipes_own_thresholds_can_be_submitted(name, data):
    """`threshold.rule=fixed` of a trained run, and back to the rule that the search found."""
    wanted, competition = tiny(name, "threshold.rule=fixed"), layout.open_folder(data)
    if wanted.start:
        train(Workspace(), data, tiny(wanted.start))
    run, _ = train(Workspace(), data, tiny(name))
    searched = json.loads(run.thresholds.read_text())
    submission, _ = predict(Workspace(), data, wanted)
    own, rows = wanted.threshold, pd.read_csv(submission, dtype=str).set_index("ImageId").EncodedPixels
    chosen = json.loads(run.thresholds.read_text())
    keys = ("rule", "binarization", "removal", "smallest_contour")
    assert [chosen.get(key, 0) for key in keys] == [
        "image" if own.top is None else "triplet",
        own.binarization,
        own.removal,
        own.smallest_contour,
    ]
    stack = maps.open_maps(run.test(wanted.tta))
    given = np.load(run.test(wanted.tta, "classify")).tolist() if wanted.is_gated else [None] * len(stack)
    for image_id, levels, probability in zip(stack.ids, stack, given, strict=True):
        expected = by_hand(own, maps.upsample(levels, competition.shape), probability)
        if own.smallest_contour:  # what is dropped or filled is small
            expected = rules.CleanedRule(Kept(expected), own.smallest_contour).mask(levels)
        assert (rle.decode(rows[image_id], competition.shape) == expected).all()
    assert predict(Workspace(), data, tiny(name))[1]
    assert json.loads(run.thresholds.read_text()) == searched


@dataclass
class Kept:
    """A rule that gives one mask."""

    found: np.ndarray

    def mask(self, levels, image_probability=None):
        return self.found


@pytest.mark.parametrize("name", ["sneddy", "x5"])
def test_an_ensembles_maps_are_the_mean_of_its_segmenting_members(name, data):
    wanted = tiny(name)
    run, _ = train(Workspace(), data, wanted)
    predict(Workspace(), data, wanted)
    parts = wanted.members_that("segment")
    for place in (lambda run: run.oof(1, False), lambda run: run.test()):
        members = [np.load(place(run.part(part))) for part in parts]
        resized = [[cv2.resize(levels, (64, 64)) for levels in stack] for stack in members]
        mean = np.average(resized, axis=0, weights=[part.weight for part in parts])
        assert abs(np.load(place(run)).astype(int) - mean).max() <= 1


def test_a_shut_gate_empties_an_image_in_prediction_too(data):
    wanted = tiny("x5")
    run, _ = train(Workspace(), data, wanted)
    chosen = json.loads(run.thresholds.read_text())
    predict(Workspace(), data, wanted)
    presence = np.load(run.test(wanted.tta, "classify"))
    gate = float(np.median(presence))
    run.thresholds.write_text(json.dumps({"rule": "image", "binarization": 0.0, "removal": 0, "gate": gate}))
    submission, _ = predict(Workspace(), data, wanted)
    masks = pd.read_csv(submission, dtype=str).EncodedPixels.tolist()
    assert [mask == "-1" for mask in masks] == [bool(value < gate) for value in presence]
    run.thresholds.write_text(json.dumps(chosen))


def test_other_folders_are_predicted_by_ensembles_too(data):
    wanted = tiny("x5")
    train(Workspace(), data, wanted)
    predict(Workspace(), data, wanted)
    run = Workspace().run(layout.open_folder(data), wanted)
    submission, _ = predict(Workspace(), data, wanted, data / "dicom-images-test", data.parent / "elsewhere")
    assert sorted(submission.read_text().split()) == sorted(run.submission.read_text().split())


def test_halved_weights_are_judged_by_the_dice_of_what_they_predict(data, monkeypatch):
    competition = layout.open_folder(data)
    run, _ = train(Workspace(), data, tiny("demo", "name=halved"))
    run.thresholds.write_text(json.dumps({"rule": "image", "binarization": 0.498, "removal": 0}))
    truth = {image_id: rle.union(rows, competition.shape) for image_id, rows in competition.labels.items()}
    whole = np.ones(competition.shape, bool)  # what weights of 0 predict, and so the probability 0.5 everywhere
    changes = []
    for fold in (0, 1):
        stack = maps.open_maps(run.oof(fold))
        for image_id, levels in zip(stack.ids, stack, strict=True):
            before = scoring.dice(maps.upsample(levels, competition.shape) >= 127, truth[image_id])
            changes.append(scoring.dice(whole, truth[image_id]) - before)

    def zeros(source, target, half):
        save_file({name: tensor * 0 for name, tensor in load_file(source).items()}, target)

    with monkeypatch.context() as patch:
        patch.setattr(kernels.bundle, "write_weights", zeros)
        change = kernels.half_change(Workspace(), run, competition)
    assert change == pytest.approx(np.mean(changes), abs=1e-3)
    assert abs(change) > 1e-3
    assert kernels.half_change(Workspace(), run, competition) == change  # measured once
    (run.folder / "half.json").unlink()
    assert abs(kernels.half_change(Workspace(), run, competition)) < abs(change)


def test_an_ensemble_becomes_a_kernel(data, monkeypatch):
    wanted, competition = tiny("x5"), layout.open_folder(data)
    run, _ = train(Workspace(), data, wanted)
    with monkeypatch.context() as patch:
        patch.setattr(kernels.bundle, "write_weights", lambda source, target, half: shutil.copy(source, target))
        assert kernels.half_change(Workspace(), run, competition) == 0
    told = []
    kernel = kernels.build(Workspace(), run, data, Settings(), False, 60.0, False, told.append)
    assert len(list(kernel.bundle.glob("*.safetensors"))) == 8 * 2
    assert "halving them changes" in told[0]


def test_a_fold_starts_from_the_named_recipes_last_weights(data):
    source, _ = train(Workspace(), data, tiny("exp2"))
    target, _ = train(Workspace(), data, tiny("exp3", "name=held stages.0.learning_rate=1e-12"))
    name = "net.decoder.blocks.0.conv1.0.weight"
    for fold in (0, 1):
        first, second = (load_file(run.weights(fold, 0))[name] for run in (source, target))
        assert torch.allclose(first, second, atol=1e-6)


def test_round_1_predicts_and_goes_on_with_round_2(data, caplog):
    """Weights of one data set start a run on another, and predict its test images as they are."""
    other = data.with_name("later")
    if not other.exists():
        shutil.copytree(data, other)  # the same images: all that validate have trained
        make_folds(Workspace(), other, recipes.load("demo"), 3)
    source, _ = train(Workspace(), data, tiny("exp2"))
    path, _ = predict_by(Workspace(), other, tiny("exp2"), data.name)
    assert path.parent.name == f"exp2@{data.name}"
    predict(Workspace(), data, tiny("exp2"))
    assert path.read_text() == source.submission.read_text()

    wanted = tiny("exp2", f"name=second start=exp2 start_data={data.name} stages.0.learning_rate=1e-12")
    target, _ = train(Workspace(), other, wanted)
    name = "net.decoder.blocks.0.conv1.0.weight"
    for fold, start in ((0, 0), (1, 1), (2, 0)):
        first, second = load_file(source.weights(start, 0))[name], load_file(target.weights(fold, 0))[name]
        assert torch.allclose(first, second, atol=1e-6)
    assert "has trained on" in caplog.text


def test_a_start_that_was_trained_anew_is_told(data):
    def source(seed):
        return tiny("exp2", f"name=source seed={seed} stages.0.swa_epochs=0")

    first, _ = train(Workspace(), data, source(0))
    target = tiny("exp3", "name=follower start=source")
    train(Workspace(), data, target)
    shutil.rmtree(first.folder)
    train(Workspace(), data, source(1))
    with pytest.raises(KitError, match=r"follower: was trained with other weights of fold 0 of source"):
        train(Workspace(), data, target)


def test_a_run_is_predicted_as_it_was_trained(data):
    wanted = tiny("demo", "name=kept")
    run, _ = train(Workspace(), data, wanted)
    path, _ = predict(Workspace(), data, wanted)
    before = {file: file.read_bytes() for file in (path, run.test(True), run.test(False))}
    for other in ("stages.1.size=32", "network.normalisation=imagenet", "seed=3"):
        for verb in (predict, explore):
            with pytest.raises(KitError, match="was trained with other settings"):
                verb(Workspace(), data, tiny("demo", f"name=kept {other}"))
    assert {file: file.read_bytes() for file in before} == before


def test_thresholds_are_those_of_the_maps_that_they_are_applied_to(data):
    run, _ = train(Workspace(), data, tiny("demo", "name=switched"))
    path, _ = predict(Workspace(), data, tiny("demo", "name=switched"))
    before = path.read_bytes(), run.thresholds.read_bytes()
    predict(Workspace(), data, tiny("demo", "name=switched tta=false"))
    assert {"fold0-plain.npy", "fold1-plain.npy"} < json.loads(run.thresholds.read_text())["hashes"].keys()
    predict(Workspace(), data, tiny("demo", "name=switched"))
    assert (path.read_bytes(), run.thresholds.read_bytes()) == before


def test_a_fold_whose_weights_are_gone_is_told(data):
    run, _ = train(Workspace(), data, tiny("sneddy"))
    lost = Run(run.folder / "r50").weights(1, 3)
    kept = lost.rename(lost.with_name("kept"))
    for use in (
        lambda: predict(Workspace(), data, tiny("sneddy")),
        lambda: kernels.build(Workspace(), run, data, Settings(), False, 60.0, False, print),
    ):
        with pytest.raises(KitError, match=r"r50/fold1/stage4: its weights are missing"):
            use()
    kept.rename(lost)


def test_a_start_that_cannot_be_is_told(data):
    with pytest.raises(KitError, match=r"absent.*make train"):
        train(Workspace(), data, recipes.load("demo", "name=a start=absent"))
    train(Workspace(), data, tiny("x5"))
    with pytest.raises(KitError, match=r"x5: is an ensemble: .* start=x5/classify-se50"):
        train(Workspace(), data, recipes.load("demo", "name=b start=x5"))
    source, _ = train(Workspace(), data, tiny("exp2"))
    with pytest.raises(KitError, match=r"exp2: was trained with other folds: train it again"):
        source.start(0, source.read_inputs().model_copy(update={"folds": "others"}))


REAL = {
    (part.network.model_copy(update={"encoder_weights": None})): None
    for name in recipes.names()
    for part in recipes.load(name).parts()
}


@pytest.mark.parametrize("network", REAL, ids=lambda network: f"{network.architecture}-{network.encoder}")
def test_every_real_network_builds_and_gives_a_mask(network: Network):
    built = networks.build(network).eval()
    with torch.inference_mode():
        masks, image = built(torch.zeros(1, 1, 64, 64))
    assert masks.shape == (1, 1, 64, 64)
    assert (image is not None) == network.image_head
