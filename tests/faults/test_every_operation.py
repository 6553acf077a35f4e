"""Folds, train and submit on a disk whose n-th operation fails, kills, or forgets: then the same command again.

Each fault ends in one line and exit code 2 (or in nothing, where it hit what can be done without), nothing that was
there is changed, and the same command ends in the bytes of an undisturbed run. The suite takes some n; as a script
this takes every one:

    PYTHONPATH=.:tests/support python tests/faults/test_every_operation.py
"""

import errno
import shutil
import sys
from collections import Counter
from pathlib import Path

import pytest
from faulty_disk import Fault, run
from tiny_run import VERBS, artefacts, command, pristine, undisturbed

KINDS = {
    "input-output error": ("fail", errno.EIO),
    "permission denied": ("fail", errno.EACCES),
    "full disk": ("full", errno.ENOSPC),
    "kill": ("kill", 0),
    "power loss": ("power", 0),
}
STRIDES = {"folds": 5, "train": 191, "submit": 41}


def disturbed(folder: Path, reference: dict[str, dict[str, str]], kind: str, strides: dict[str, int]) -> Counter:
    """Runs each verb with a fault at every `stride`-th operation of what is left to do, then to its end."""
    counts: Counter = Counter()
    what, number = KINDS[kind]
    for verb in VERBS:
        at = 1
        while True:
            before = artefacts(folder)
            ended = run(folder, command(verb), Fault(what, at, number))
            place = f"{verb}, {kind} at {at} ({ended.operations[at - 1 : at]}): {ended.said}"
            if ended.code == 0 and len(ended.operations) < at:
                break
            if what in ("kill", "power"):
                assert ended.code == 137, place
            else:
                assert ended.code in (0, 2), place
                assert "Traceback" not in ended.said, place
                errors = [line for line in ended.said.splitlines() if line.startswith("kit: ")]
                assert len(errors) == (ended.code == 2), place
            after = artefacts(folder)
            for name, content in before.items():
                whole = after.get(name) in (content, reference[verb].get(name)) or name.endswith("metrics.csv")
                assert whole or name == "submissions/ledger.jsonl", f"{name} was changed: {place}"
            counts[f"{kind}, exit {ended.code}"] += 1
            at += strides[verb]
        ended = run(folder, command(verb))
        assert ended.code == 0, f"{verb} after {kind}: {ended.said}"
        assert artefacts(folder) == reference[verb], f"{verb} after {kind}"
    left = [path for path in folder.rglob(".*.tmp*")]
    assert not left, f"left behind after {kind}: {left}"
    return counts


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder to copy, and what an undisturbed run makes of it."""
    folder = pristine(tmp_path_factory.mktemp("faults") / "pristine")
    whole = shutil.copytree(folder, folder.with_name("whole"))
    return folder, undisturbed(whole)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_command_afterwards_ends_in_the_same_bytes(made, kind):
    folder, reference = made
    counts = disturbed(shutil.copytree(folder, folder.with_name(kind.split()[0])), reference, kind, STRIDES)
    assert counts.total() >= 5


@pytest.mark.parametrize("at", [2, 9, 20])
def test_what_a_killed_demo_leaves_is_removed_by_the_next(tmp_path, at):
    work = tmp_path / "work"
    work.mkdir()
    demo = ["demo", "--out", "demo", "--train", "3", "--test", "1", "--size", "64"]
    assert run(work, demo, Fault("kill", at)).code == 137
    assert [path.name for path in work.iterdir()] != ["demo"]
    assert run(work, demo).code == 0
    assert [path.name for path in work.iterdir()] == ["demo"]


def main(strides: dict[str, int]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        folder = pristine(Path(place, "pristine"))
        reference = undisturbed(shutil.copytree(folder, Path(place, "whole")))
        for kind in KINDS:
            print(dict(disturbed(shutil.copytree(folder, Path(place, kind)), reference, kind, strides)), flush=True)


if __name__ == "__main__":
    step = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    main({"folds": 1, "train": step, "submit": step})
