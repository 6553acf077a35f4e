"""Folds, train and submit on a disk whose n-th operation fails, kills, or forgets: then the same command again.

Each fault ends in one line and exit code 2 (or in nothing, where it hit what can be done without), every artefact is
the one that was there or that of an undisturbed run, and the same command ends in the bytes of an undisturbed run. The
suite takes some n; as a script this takes every one, for all kinds of fault or for one:

    PYTHONPATH=.:tests/support python tests/faults/test_every_operation.py [kill power …]
"""

import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from fault_loop import KINDS, Loop
from faulty_disk import Fault, run

STRIDES = {"folds": 2, "train": 60, "submit": 20}
"""The suite takes each so many-th operation, for one kind of fault after the other."""


@pytest.fixture(scope="module")
def loop(tmp_path_factory):
    return Loop.make(tmp_path_factory.mktemp("faults") / "work", 150, STRIDES)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_command_afterwards_ends_in_the_same_bytes(loop, kind):
    for verb, stride in STRIDES.items():
        taken = [place for place in loop.places if place.verb == verb][::stride]
        mine = taken[list(KINDS).index(kind) :: len(KINDS)]
        assert mine, f"no operation of {verb}"
        for place in mine:
            loop.fail(place, kind)


@pytest.mark.parametrize("at", [2, 9, 20])
def test_what_a_killed_demo_leaves_is_removed_by_the_next(tmp_path, at):
    work = tmp_path / "work"
    work.mkdir()
    demo = ["demo", "--out", "demo", "--train", "3", "--test", "1", "--size", "64"]
    assert run(work, demo, Fault("signal", at, signal.SIGKILL)).code == -signal.SIGKILL
    assert [path.name for path in work.iterdir()] != ["demo"]
    assert run(work, demo).code == 0
    assert [path.name for path in work.iterdir()] == ["demo"]


def main(kinds: list[str]) -> None:
    """Takes every place, and prints how often which verb ended with which exit code."""
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop.make(Path(folder, "work"), 20)
        for kind in kinds:
            ends = Counter()
            for count, place in enumerate(loop.places, start=1):
                try:
                    ends[place.verb, loop.fail(place, kind)] += 1
                except AssertionError as error:
                    ends["wrong"] += 1
                    print(error, flush=True)
                if count % 50 == 0 or count == len(loop.places):
                    print(f"{kind}, {count} of {len(loop.places)}: {dict(ends)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or list(KINDS))
