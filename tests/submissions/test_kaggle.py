"""Submissions through the real client: whatever fails, one file becomes one submission."""

import os
import signal

import pytest
from kaggle_server import Fault
from lungs import OOF
from pushing import PASSING

from kit.core.errors import KitError
from kit.core.files import locked
from kit.kaggle.client import connect
from kit.submissions import kaggle as way
from kit.submissions import ledger

READS = ["IntrospectToken", "ListSubmissions", "GetSubmissionLimits", "StartSubmissionUpload"]
REFUSALS = [403, 404]
BUSY = "another submission is under way"


@pytest.fixture
def book(tmp_path):
    return tmp_path / "submissions" / "ledger.jsonl"


@pytest.fixture
def submit(kaggle, impatient, csv, competition, book):
    def call(**options):
        client = connect(timeout=0.5)
        return way.submit_kaggle(csv, competition, book, OOF, client, "siim", **({"yes": True} | options))

    return call


@pytest.fixture
def with_kernel(kaggle, csv):
    kaggle.kernels["ada/kernel"] = [{"output": {"submission.csv": csv.read_bytes()}}]
    return {"kernel": "ada/kernel/1"}


def events(book):
    return [event.event for event in ledger.read(book)]


def assert_one_scored(kaggle, outcome):
    assert len(kaggle.submissions) == 1
    assert outcome.entry.submitted
    assert outcome.entry.ref == 1000
    assert (outcome.entry.public, outcome.entry.private) == (0.5, 0.25)


def test_a_file_is_submitted_and_scored(kaggle, submit, csv, book):
    outcome = submit()
    assert outcome.fresh
    assert_one_scored(kaggle, outcome)
    assert kaggle.submissions[0]["content"] == csv.read_bytes()
    description = kaggle.submissions[0]["description"]
    assert "lungs/exp5" in description
    assert description.startswith(outcome.entry.sha256[:16])
    assert events(book) == ["built", "validated", "submitted", "scored"]


def test_a_kernel_is_submitted_and_scored(kaggle, submit, with_kernel):
    assert_one_scored(kaggle, submit(**with_kernel))
    assert kaggle.count("CreateSubmission") == 0


@pytest.mark.parametrize("kind", PASSING)
@pytest.mark.parametrize("method", [*READS, "PUT", "CreateSubmission"])
def test_a_transient_fault_costs_no_second_submission(kaggle, submit, method, kind):
    kaggle.faults = [Fault(method, kind)]
    try:
        outcome = submit()
    except KitError as failure:
        # Only the request that spends a submission may end in doubt; then the same command goes on.
        assert method == "CreateSubmission", failure
        assert kaggle.count(method) == 1
        outcome = submit()
    assert_one_scored(kaggle, outcome)


@pytest.mark.parametrize("kind", REFUSALS)
@pytest.mark.parametrize("method", [*READS[1:], "PUT", "CreateSubmission"])
def test_after_a_refusal_the_same_command_goes_on(kaggle, submit, method, kind, book):
    kaggle.faults = [Fault(method, kind, times=99)]
    if (method, kind) == ("GetSubmissionLimits", 404):  # what is left is asked of a person
        with pytest.raises(KitError, match="not confirmed"):
            submit(yes=False)
    else:
        with pytest.raises(KitError, match=rf"fault {kind} \({kind}\)"):
            submit()
    assert kaggle.submissions == []
    assert "submitted" not in events(book)
    kaggle.faults = []
    assert_one_scored(kaggle, submit())


def test_an_answer_without_a_number_is_no_submission(kaggle, submit, monkeypatch):
    from kaggle_server import Reply

    monkeypatch.setattr(
        "kaggle_server.Handler.CreateSubmission", lambda self, body: Reply(200, {"message": "Could not submit"})
    )
    with pytest.raises(KitError, match="not submitted: Could not submit"):
        submit()


def test_the_same_file_is_found_without_the_ledger(kaggle, submit, book):
    submit()
    book.unlink()
    second = submit()
    assert not second.fresh
    assert_one_scored(kaggle, second)


