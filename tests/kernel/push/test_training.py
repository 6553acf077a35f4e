"""Training on the fake Kaggle: session after session, one version at a time, whatever is killed or fails."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest
import trained_there
from forked import forked
from kaggle_server import Fault
from trained_there import SLUG, train

from kit.core import files
from kit.core.errors import KitError
from kit.kaggle import acting, dataset
from kit.kernel import push


@pytest.fixture
def site(kaggle, impatient, monkeypatch):
    """A fake Kaggle on which two sessions train the run, and no version may be saved while another one runs."""
    monkeypatch.setattr(push, "POLL", 0.01)
    monkeypatch.setattr(dataset, "POLL", 0.01)
    played = trained_there.played(last=2)

    def run(body):
        assert all(one["polls"] >= 3 for one in kaggle.kernels.get(SLUG, [])), "another version runs"
        return played(body)

    kaggle.run_kernel = run
    return kaggle


def sessions(site):
    return [int(one["text"].partition("SESSION = ")[2].split()[0]) for one in site.kernels[SLUG]]


def assert_trained(site):
    assert sessions(site) == [1, 2]
    first, second = site.kernels[SLUG]
    assert "kernelDataSources" not in first or first["kernelDataSources"] == []
    assert second["kernelDataSources"] == [SLUG]
    assert second["datasetDataSources"] == [f"{SLUG}-files", "ada/lungs"]
    assert len(site.datasets[f"{SLUG}-files"]) == 1
    weights = Path("runs/tiny/small/fold0/stage1/weights.safetensors")
    assert weights.read_bytes() == b"weights of session 2"
    assert not list(Path("runs/tiny").glob(".small*"))


def test_sessions_follow_each_other_until_the_run_is_done(site):
    said = []
    site.printed = [
        "loading",
        "fold 0 stage 1 (32 px) epoch 1/3: loss 0.6, validation Dice 0.7 in 9 s, 1 min left",
        "x",
    ]
    train(said.append)
    assert_trained(site)
    assert said.count(site.printed[1]) == 2
    assert "12" not in said[0]
    assert said[0] == "18.0 of 30 hours on GPUs are left this week; session 1 begins"
    about = files.read_json(Path("runs/tiny/small/kaggle.json"))
    assert (about["state"], about["number"]) == ("done", 2)
    train()
    assert_trained(site)


def test_without_waiting_each_call_takes_the_next_step(site):
    assert train(patient=False) is None
    assert sessions(site) == [1]
    while train(patient=False) is None:
        assert sessions(site) == [1, 2][: len(site.kernels[SLUG])]
    assert_trained(site)


def killed_at(site, number, acted):
    """Runs the command in a process that is killed at its n-th request; returns whether it was killed."""
    asked, pids = [], []

    def fault_at(method):
        asked.append(method)
        if len(asked) == number + 1:
            return Fault(method, "hook", acted=acted, hook=lambda: os.kill(pids[0], signal.SIGKILL))
        return None

    site.fault_at = fault_at
    code = forked(lambda: train(lambda line: None), pids)
    site.fault_at = lambda method: None
    return code == -signal.SIGKILL


def go_on():
    """Repeats the command until it succeeds, as its messages say."""
    for _ in range(3):
        try:
            return train(lambda line: None)
        except KitError as error:
            assert "is not known" in str(error), error
    raise AssertionError


def test_a_command_that_is_killed_at_any_request_resumes(site, monkeypatch):
    monkeypatch.setattr(acting, "CATCH_UP", 0.05)
    monkeypatch.setattr(acting, "PAUSE", 0.01)
    here, number = Path.cwd(), 0
    while True:
        for state in (site.kernels, site.datasets, site.dataset_times, site.blobs):
            state.clear()
        folder = here / str(number)
        folder.mkdir()
        os.chdir(folder)
        killed = killed_at(site, number, acted=bool(number % 2))
        go_on()
        assert_trained(site)
        if not killed:
            break
        number += 1
    assert number > 20


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_command_that_fails_while_saving_a_version_saves_it_once(site, monkeypatch, nth, acted):
    """Also if Kaggle's lists lag behind."""
    site.lag = 0.1
    count = []

    def fault_at(method):
        count.extend([method] * (method == "SaveKernel"))
        if method == "SaveKernel" and len(count) == nth:
            return Fault(method, "lost", acted=acted) if acted else Fault(method, 503)
        return None

    monkeypatch.setattr(acting, "CATCH_UP", 0.4)
    site.fault_at = fault_at
    go_on()
    assert_trained(site)


