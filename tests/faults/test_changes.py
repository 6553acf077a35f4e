"""A run whose data, folds, labels, weights or recipe have changed under it: every verb refuses it, and says what."""

import shutil

import pandas as pd
import pytest
from faulty_disk import run
from tiny_run import SHORT, VERBS, artefacts, command, pristine

RUN = "runs/tiny/small"
AFTER = {
    "train": command("train"),
    "thresholds": command("thresholds"),
    "predict": command("predict"),
    "submit": command("submit"),
    "report": command("report"),
    "kernel build": ["kernel", *command("build")],
    "export": command("export"),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = pristine(tmp_path_factory.mktemp("changes") / "work", SHORT)
    for verb in VERBS:
        assert run(folder, command(verb)).code == 0
    return folder


def swap_images(folder):
    first, second = sorted(folder.rglob("dicom-images-train/**/*.dcm"))[:2]
    first.write_bytes(second.read_bytes())


def swap_folds(folder):
    table = pd.read_csv(folder / "folds/tiny.csv")
    table["fold"] = -1 - table.fold
    table.to_csv(folder / "folds/tiny.csv", index=False)


def change_a_label(folder):
    path = folder / "tiny/train-rle.csv"
    path.write_text(path.read_text().replace(" -1", " 9 9", 1))


def change_a_weight(folder):
    (path,) = (folder / RUN).rglob("weights.safetensors")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change_the_recipe(folder):
    path = folder / RUN / "recipe.yaml"
    path.write_text(path.read_text().replace("batch_size: 4", "batch_size: 5"))


CHANGES = {
    "images": (swap_images, "was trained with other images or labels"),
    "folds": (swap_folds, "was trained with other folds"),
    "labels": (change_a_label, "has changed since the folds were made"),
    "weights": (change_a_weight, "was not predicted from these weights"),
    "recipe": (change_the_recipe, "was trained with other settings (stages.0.batch_size: 5 → 4)"),
}


def kept(folder):
    """The artefacts but for the cache, which `train` makes anew of images that changed."""
    return {name: content for name, content in artefacts(folder).items() if not name.startswith("data/cache/")}


MENDED = {("train", "weights")}
"""`train` predicts anew by weights that are other than those of its maps."""


@pytest.mark.parametrize("change", CHANGES)
def test_every_verb_refuses_a_run_that_changed_under_it(finished, tmp_path, change):
    work = shutil.copytree(finished, tmp_path / "work")
    alter, said = CHANGES[change]
    alter(work)
    before = kept(work)
    for verb, arguments in AFTER.items():
        if (verb, change) in MENDED:
            continue
        ended = run(work, arguments)
        assert ended.code == 2, f"{verb}, {change}: {ended.said}"
        assert said in ended.said, f"{verb}, {change}: {ended.said}"
        assert kept(work) == before, f"{verb}, {change}"