def test_again_makes_a_second_submission_with_its_own_mark(kaggle, submit):
    submit()
    outcome = submit(again=True)
    assert outcome.fresh
    assert outcome.entry.ref == 1001
    assert len({one["description"] for one in kaggle.submissions}) == 2
    kaggle.faults = [Fault("CreateSubmission", "lost")]
    assert submit(again=True).entry.ref == 1002
    assert len(kaggle.submissions) == 3


def test_a_refused_second_submission_leaves_the_first_with_its_score(kaggle, submit, book):
    submit()
    kaggle.faults = [Fault("CreateSubmission", 400)]
    with pytest.raises(KitError, match="fault 400"):
        submit(again=True)
    second = submit()
    assert not second.fresh
    assert_one_scored(kaggle, second)


def test_a_shortened_description_is_found_again(kaggle, submit, book):
    kaggle.longest_description = 24
    assert_one_scored(kaggle, submit())
    book.unlink()
    second = submit()
    assert not second.fresh
    assert_one_scored(kaggle, second)
    kaggle.faults = [Fault("CreateSubmission", "lost")]
    assert submit(again=True).entry.ref == 1001
    assert len(kaggle.submissions) == 2


def test_another_version_of_a_kernel_with_the_same_output_is_another_submission(kaggle, submit, with_kernel):
    kaggle.kernels["ada/kernel"] *= 2
    submit(**with_kernel)
    kaggle.score = lambda content: (0.75, 0.7)
    second = submit(kernel="ada/kernel/2")
    assert (second.fresh, second.entry.ref, second.entry.public) == (True, 1001, 0.75)
    for version, ref in (("1", 1000), ("2", 1001)):
        again = submit(kernel=f"ada/kernel/{version}")
        assert (again.fresh, again.entry.ref) == (False, ref)
    assert submit().fresh  # the file itself is yet another


def test_data_of_another_competition_are_not_submitted(kaggle, submit, competition, tmp_path):
    sample = tmp_path / "sample_submission.csv"
    sample.write_text("ImageId,EncodedPixels\na,-1\n")
    object.__setattr__(competition, "sample_path", sample)  # the fixture has handed it to `submit`
    kaggle.files = {"train.csv": b"", "sample_submission.csv": b"Id,Label\n"}
    with pytest.raises(
        KitError, match=r"is of 27 bytes, and siim has sample_submission.csv of 9 bytes: name in kaggle"
    ):
        submit()
    assert kaggle.count("StartSubmissionUpload") == 0
    kaggle.files["sample_submission.csv"] = sample.read_bytes()
    assert_one_scored(kaggle, submit())


def test_the_sent_bytes_are_kept_while_the_ledger_is_locked(kaggle, submit, csv, book, tmp_path):
    sent, kept = csv.read_bytes(), []

    def keep(path):
        with pytest.raises(KitError, match="another submission is under way"), locked(book, busy=BUSY):
            pass
        kept.append(path.read_bytes())

    kaggle.faults = [Fault("PUT", "hook", hook=lambda: csv.write_text("changed"))]
    submit(keep=keep)
    assert kept == [sent]
    assert kaggle.submissions[0]["content"] == sent


def test_an_exhausted_allowance_is_reported_before_the_upload(kaggle, submit, book):
    kaggle.allowance = 0
    with pytest.raises(KitError, match=r"no submission is left today .* renewed at 00:00 UTC, in \d+ h \d\d min"):
        submit()
    assert kaggle.count("StartSubmissionUpload") == 0
    assert events(book) == []


def test_an_allowance_that_runs_out_meanwhile_is_explained(kaggle, submit):
    kaggle.faults = [
        Fault(
            "CreateSubmission",
            400,
            body='{"error": {"code": 400, "message": "Submission not allowed: Your team has used its daily Submission'
            ' allowance (5) today", "status": "FAILED_PRECONDITION"}}',
        )
    ]
    with pytest.raises(KitError, match=r"allowance \(5\) today \(400\): the daily allowance is renewed at 00:00 UTC"):
        submit()
    assert kaggle.submissions == []