def test_a_version_that_kaggle_does_not_list_yet_is_not_saved_again(site):
    assert train(patient=False) is None
    site.kernels[SLUG][0]["at"] = time.monotonic() + 0.05
    assert train(patient=False) is None
    assert sessions(site) == [1]
    site.kernels.clear()
    with pytest.raises(KitError, match=r"Kaggle does not list it: if it was deleted there, remove build/kernel/"):
        train()


TRY = "see why, then give the same command, which tries it again"


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("CUDA: not enough memory for 8 images: set X", "give the same command with the SET that it names"),
        ("x.npy: cannot be written: the disk is full: make room", "Kaggle's disk is full: ask for fewer folds or a"),
        ("the notebook tried to allocate more memory than is available", "the machine has too little memory: give"),
        ("fold 0: its process ended with signal 9: run", "the machine has too little memory: give the same command"),
        ("Your GPU quota is exceeded", "wait for the hours of the next week, then give the same command"),
        ("exit code 1", TRY),
    ],
)
def test_the_reason_of_a_failed_session_comes_with_advice(reason, remedy):
    assert push.failure_of("ada/x/1", reason, "", TRY).startswith(f"ada/x/1: failed on Kaggle: {remedy}")
    assert push.failure_of("ada/x/1", "ERROR", reason, TRY).startswith(f"ada/x/1: failed on Kaggle: {remedy}")


@pytest.mark.parametrize(
    ("end", "told"),
    [
        ("ERROR", f"failed on Kaggle: {TRY}:\n  out of order\n  line 0"),
        ("CANCEL_ACKNOWLEDGED", "was cancelled on Kaggle: the same command tries it again"),
    ],
)
def test_a_failed_version_is_reported_and_the_next_command_repeats_its_session(site, end, told):
    fail = {"end": end, "failure": "out of order"}
    site.faults = [Fault("SaveKernel", "hook", acted=True, hook=lambda: site.kernels[SLUG][0].update(fail))]
    with pytest.raises(KitError, match=f"kit-tiny-small-train/1: {re.escape(told)}"):
        train()
    train()
    assert sessions(site) == [1, 1, 2]


def test_an_expired_token_stops_only_the_command(site):
    site.faults = [Fault("GetKernelSessionStatus", 401)]
    with pytest.raises(KitError, match=r"\(401\): create a new token on kaggle\.com \(Settings, API\)"):
        train()
    train()
    assert_trained(site)


def test_a_failed_session_is_followed_by_another(site):
    played = trained_there.played(last=3)

    def run(body):
        left = played(body)
        about = json.loads(left["session.json"])
        if about["number"] == 2:
            about |= {"state": "failed", "reason": "CUDA is out of memory"}
        return left | {"session.json": json.dumps(about).encode()}

    site.run_kernel = run
    with pytest.raises(KitError, match=r"small-train/2: failed on Kaggle: .*\n  CUDA is out of memory\n"):
        train()
    said = []
    train(said.append)
    assert "trying again" in said[0]
    assert sessions(site) == [1, 2, 3]


def test_a_file_that_was_damaged_in_transit_is_fetched_again(site):
    place, weights = "runs/tiny/small/fold0/stage1/weights.safetensors", b"weights of session 2"
    played = site.run_kernel
    site.run_kernel = lambda body: {name: data.replace(weights, b"weights") for name, data in played(body).items()}
    with pytest.raises(KitError, match="was damaged in transit"):
        train()
    site.kernels[SLUG][-1]["output"][place] = weights
    train()
    assert_trained(site)


def test_without_gpu_hours_nothing_is_sent(site):
    site.quota = (30, 30)
    with pytest.raises(KitError, match=r"the 30 hours on GPUs of this week are used up until 2026-12-05 00:00 UTC"):
        train()
    assert SLUG not in site.kernels
    site.quota = None
    said = []
    train(said.append)
    assert said[0] == "session 1 begins"


def test_a_refusal_by_kaggle_is_reported(site, monkeypatch):
    from kaggle_server import Reply

    answer = {"error": "Maximum weekly GPU quota of 30.00 hours reached."}
    monkeypatch.setattr(site.RequestHandlerClass, "SaveKernel", lambda self, body: Reply(200, answer))
    told = "does not take it: Maximum weekly GPU quota of 30.00 hours reached: wait for the hours of the next week"
    with pytest.raises(KitError, match=told):
        train()


def test_a_second_command_at_the_same_time_is_refused(site):
    kernel = trained_there.made(1)
    with files.locked(kernel.journal), pytest.raises(KitError, match="another command trains it"):
        train()
    assert site.kernels == {}
