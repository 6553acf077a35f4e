"""A disk that is really full, and a limit on the size of files: one line, whole artefacts, the same bytes afterwards.

The suite tries the limit, and where it may mount one (as root) a small tmpfs with a file that leaves a few bytes. As a
script, which anybody may run in a name space of its own, this tries all verbs with so many bytes left:

    PYTHONPATH=.:tests/support unshare -rm python tests/faults/test_full_disk.py 0 12000 150000 1500000
"""

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_loop import GROWING, check_words, restore, save
from faulty_disk import Ended, Fault, run
from tiny_run import SHORT, artefacts, command, pristine

VERBS = {verb: command(verb) for verb in ("folds", "train", "thresholds", "predict", "submit", "report")}
LIMIT = 30_000
"""Bytes that a file may have, as `ulimit -f` says."""
DISK = 2**25
ROOM = 12_000
"""Bytes that the suite leaves."""


def begun(folder: Path) -> dict[str, tuple[Path, dict[str, str]]]:
    """The state that each verb begins from, and the artefacts that it ends with; the data lie in the folder."""
    pristine(folder, SHORT)
    states = {}
    for verb, arguments in VERBS.items():
        start = save(folder, folder.with_name(f"before {verb}"))
        ended = run(folder, arguments)
        assert ended.code == 0, ended.said
        states[verb] = (start, artefacts(folder))
    return states


def check(
    folder: Path, ended: Ended, before: dict[str, str], reference: dict[str, str], what: str, said: tuple
) -> None:
    """One line that says what is wrong, and no half of an artefact."""
    check_words(ended, (0, 2), what)
    assert ended.code == 0 or any(words in ended.said for words in said), what
    for name, content in artefacts(folder).items():
        assert name.endswith(GROWING) or content in (before.get(name), reference.get(name)), (
            f"{name} is half a file: {what}"
        )


def fill(disk: Path, room: int) -> Path:
    """A file that leaves so many bytes of a disk."""
    ballast = disk / "ballast"
    with open(ballast, "wb") as handle:
        there = os.statvfs(disk)
        os.posix_fallocate(handle.fileno(), 0, there.f_bavail * there.f_frsize // 4096 * 4096 - room // 4096 * 4096)
    return ballast


def again(folder: Path, verb: str, ended: Ended, reference: dict[str, str], what: str) -> None:
    """A command that was stopped ends, the second time, in the bytes of an undisturbed run."""
    if ended.code:
        ended = run(folder, VERBS[verb])
    assert ended.code == 0, f"again after {what}: {ended.said}"
    assert artefacts(folder) == reference, f"it ends otherwise after {what}"


@contextmanager
def mounted(place: Path) -> Iterator[bool]:
    """A small disk at a new folder; gives whether it may be mounted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)]
    allowed = subprocess.run(mount, capture_output=True).returncode == 0
    try:
        yield allowed
    finally:
        if allowed:
            subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder, and what each verb begins from and ends with there."""
    folder = tmp_path_factory.mktemp("disk") / "work"
    return folder, begun(folder)


def test_a_disk_that_is_full(work, tmp_path):
    _, states = work
    with mounted(tmp_path / "disk") as allowed:
        if not allowed:
            pytest.skip("only root may mount a disk")
        pristine(tmp_path / "disk", SHORT)
        codes = [on_full_disk(tmp_path / "disk", verb, *states[verb], ROOM) for verb in ("folds", "train", "submit")]
    assert 2 in codes


def test_a_limit_on_the_size_of_files(work):
    folder, states = work
    codes = Counter()
    for verb, (start, reference) in states.items():
        restore(folder, start)
        before = artefacts(folder)
        ended = run(folder, VERBS[verb], Fault("limit", LIMIT))
        what = f"{verb} with files of {LIMIT} bytes: {ended.said}"
        check(folder, ended, before, reference, what, ("larger than the file system or `ulimit -f` allows",))
        again(folder, verb, ended, reference, what)
        codes[ended.code] += 1
    assert codes[2], "no file was larger"


def main(rooms: list[int]) -> None:
    """Runs every verb with so many bytes left, and prints how often it ended with which exit code."""
    with tempfile.TemporaryDirectory() as place, mounted(Path(place, "disk")) as allowed:
        if not allowed:
            sys.exit("no disk may be mounted here: see how this script is to be run")
        states, disk = begun(Path(place, "work")), pristine(Path(place, "disk"), SHORT)
        for verb, state in states.items():
            print(f"{verb}: {dict(Counter(on_full_disk(disk, verb, *state, room) for room in rooms))}")


def on_full_disk(disk: Path, verb: str, start: Path, reference: dict[str, str], room: int) -> int:
    """The exit code of a verb on a disk with so many bytes left."""
    restore(disk, start)
    before, ballast = artefacts(disk), fill(disk, room)
    ended = run(disk, VERBS[verb])
    ballast.unlink()
    what = f"{verb} with {room} bytes left: {ended.said}"
    check(disk, ended, before, reference, what, ("the disk is full", "make room"))
    again(disk, verb, ended, reference, what)
    return ended.code


if __name__ == "__main__":
    main([int(room) for room in sys.argv[1:]])
