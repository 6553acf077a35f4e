"""The rehearsal of a training kernel: a cut session resumes, and faults that would fail on Kaggle fail."""

import pytest
import trained_there

from kit.core.errors import KitError
from kit.kernel import environment, rehearsal, train_rehearsal
from kit.kernel.session import Session

CUT = """
import math, pathlib, subprocess, threading, time
now = time.monotonic
time.monotonic = lambda: math.inf if any(pathlib.Path("/kaggle/working/runs").rglob("last.ckpt")) else now()
"""
"""Before a session's code: time is up as soon as there is a checkpoint."""


def test_the_training_kernel_passes_its_rehearsal(isolated, home, tmp_path, monkeypatch):
    """With a shorter training, and this machine's packages except those that Kaggle's image lacks."""
    told, ran, (stage, _) = [], [], train_rehearsal.RECIPE["stages"]
    less = {"stages": [stage | {"epochs": 8}], "threshold": {"rule": "image"}}
    run_once = rehearsal.run_once

    def run(sandbox, kernel, text, where):
        ran.append(where)
        return run_once(sandbox, kernel, CUT * (len(ran) == 2) + text, where)

    monkeypatch.setattr(train_rehearsal, "RECIPE", train_rehearsal.RECIPE | less)
    monkeypatch.setattr(train_rehearsal, "SHARES", (100.0,))
    monkeypatch.setattr(rehearsal, "run_once", run)
    train_rehearsal.rehearse(trained_there.made(1), environment.local(tmp_path / "image"), told.append)
    assert ran == ["session 1", "session 1", "session 2"]
    assert "one session without a limit" in told[0]
    assert "a session that is cut after" in told[1]
    assert "weights, maps and masks, bit for bit" in told[2]


class Stage(train_rehearsal._Stage):
    """Sessions that each write another file."""

    states = ("done", "cut", "done")
    output = None

    def __init__(self, sandbox):
        self.output, self.played, self._log = sandbox.folder, [], "its log"

    def play(self, number, limit):
        weights = self.output / "runs" / "weights.safetensors"
        weights.parent.mkdir(parents=True, exist_ok=True)
        weights.write_text(str(len(self.played)))
        self.played.append(limit)
        return Session(run="a/b", number=number, state=self.states[len(self.played) - 1], files={})


def test_a_cut_run_that_ends_with_other_files_fails(isolated, home, monkeypatch):
    kernel = trained_there.made(1)
    monkeypatch.setattr(train_rehearsal, "_Stage", Stage)
    with pytest.raises(KitError, match=r"weights\.safetensors of a run that was cut differs from that of an uncut run"):
        train_rehearsal.rehearse(kernel, None, print)
    monkeypatch.setattr(Stage, "states", ("done", *["failed"] * len(train_rehearsal.SHARES)))
    with pytest.raises(KitError, match=r"session 1 of its rehearsal is failed, not cut: .*\n  its log"):
        train_rehearsal.rehearse(kernel, None, print)
