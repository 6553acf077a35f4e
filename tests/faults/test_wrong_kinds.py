"""A folder, a FIFO, or a circle of links in the place of each file of a run, its cache and its data.

Whatever verb meets it refuses it in one line, or does without; none waits for it, and nothing that was there changes.
"""

import os
from itertools import cycle
from pathlib import Path

import no_file
import pytest
from faulty_disk import run
from tiny_run import VERBS, artefacts, command, pristine, undisturbed


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = pristine(tmp_path_factory.mktemp("kinds") / "work")
    undisturbed(folder)
    return folder


def files(folder: Path) -> list[Path]:
    """One of each kind of file that a verb may read."""
    data = {path.suffix: path for path in (folder / "tiny").rglob("*") if path.is_file() and path.suffix == ".dcm"}
    tables = [path for path in (folder / "tiny").iterdir() if path.suffix == ".csv"]
    made = [
        path
        for name in ("runs", "data", "folds", "submissions")
        for path in (folder / name).rglob("*")
        if path.is_file() and "tensorboard" not in path.parts and "thresholds" not in path.parts
    ]
    return [*data.values(), *tables, *made, folder / "small.yaml"]


def take_away(path: Path) -> None:
    path.rmdir() if path.is_dir() else path.unlink()


def test_nothing_waits_and_nothing_else_changes(finished):
    before, told = artefacts(finished), 0
    for path, kind, verb in zip(
        files(finished), cycle(["folder", "fifo", "loop"]), cycle(["train", "submit"]), strict=False
    ):
        content = path.read_bytes()
        no_file.put(path, kind)
        ended = run(finished, command(verb))
        what = f"{kind} for {path.relative_to(finished)}, {verb}: {ended.said}"
        assert ended.code in (0, 2), what
        assert "Traceback" not in ended.said, what
        errors = [line for line in ended.said.splitlines() if line.startswith("kit: ")]
        assert len(errors) == (ended.code == 2), what
        told += ended.code == 2
        if path.is_symlink() or not path.is_file():
            take_away(path)
        path.write_bytes(content)
        after = artefacts(finished)
        kept = {name: content for name, content in before.items() if not name.startswith("data/cache/")}
        # What was cached of an image that cannot be read any more is made again.
        assert {name: after.get(name) for name in kept} == kept, f"{kind} for {path.relative_to(finished)}"
    assert told >= 10


def test_a_socket_is_refused_too(finished):
    import socket

    path = finished / "folds/tiny.csv"
    content = path.read_bytes()
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))
        ended = run(finished, command("train"))
    path.unlink()
    path.write_bytes(content)
    assert ended.code == 2
    assert "folds/tiny.csv: is a socket, not a file" in ended.said


def test_the_finished_run_is_still_finished(finished):
    for verb in VERBS:
        ended = run(finished, command(verb))
        assert ended.code == 0
        assert "nothing to do" in ended.said
