"""`kill -9` of a submitting process at each of its steps, then the same command again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import lungs
import pytest
from kaggle_server import Fault

from kit.submissions import ledger

STEPS = [
    "IntrospectToken",
    "ListSubmissions",
    "GetSubmissionLimits",
    "StartSubmissionUpload",
    "PUT",
    "CreateSubmission",
]


def start(folder):
    root = str(Path(__file__).parents[2])
    return subprocess.Popen([sys.executable, lungs.__file__, str(folder)], env=os.environ | {"PYTHONPATH": root})


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_a_killed_submission_goes_on_and_is_one(kaggle, tmp_path, step, acted):
    running = []
    kaggle.faults = [Fault(step, "hook", acted=acted, hook=lambda: os.kill(running[0].pid, signal.SIGKILL))]
    running.append(start(tmp_path))
    assert running[0].wait(60) == -signal.SIGKILL
    assert start(tmp_path).wait(60) == 0
    assert len(kaggle.submissions) == 1
    (entry,) = ledger.entries(tmp_path / "ledger.jsonl")
    assert (entry.ref, entry.public, entry.private) == (1000, 0.5, 0.25)


def test_a_submission_killed_while_it_waits_for_its_score_goes_on(kaggle, tmp_path):
    running = []
    kaggle.polls_until_scored = 10**9
    kaggle.faults = [Fault("CreateSubmission", "hook", acted=True, hook=lambda: kaggle.faults.append(kill))]
    kill = Fault("ListSubmissions", "hook", hook=lambda: os.kill(running[0].pid, signal.SIGKILL))
    running.append(start(tmp_path))
    assert running[0].wait(60) == -signal.SIGKILL
    kaggle.polls_until_scored = 1
    assert start(tmp_path).wait(60) == 0
    assert len(kaggle.submissions) == 1
    (entry,) = ledger.entries(tmp_path / "ledger.jsonl")
    assert (entry.ref, entry.public, entry.private) == (1000, 0.5, 0.25)
