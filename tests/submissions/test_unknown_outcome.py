"""Requests of unknown outcome are not repeated: the server has one submission after every fault."""

import base64
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from kaggle_server import TOKEN, Fault, Reply
from lungs import OOF

from kit.core.errors import KitError
from kit.kaggle import acting, kernel_output
from kit.kaggle.client import connect
from kit.submissions import kaggle as way
from kit.submissions import ledger

ACTS = ["CreateSubmission", "CreateCodeSubmission"]


@pytest.fixture
def submit(kaggle, impatient, csv, competition, tmp_path):
    kaggle.kernels["ada/kernel"] = [{"output": {"submission.csv": csv.read_bytes()}}]

    def call(act="CreateSubmission", book="submissions", path=csv, **options):
        book = tmp_path / book / "ledger.jsonl"
        given = {"yes": True, "kernel": "ada/kernel/1" if act == "CreateCodeSubmission" else None} | options
        return way.submit_kaggle(path, competition, book, OOF, connect(timeout=0.5), "siim", **given)

    return call


def assert_one(kaggle, outcome):
    assert len(kaggle.submissions) == 1
    assert (outcome.entry.ref, outcome.entry.public) == (1000, 0.5)


@pytest.mark.parametrize("act", ACTS)
def test_a_lost_reply_and_an_outage_make_one_submission_in_two_commands(kaggle, submit, act):
    kaggle.faults = [Fault(act, "lost", outage=True)]
    with pytest.raises(KitError, match=r"is not known, and it cannot be asked .*: the same command looks first"):
        submit(act)
    assert (len(kaggle.submissions), kaggle.count(act)) == (1, 1)
    kaggle.back()
    assert_one(kaggle, submit(act))
    assert kaggle.count(act) == 1


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("kind", [503, "html", "lost"])
def test_a_submission_answered_by_an_error_is_found_in_a_lagging_list(kaggle, submit, monkeypatch, act, kind):
    monkeypatch.setattr(acting, "CATCH_UP", 3.0)
    kaggle.lag = 0.1
    kaggle.faults = [Fault(act, kind, acted=True)]
    assert_one(kaggle, submit(act))
    assert kaggle.count(act) == 1


@pytest.mark.parametrize("act", ACTS)
def test_a_list_that_lags_too_long_is_left_to_the_user_and_the_next_call(kaggle, submit, act):
    kaggle.faults = [Fault(act, 503, acted=True, unlisted=True)]
    with pytest.raises(KitError, match=r"is not known: it is not listed after .*: look at kaggle.com"):
        submit(act)
    assert (len(kaggle.submissions), kaggle.count(act)) == (1, 1)
    kaggle.back()
    assert_one(kaggle, submit(act))
    assert kaggle.count(act) == 1


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("ahead", [0, 3600, -3600])
def test_a_submission_is_found_after_a_kill_whatever_the_clock_showed(kaggle, submit, tmp_path, act, ahead):
    """The list lags longer than a call looks: the second call ends without an answer, the third finds it."""
    submit(act)
    book = tmp_path / "submissions" / "ledger.jsonl"
    begun = [line for line in book.read_text().splitlines(keepends=True) if '"validated"' in line or '"built"' in line]
    day = datetime.now(UTC) + timedelta(seconds=ahead)
    book.write_text(re.sub(r'"time":"[^"]*"', day.strftime('"time":"%Y-%m-%dT%H:%M:%SZ"'), "".join(begun)))
    kaggle.submissions[0]["at"] = math.inf
    with pytest.raises(KitError, match=r"in an earlier call is not known: it is not listed after"):
        submit(act)
    kaggle.back()
    assert_one(kaggle, submit(act))
    assert kaggle.count(act) == 1


def test_a_lost_submission_is_sent_by_the_call_after_the_warning(kaggle, submit, tmp_path):
    submit()
    book = tmp_path / "submissions" / "ledger.jsonl"
    book.write_text("".join(book.read_text().splitlines(keepends=True)[:2]))
    kaggle.submissions.clear()
    with pytest.raises(KitError, match=r"look at kaggle\.com; the same command looks as long again, and sends"):
        submit()
    assert kaggle.submissions == []
    assert_one(kaggle, submit())


