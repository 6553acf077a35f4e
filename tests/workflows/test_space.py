"""What a training takes on disk is told, is what it then takes, and is refused where the disk has less."""

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
from kit.workflows.workspace import Workspace

TRAIN = [*command("train"), "--fold", "0"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a trained run, and what was told of it before."""
    folder = pristine(tmp_path_factory.mktemp("space") / "work")
    assert run(folder, command("folds")).code == 0
    before = wanted(folder)
    ended = run(folder, [*TRAIN, "--keep-checkpoints"])
    assert ended.code == 0, ended.said
    assert "takes up to" in ended.said
    return folder, before


def wanted(folder: Path, keep: bool = True, numbers: Sequence[int] = (0,)) -> space.Sizes:
    workspace, recipe = Workspace(folder), recipes.load(str(folder / "small.yaml"))
    data = workspace.open_data(folder / "tiny")
    split = folds.read(folder / "folds/tiny.csv", data)
    run = workspace.run(data, recipe)
    return space.of_training(workspace, data, run, recipe, split, numbers, keep, {})


def test_each_file_is_about_as_large_as_was_told(trained):
    _, before = trained
    there = {path: size for (_, path), size in before.items() if path.is_file()}
    assert {"images.npy", "masks.npy", "fold0.npy", "weights.safetensors", "last.ckpt"} <= {p.name for p in there}
    for path, told in there.items():
        told = told / 2 if path.name == "last.ckpt" else told  # the next one lies beside it for a moment
        assert path.stat().st_size == pytest.approx(told, rel=0.15), path


def test_what_is_there_is_not_told_again_and_a_flag_keeps_checkpoints(trained):
    folder, _ = trained
    assert {path.name for _, path in wanted(folder)} == {"test.npy", "test-plain.npy"}
    kept = [path for path in folder.rglob("last.ckpt")]
    assert len(kept) == 1
    assert run(folder, TRAIN).code == 0
    assert [path for path in kept if path.exists()] == []


def test_a_disk_without_room_is_refused_in_a_line(trained, monkeypatch):
    _, before = trained
    whole = sum(before.values())
    usage = SimpleNamespace(free=whole)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    space.check(before)
    usage.free = whole - 1
    with pytest.raises(KitError, match=r"this training takes \d+ MB there, and \d+ MB are free: make room"):
        space.check(before)


def test_one_checkpoint_at_a_time_unless_they_are_kept(trained, tmp_path):
    folder, _ = trained
    copy = shutil.copytree(folder, tmp_path / "work", ignore=shutil.ignore_patterns("runs"))
    one, each = (
        sum(size for (_, path), size in wanted(copy, keep, [0, 1]).items() if path.name == "last.ckpt")
        for keep in (False, True)
    )
    assert each == 2 * one > 0