def test_the_question_shows_the_allowance_and_no_stops_it(kaggle, submit):
    asked = []
    with pytest.raises(KitError, match="not confirmed: --yes skips the question"):
        submit(yes=False, ask=lambda question: bool(asked.append(question)))
    assert asked == ["siim: 5 submissions left today (0 made). Submit?"]
    assert kaggle.submissions == []
    assert_one_scored(kaggle, submit(yes=False, ask=lambda question: True))


def test_an_invalid_file_never_reaches_kaggle(kaggle, submit, csv):
    csv.write_text("<html>Sign in</html>")
    with pytest.raises(KitError, match="is not a valid submission"):
        submit()
    assert kaggle.count("ListSubmissions") == 0


def test_a_submission_that_kaggle_cannot_score(kaggle, submit, book):
    verdict = {"status": "ERROR", "errorDescription": "Evaluation metric raised"}
    kaggle.faults = [Fault("CreateSubmission", "hook", acted=True, hook=lambda: kaggle.submissions[0].update(verdict))]
    with pytest.raises(KitError, match="cannot score it: Evaluation metric raised"):
        submit()
    with pytest.raises(KitError, match="cannot score it: Evaluation metric raised"):
        submit()
    assert len(kaggle.submissions) == 1
    assert events(book).count("scored") == 1


def test_a_score_that_comes_later_is_refreshed(kaggle, submit, book, monkeypatch):
    monkeypatch.setattr(way, "PATIENCE", 0.0)
    kaggle.polls_until_scored = 2
    outcome = submit()
    assert outcome.entry.submitted
    assert outcome.entry.public is None
    assert "kit scores" in str(outcome)
    for _ in range(3):
        way.refresh(book, lambda: connect(timeout=0.5))
    assert ledger.find(book, outcome.entry.sha256, "kaggle/siim").private == 0.25
    assert events(book).count("scored") == 1


def test_a_score_that_kaggle_changes_is_refreshed(kaggle, submit, book):
    submit()
    kaggle.submissions[0] |= {"publicScore": "0.6", "privateScore": "0.7"}
    way.refresh(book, lambda: connect(timeout=0.5))
    way.refresh(book, lambda: connect(timeout=0.5))
    (entry,) = ledger.entries(book)
    assert (entry.public, entry.private) == (0.6, 0.7)
    assert events(book).count("scored") == 2


def test_refresh_does_not_sign_in_if_nothing_went_to_kaggle(book):
    ledger.append(book, "validated", "a" * 64, destination="local/demo")
    ledger.append(book, "built", "b" * 64)
    way.refresh(book, lambda: pytest.fail("nobody needs to sign in"))


def test_refresh_ignores_the_scores_of_other_submissions(kaggle, submit, book):
    """For a file found on Kaggle the ledger has only the number, and other submissions may have no description."""
    kaggle.score = lambda content: (0.5, "")  # while a competition runs, the private score is hidden
    submit()
    book.unlink()
    submit()
    by_hand = {"ref": 1001, "description": "", "status": "COMPLETE", "publicScore": "0.9", "privateScore": "0.8"}
    kaggle.submissions.append(by_hand | {"polls": 0, "content": b""})
    way.refresh(book, lambda: connect(timeout=0.5))
    (entry,) = ledger.entries(book)
    assert (entry.ref, entry.public, entry.private) == (1000, 0.5, None)


def test_interrupting_the_wait_says_that_the_submission_stands(kaggle, submit, caplog):
    stop = Fault("ListSubmissions", "hook", times=0, hook=lambda: os.kill(os.getpid(), signal.SIGINT))

    def stop_from_now_on():
        stop.times = 1

    kaggle.faults = [Fault("CreateSubmission", "hook", acted=True, hook=stop_from_now_on), stop]
    with pytest.raises(KeyboardInterrupt):
        submit()
    assert caplog.messages[-1] == "interrupted: the submission stands; `make scores` asks for its score"
    assert_one_scored(kaggle, submit())