@pytest.mark.parametrize("status", ["QUEUED", "RUNNING", "ERROR"])
def test_only_a_complete_version_is_submitted(kaggle, client, competition, monkeypatch, status, csv):
    kaggle.kernels["ada/kernel"] = [{"output": {"submission.csv": csv.read_bytes()}}]
    answer = Reply(200, {"status": status, "failureMessage": ""})
    monkeypatch.setattr(kaggle.RequestHandlerClass, "GetKernelSessionStatus", lambda self, body: answer)
    with pytest.raises(KitError, match=f"ada/kernel/1: is {status.lower()} on Kaggle: only a complete version"):
        kernel_output.fetch_submission(client, "ada", "kernel", 1, competition)
    assert kaggle.count("GET") == 0


def test_two_working_folders_at_once_make_one_submission(kaggle, submit, tmp_path):
    kaggle.faults = [Fault("PUT", "hook", acted=True, hook=lambda: submit(book="elsewhere"))]
    assert_one(kaggle, submit())
    assert kaggle.count("CreateSubmission") == 1


def test_an_unwritable_ledger_after_the_submission_is_reported(kaggle, submit, tmp_path):
    book = tmp_path / "submissions" / "ledger.jsonl"

    def damage():
        book.rename(book.with_suffix(".kept"))
        book.mkdir()

    kaggle.faults = [Fault("CreateSubmission", "hook", acted=True, hook=damage)]
    with pytest.raises(KitError, match=r"submitted to kaggle/siim as 1000, which cannot be recorded: .*finds the sub"):
        submit()
    book.rmdir()
    book.with_suffix(".kept").rename(book)
    assert_one(kaggle, submit())


def test_the_second_submission_of_a_file_has_its_own_score_and_error(kaggle, submit, tmp_path):
    book = tmp_path / "submissions" / "ledger.jsonl"
    submit()
    verdict = {"status": "ERROR", "errorDescription": "Evaluation metric raised"}
    fail = Fault("CreateSubmission", "hook", acted=True, hook=lambda: kaggle.submissions[1].update(verdict))
    kaggle.faults = [fail]
    with pytest.raises(KitError, match="cannot score it: Evaluation metric raised"):
        submit(again=True)
    first, second = ledger.entries(book)
    assert (first.ref, first.public, first.error) == (1000, 0.5, "")
    assert (second.ref, second.public, second.error) == (1001, None, "Evaluation metric raised")


@pytest.mark.parametrize("score", ["nan", "N/A", "inf", ""])
def test_a_score_that_is_no_number_is_unknown(kaggle, submit, score):
    kaggle.score = lambda content: (score, 0.25)
    outcome = submit()
    assert (outcome.entry.public, outcome.entry.private) == (None, 0.25)
    assert len(kaggle.submissions) == 1


def test_the_output_of_the_named_kernel_version_is_fetched(kaggle, submit, csv, competition, impatient):
    other = b"ImageId,EncodedPixels\na,-1\nb,-1\nc,-1\n"
    kaggle.kernels["ada/kernel"].append({"output": {"submission.csv": other}})
    client = connect(timeout=0.5)
    first = kernel_output.fetch_submission(client, "ada", "kernel", 1, competition)
    assert first.read_bytes() == csv.read_bytes()
    submit("CreateCodeSubmission", path=first)
    assert kaggle.submissions[0]["content"] == csv.read_bytes()
    second = kernel_output.fetch_submission(client, "ada", "kernel", 2, competition)
    assert second.read_bytes() == other


def test_no_credential_gets_into_the_ledger(kaggle, submit, tmp_path):
    echo = f"bad {TOKEN} {base64.b64encode(TOKEN.encode()).decode()}"
    verdict = {"status": "ERROR", "errorDescription": echo}
    kaggle.faults = [Fault("CreateSubmission", "hook", acted=True, hook=lambda: kaggle.submissions[0].update(verdict))]
    with pytest.raises(KitError, match=r"bad \*\*\* \*\*\*"):
        submit()
    written = b"".join(path.read_bytes() for path in Path(tmp_path).rglob("*") if path.is_file())
    assert TOKEN.encode() not in written
    assert base64.b64encode(TOKEN.encode())[4:-4] not in written
