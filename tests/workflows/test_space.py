"""The disk space of a training is estimated correctly, and too little is refused."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from faulty_disk import run
from tiny_run import command, pristine

from kit import recipes
from kit.core.errors import KitError
from kit.data import folds
from kit.workflows import space
from kit.workflows.train import Job, train
from kit.workflows.workspace import Workspace

TRAIN = [*command("train"), "--fold", "0"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a trained run, and the estimate from before the training."""
    folder = pristine(tmp_path_factory.mktemp("space") / "work")
    assert run(folder, command("folds")).code == 0
    before = wanted(folder)
    removed = Path.unlink
    with pytest.MonkeyPatch.context() as patch:  # a stage's checkpoint goes when it has left its weights
        patch.setattr(Path, "unlink", lambda path, **given: path.name == "last.ckpt" or removed(path, **given))
        train(Workspace(folder), Job(folder / "tiny", recipes.load(str(folder / "small.yaml")), fold=0))
    return folder, before


def wanted(folder: Path, numbers: Sequence[int] = (0,)) -> space.Sizes:
    workspace, recipe = Workspace(folder), recipes.load(str(folder / "small.yaml"))
    data = workspace.open_data(folder / "tiny")
    split = folds.read(folder / "folds/tiny.csv", data)
    run = workspace.run(data, recipe)
    return space.of_training(workspace, data, run, recipe, split, numbers, {})


def test_each_file_is_about_as_large_as_estimated(trained):
    folder, before = trained
    there = {path: size for (_, path), size in before.items() if path.is_file()}
    [estimated] = [size for (_, path), size in before.items() if path.name == "last.ckpt"]
    there |= dict.fromkeys(folder.rglob("last.ckpt"), estimated / 2)  # the next one lies beside it for a moment
    assert {"images.npy", "masks.npy", "fold0.npy", "weights.safetensors", "last.ckpt"} <= {p.name for p in there}
    for path, size in there.items():
        assert path.stat().st_size == pytest.approx(size, rel=0.15), path


def test_existing_files_are_not_counted_and_checkpoints_are_removed(trained):
    folder, _ = trained
    assert {path.name for _, path in wanted(folder)} == {"test.npy", "test-plain.npy"}
    ended = run(folder, TRAIN)
    assert ended.code == 0
    assert "will use up to" in ended.said
    assert list(folder.rglob("last.ckpt")) == []


def test_a_disk_without_room_is_refused_in_a_line(trained, monkeypatch):
    _, before = trained
    whole = sum(before.values())
    usage = SimpleNamespace(free=whole)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    space.check(before)
    usage.free = whole - 1
    with pytest.raises(KitError, match=r"this training needs \d+ MB there, but only \d+ MB are free: make room"):
        space.check(before)


def test_one_checkpoint_at_a_time_is_counted(trained, tmp_path):
    folder, _ = trained
    copy = shutil.copytree(folder, tmp_path / "work", ignore=shutil.ignore_patterns("runs"))
    one, both = (
        sum(size for (_, path), size in wanted(copy, numbers).items() if path.name == "last.ckpt")
        for numbers in ([0], [0, 1])
    )
    assert one == both > 0
