"""A push makes one data set version and one kernel version, whatever fails on the way."""

import os
import signal
from pathlib import Path

import made_kernel
import pytest
from forked import forked
from kaggle_server import Fault, Reply
from pushing import ACTS, DATASET, KERNEL, PASSING, STEPS, assert_once

from kit.core.errors import KitError
from kit.kaggle import acting, dataset


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("step", STEPS)
def test_temporary_faults_cost_nothing(site, go, kernel, step, kind):
    site.faults = [Fault(step, kind)]
    try:
        path = go()
    except KitError as failure:
        # Only what makes a version may end in doubt, and what is no submission is refused; the same command goes on.
        assert step in ACTS or (step, kind) in {("GET", "text"), ("GET", "html")}, failure
        assert site.count(step) == 1
        path = go()
    assert_once(site, kernel, path)


@pytest.mark.parametrize("kind", [403, 404])
@pytest.mark.parametrize("step", STEPS[1:])
def test_after_a_refusal_the_same_command_resumes(site, go, kernel, step, kind):
    site.faults = [Fault(step, kind, times=99)]
    with pytest.raises(KitError, match=f"fault {kind}"):
        go()
    site.faults = []
    assert_once(site, kernel, go())


@pytest.mark.parametrize("kind", [503, "lost", "text"])
@pytest.mark.parametrize("act", ACTS)
def test_a_request_whose_reply_was_lost_is_found(site, go, kernel, act, kind):
    site.faults = [Fault(act, kind, acted=True)]
    assert_once(site, kernel, go())
    assert site.count(act) == 1


@pytest.mark.parametrize("act", ["CreateDataset", "CreateDatasetVersion", "SaveKernel"])
def test_a_lost_reply_and_an_outage_give_one_version_in_two_commands(site, go, kernel, act):
    if act == "CreateDatasetVersion":
        go()
        made_kernel.write(content="retrained")
    site.faults = [Fault(act, "lost", outage=True)]
    with pytest.raises(KitError, match=r"is not known, and it cannot be asked .*: the same command looks first"):
        go()
    site.back()
    go()
    assert site.count(act) == 1
    assert len(site.datasets[DATASET]) == len(site.kernels[KERNEL]) == 1 + (act == "CreateDatasetVersion")


@pytest.mark.parametrize("act", ["CreateDataset", "CreateDatasetVersion", "SaveKernel"])
@pytest.mark.parametrize("kind", [503, "html", "lost"])
def test_a_request_that_answers_an_error_is_found_in_a_list_that_lags(site, go, kernel, monkeypatch, act, kind):
    monkeypatch.setattr(acting, "CATCH_UP", 3.0)
    if act == "CreateDatasetVersion":
        go()
        made_kernel.write(content="retrained")
    site.lag = 0.1
    site.faults = [Fault(act, kind, acted=True)]
    go()
    assert site.count(act) == 1
    assert len(site.datasets[DATASET]) == len(site.kernels[KERNEL]) == 1 + (act == "CreateDatasetVersion")


@pytest.mark.parametrize("act", ACTS)
def test_a_list_that_lags_too_long_is_reported_and_the_next_command_resumes(site, go, kernel, act):
    site.faults = [Fault(act, 503, acted=True, unlisted=True)]
    with pytest.raises(KitError, match=r"is not known: it is not listed after .*: look at kaggle.com"):
        go()
    assert site.count(act) == 1
    site.back()
    assert_once(site, kernel, go())
    assert site.count(act) == 1


def test_a_file_that_kaggle_lost_is_noticed(site, go, monkeypatch):
    monkeypatch.setattr(dataset, "PATIENCE", 0.05)
    whole = site.RequestHandlerClass.content
    monkeypatch.setattr(site.RequestHandlerClass, "content", lambda self, listed: whole(self, listed[1:]), raising=True)
    with pytest.raises(KitError, match=r"is not complete .*fold0"):
        go()
    assert KERNEL not in site.kernels


@pytest.mark.parametrize("status", ["FAILED", "DELETED"])
def test_a_data_set_that_kaggle_cannot_process_is_reported(site, go, monkeypatch, status):
    def answer(self, body):
        there = bool(site.datasets)
        return Reply(200, {"status": status}) if there else Reply(404, {"code": 404, "message": "none"})

    monkeypatch.setattr(site.RequestHandlerClass, "GetDatasetStatus", answer)
    with pytest.raises(KitError, match=f"Kaggle says {status}"):
        go()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"error": "Maximum batch GPU session count of 2 reached."}, "GPU session count"),
        ({"invalidDatasetSources": [DATASET]}, f"no such dataset: {DATASET}"),
        ({"invalidCompetitionSources": ["siim"]}, "no such competition: siim"),
    ],
)
def test_a_kernel_save_that_is_answered_with_an_error_fails(site, go, monkeypatch, answer, reason):
    monkeypatch.setattr(site.RequestHandlerClass, "SaveKernel", lambda self, body: Reply(200, answer))
    with pytest.raises(KitError, match=f"does not take it: .*{reason}"):
        go()


def test_a_data_set_upload_that_is_answered_with_an_error_fails(site, go, monkeypatch):
    answer = {"status": "error", "error": "The title is in use"}
    monkeypatch.setattr(site.RequestHandlerClass, "CreateDataset", lambda self, body: Reply(200, answer))
    with pytest.raises(KitError, match="does not take it: The title is in use"):
        go()


def test_a_kernel_that_fails_on_kaggle_is_reported_and_runs_again_next_time(site, go, kernel):
    site.faults = [Fault("SaveKernel", "hook", acted=True, hook=lambda: site.kernels[KERNEL][0].update(fail))]
    fail = {"end": "ERROR", "failure": "out of memory"}
    with pytest.raises(KitError, match=r"failed on Kaggle: .*\n  out of memory\n  line 0\n  line 1\n  line 2$"):
        go()
    go()
    assert len(site.kernels[KERNEL]) == 2
    assert len(site.datasets[DATASET]) == 1


@pytest.mark.parametrize(
    ("output", "reason"),
    [({}, "has written nothing"), ({"submission.csv": b"<html>Sign in</html>"}, "not a valid submission")],
)
def test_an_output_without_a_valid_submission_is_not_kept(site, go, output, reason):
    site.run_kernel = lambda request: output
    with pytest.raises(KitError, match=reason):
        go()
    assert not list(Path("build").rglob("submission.csv*"))


@pytest.mark.parametrize(("step", "acted"), [*((step, True) for step in STEPS), *((act, False) for act in ACTS)])
def test_a_killed_push_resumes_and_makes_one_version(site, go, kernel, step, acted):
    pids = []
    site.faults = [Fault(step, "hook", acted=acted, hook=lambda: os.kill(pids[0], signal.SIGKILL))]
    assert forked(go, pids) == -signal.SIGKILL
    assert_once(site, kernel, go())
