"""Kernels through the real client: one data set version, one kernel version, whatever fails on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import made_kernel
import pytest
from kaggle_server import Fault, Reply

from kit.competition import submission
from kit.core import files
from kit.core.errors import KitError
from kit.kaggle import acting, dataset
from kit.kaggle.client import connect
from kit.kernel import bundle, identity, push
from kit.submissions import kaggle, ledger

DATASET, KERNEL = "ada/kit-lungs-exp5-files", "ada/kit-lungs-exp5"
ACTS = ["CreateDataset", "SaveKernel"]
STEPS = ["GetDatasetStatus", "StartBlobUpload", "PUT", *ACTS, "ListDatasetFiles", "GetKernelSessionStatus"]
STEPS += ["ListKernelSessionOutput", "GET"]
PASSING = [429, 500, 503, "lost", "cut", "stall", "text", "html"]


@pytest.fixture
def site(kaggle, csv, monkeypatch):
    monkeypatch.setattr(push, "POLL", 0.01)
    monkeypatch.setattr(dataset, "POLL", 0.01)
    kaggle.run_kernel = lambda request: {"other.txt": b"x", "submission.csv": csv.read_bytes()}
    return kaggle


@pytest.fixture
def kernel(home):
    return made_kernel.write()


@pytest.fixture
def go(site, impatient, kernel, competition):
    told = []

    def call():
        return push.push(connect(timeout=0.5), kernel, "ada", competition, told.append)[0]

    call.told = told
    return call


def assert_once(site, kernel, path):
    assert [{path.name: path.read_bytes() for path in kernel.bundle.iterdir()}] == site.datasets[DATASET]
    (version,) = site.kernels[KERNEL]
    assert version["text"] == identity.stamped(kernel.code.read_text(), files.read_json(kernel.metadata))
    assert path.read_bytes() == version["output"]["submission.csv"]


def test_the_whole_way(site, go, kernel, competition, tmp_path):
    path = go()
    assert_once(site, kernel, path)
    (created,) = site.dataset_requests
    assert created["isPrivate"] is True
    (saved,) = site.kernels[KERNEL]
    assert saved["enableInternet"] is False
    assert saved["isPrivate"] is True
    assert saved["datasetDataSources"] == [DATASET]
    assert saved["competitionDataSources"] == ["siim"]
    book = tmp_path / "ledger.jsonl"
    client = connect(timeout=0.5)
    outcome = kaggle.submit_kaggle(path, competition, book, {}, client, "siim", yes=True, kernel=f"{KERNEL}/1")
    assert (len(site.submissions), outcome.entry.public, outcome.entry.private) == (1, 0.5, 0.25)
    assert "kaggle/siim" in ledger.table(book)


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("step", STEPS)
def test_what_passes_costs_nothing(site, go, kernel, step, kind):
    site.faults = [Fault(step, kind)]
    try:
        path = go()
    except KitError as failure:
        # Only what makes a version may end in doubt, and what is no submission is refused; the same command goes on.
        assert step in ACTS or (step, kind) in {("GET", "text"), ("GET", "html")}, failure
        assert site.count(step) == 1
        path = go()
    assert_once(site, kernel, path)


@pytest.mark.parametrize("kind", [401, 403, 404])
@pytest.mark.parametrize("step", STEPS[1:])
def test_a_refusal_stops_it_and_the_same_command_goes_on(site, go, kernel, step, kind):
    site.faults = [Fault(step, kind, times=99)]
    with pytest.raises(KitError, match=f"fault {kind}"):
        go()
    site.faults = []
    assert_once(site, kernel, go())


@pytest.mark.parametrize("kind", [500, 503, "lost", "stall", "text"])
@pytest.mark.parametrize("act", ACTS)
def test_a_reply_lost_after_the_act_is_found(site, go, kernel, act, kind):
    site.faults = [Fault(act, kind, acted=True)]
    assert_once(site, kernel, go())
    assert site.count(act) == 1


@pytest.mark.parametrize("act", ["CreateDataset", "CreateDatasetVersion", "SaveKernel"])
def test_a_lost_reply_and_an_outage_are_one_version_in_two_commands(site, go, kernel, act):
    if act == "CreateDatasetVersion":
        go()
        made_kernel.write(content="retrained")
    site.faults = [Fault(act, "lost", outage=0.5)]
    with pytest.raises(KitError, match=r"is not known, and it cannot be asked .*: the same command looks first"):
        go()
    time.sleep(0.5)
    go()
    assert site.count(act) == 1
    assert len(site.datasets[DATASET]) == len(site.kernels[KERNEL]) == 1 + (act == "CreateDatasetVersion")


@pytest.mark.parametrize("act", ["CreateDataset", "CreateDatasetVersion", "SaveKernel"])
@pytest.mark.parametrize("kind", [500, 503, "html", "lost"])
def test_an_act_that_answers_an_error_is_found_in_a_list_that_lags(site, go, kernel, monkeypatch, act, kind):
    monkeypatch.setattr(acting, "CATCH_UP", 3.0)
    if act == "CreateDatasetVersion":
        go()
        made_kernel.write(content="retrained")
    site.lag = 0.5
    site.faults = [Fault(act, kind, acted=True)]
    go()
    assert site.count(act) == 1
    assert len(site.datasets[DATASET]) == len(site.kernels[KERNEL]) == 1 + (act == "CreateDatasetVersion")


@pytest.mark.parametrize("act", ACTS)
def test_a_list_that_lags_too_long_is_left_to_a_person_and_the_next_call(site, go, kernel, act):
    site.lag = 1.0
    site.faults = [Fault(act, 503, acted=True)]
    with pytest.raises(KitError, match=r"is not known: it is not listed after .*: look at kaggle.com"):
        go()
    assert site.count(act) == 1
    time.sleep(1.0)
    assert_once(site, kernel, go())
    assert site.count(act) == 1


def test_what_is_larger_than_kaggle_takes_is_not_sent(site, go, kernel, monkeypatch):
    monkeypatch.setattr(dataset, "LIMIT", 10**4)
    with pytest.raises(KitError, match=r"larger than the 0 GB that Kaggle takes: leave weights out"):
        go()
    assert {method for method, _ in site.log} == {"IntrospectToken"}
    monkeypatch.setattr(bundle, "LARGEST_CODE", 1000)
    before = kernel.code.read_text()
    with pytest.raises(KitError, match="larger than the 1000 bytes that Kaggle takes"):
        made_kernel.write("retrained")
    assert kernel.code.read_text() == before


@pytest.mark.parametrize(
    "change",
    [
        {"enable_gpu": True, "machine_shape": "NvidiaTeslaT4"},
        {"machine_shape": "NvidiaTeslaP100"},
        {"competition_sources": ["another"]},
    ],
)
def test_metadata_that_was_changed_is_a_new_version(site, go, kernel, change):
    go()
    files.write_json(kernel.metadata, files.read_json(kernel.metadata) | change)
    go()
    first, second = site.kernels[KERNEL]
    assert second["machineShape" if "machine_shape" in change else "competitionDataSources"] in change.values()
    assert first["text"] != second["text"]
    go()
    assert len(site.kernels[KERNEL]) == 2


def test_a_gpu_is_asked_for_by_its_machine(site, go, kernel):
    bundle.write_code(kernel, kernel.script.read_text(), "siim", "ada", gpu=True, notebook=False)
    go()
    (saved,) = site.kernels[KERNEL]
    assert (saved["machineShape"], saved["dockerImagePinningType"]) == ("NvidiaTeslaT4", "original")


def test_a_notebook_is_pushed_as_one_and_found_again(site, go, kernel):
    bundle.write_code(kernel, kernel.script.read_text(), "siim", "ada", gpu=False, notebook=True)
    site.faults = [Fault("SaveKernel", "lost")]
    go()
    (saved,) = site.kernels[KERNEL]
    assert saved["kernelType"] == "notebook"
    assert json.loads(saved["text"])["nbformat"] == 4


def test_the_version_that_was_pushed_is_waited_for_and_fetched(site, go, kernel, csv):
    """Another version that is pushed meanwhile does not count."""
    other = {"submission.csv": b"ImageId,EncodedPixels\na,-1\nb,-1\nc,-1\n"}
    more = {"text": "", "output": other, "polls": 9, "end": "ERROR"}
    site.faults = [Fault("GetKernelSessionStatus", "hook", hook=lambda: site.kernels[KERNEL].append(more))]
    assert go().read_bytes() == csv.read_bytes()


def test_two_pushes_at_once_are_one(site, go, kernel):
    with files.locked(kernel.journal), pytest.raises(KitError, match="another push is under way"):
        go()
    assert site.datasets == {}


def test_a_second_push_of_the_same_does_nothing(site, go, kernel):
    go()
    assert_once(site, kernel, go())
    assert "up to date" in go.told[-3]
    assert site.count("StartBlobUpload") == len(list(kernel.bundle.iterdir()))


def test_a_changed_bundle_is_a_second_version_of_both(site, go, kernel):
    go()
    made_kernel.write(content="retrained")
    site.faults = [Fault("CreateDatasetVersion", "lost")]
    go()
    assert len(site.datasets[DATASET]) == 2
    assert len(site.kernels[KERNEL]) == 2
    assert site.count("CreateDatasetVersion") == 1


def test_a_file_that_kaggle_lost_is_noticed(site, go, monkeypatch):
    monkeypatch.setattr(dataset, "PATIENCE", 0.05)
    whole = site.RequestHandlerClass.content
    monkeypatch.setattr(site.RequestHandlerClass, "content", lambda self, listed: whole(self, listed[1:]), raising=True)
    with pytest.raises(KitError, match=r"is not complete .*fold0"):
        go()
    assert KERNEL not in site.kernels


@pytest.mark.parametrize("status", ["FAILED", "DELETED"])
def test_a_data_set_that_kaggle_cannot_take_in(site, go, monkeypatch, status):
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
def test_a_kernel_that_is_answered_with_an_error_is_no_kernel(site, go, monkeypatch, answer, reason):
    monkeypatch.setattr(site.RequestHandlerClass, "SaveKernel", lambda self, body: Reply(200, answer))
    with pytest.raises(KitError, match=f"does not take it: .*{reason}"):
        go()


def test_a_data_set_that_is_answered_with_an_error_is_none(site, go, monkeypatch):
    answer = {"status": "error", "error": "The title is in use"}
    monkeypatch.setattr(site.RequestHandlerClass, "CreateDataset", lambda self, body: Reply(200, answer))
    with pytest.raises(KitError, match="does not take it: The title is in use"):
        go()


def test_a_kernel_that_fails_there_tells_why_and_runs_again_next_time(site, go, kernel):
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
def test_an_output_that_is_no_submission_is_not_kept(site, go, output, reason):
    site.run_kernel = lambda request: output
    with pytest.raises(KitError, match=reason):
        go()
    assert not list(Path("build").rglob("submission.csv*"))


def test_the_output_is_held_against_the_rehearsal(site, go, kernel, csv):
    go()
    assert "no rehearsal" in go.told[-1]
    files.copy(csv, kernel.rehearsed)
    go()
    assert "the same as rehearsed" in go.told[-1]
    submission.write(kernel.rehearsed, [("a", "-1"), ("b", "-1"), ("c", "12 8")])
    go()
    assert "1 of 3 masks differ" in go.told[-1]
    submission.write(kernel.rehearsed, [("x", "-1")])
    go()
    assert "on other images" in go.told[-1]


def test_a_dry_run_tells_each_request_and_sends_nothing(site, kernel):
    names = [name for name, _ in push.requests(kernel, "ada")]
    assert names == ["StartBlobUpload"] * 3 + ["CreateDataset", "SaveKernel"]
    content = dict(push.requests(kernel, "ada"))
    assert content["SaveKernel"]["enableInternet"] is False
    assert content["CreateDataset"]["isPrivate"] is True
    assert site.log == []


@pytest.mark.parametrize(("step", "acted"), [*((step, True) for step in STEPS), *((act, False) for act in ACTS)])
def test_a_killed_push_goes_on_and_is_one(site, kernel, tmp_path, step, acted):
    def start():
        path = str(Path(__file__).parents[2])
        return subprocess.Popen([sys.executable, made_kernel.__file__], env=os.environ | {"PYTHONPATH": path})

    running = []
    site.faults = [Fault(step, "hook", acted=acted, hook=lambda: os.kill(running[0].pid, signal.SIGKILL))]
    running.append(start())
    assert running[0].wait(100) == -signal.SIGKILL
    assert start().wait(100) == 0
    assert_once(site, kernel, Path("build/output/kit-lungs-exp5/submission.csv"))
