"""Submits to Kaggle: each submission is sent once, found again after any failure, and its score is waited for."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from kagglesdk.competitions.types.competition_api_service import (
    ApiCreateCodeSubmissionRequest,
    ApiCreateSubmissionRequest,
    ApiGetSubmissionLimitsRequest,
    ApiListSubmissionsRequest,
    ApiStartSubmissionUploadRequest,
    ApiSubmission,
)
from kagglesdk.competitions.types.submission_status import SubmissionStatus

from kit.competition import layout
from kit.core import files
from kit.core.errors import KitError, counted, printable
from kit.kaggle import acting, download, kernel_output, retry
from kit.kaggle.client import Client
from kit.kaggle.transfer import upload
from kit.kaggle.waiting import wait_for
from kit.submissions import ledger
from kit.submissions.recording import Mark, make_digest, matches, parse_mark, record
from kit.submissions.submit import Ask, Outcome, checked_copy, never, record_built

log = logging.getLogger(__name__)

PATIENCE = 900.0
"""Seconds to wait for a score."""
POLL = 3.0
"""Seconds between two requests for a score."""
PAGE = 20
"""Submissions on a full page of Kaggle's list; after a full page, the next one is requested."""


def submit_kaggle(
    path: Path,
    competition: layout.Competition,
    ledger_path: Path,
    oof: dict[str, Any],
    client: Client,
    name: str,
    *,
    again: bool = False,
    yes: bool = False,
    ask: Ask = never,
    kernel: str | None = None,
    keep: Callable[[Path], None] = lambda copy: None,
) -> Outcome:
    """Validates a submission, uploads it unless Kaggle already has it, and waits for its score.

    After an interrupted call, the next call finds out from the ledger and Kaggle's list whether the submission was
    received: its description begins with a part of the SHA-256 of the file, or of the kernel version's name.

    Args:
        path: The submission file, or the output of the kernel.
        oof: Content of its thresholds.json; empty for a file from elsewhere.
        name: The competition's name on Kaggle.
        kernel: `OWNER/SLUG/VERSION` of the kernel that wrote the file; if None, the file itself is uploaded.
        keep: Called with the checked copy of the file while the ledger is locked.

    Raises:
        KitError: the file is invalid, the data belong to another competition, the allowance is used up, the user did
            not confirm, Kaggle refuses it, or whether Kaggle has received it is unknown.
    """
    with checked_copy(path, competition, ledger_path) as copy:
        require_same_competition(client, name, competition)
        submission = _Submission(client, name, ledger_path, path, files.sha256(copy), kernel or "")
        ref, fresh = _submit(submission, copy, competition.name, oof, again=again, yes=yes, ask=ask)
        keep(copy)
    return Outcome(_scored(submission, ref), fresh, path)


def require_same_competition(client: Client, name: str, competition: layout.Competition) -> None:
    """Compares the data's sample submission with those that the competition lists, by name and size.

    Raises:
        KitError: the competition lists other sample submissions; if it lists none, the data are accepted.
    """
    if competition.sample_path is None:
        return
    try:
        listed = download.list_files(client, name)
    except retry.Refused as failure:  # a competition may withdraw its files and still take submissions
        log.warning("%s; whether %s holds its data is not known", failure, competition.folder)
        return
    samples = {path: file["size"] for path, file in listed.items() if "sample_submission" in path}
    size = competition.sample_path.stat().st_size
    if samples and samples.get(competition.sample_path.name) != size:
        expected = ", ".join(f"{path} of {size} bytes" for path, size in samples.items())
        raise KitError(
            f"{competition.sample_path}: is of {size} bytes, and {name} has {expected}: "
            "name in kaggle.yaml the competition that --data is of, or download its files"
        )


def _submit(
    submission: "_Submission", copy: Path, data_name: str, oof: dict[str, Any], *, again: bool, yes: bool, ask: Ask
) -> tuple[int, bool]:
    """Makes sure that Kaggle and the ledger have the submission; returns its number, and whether it is new."""
    path, entries = submission.path, submission.entries()
    mark = parse_mark(entries[-1].description) if entries and entries[-1].unknown else None
    if mark is None:
        listed = {item.ref: parse_mark(item.description) for item in submission.listed()}
        recorded = {entry.ref for entry in entries if entry.ref is not None}
        earlier = listed.keys() | recorded
        if earlier and not again and not ask(f"{path} was submitted to {submission.name} before. Submit it again?"):
            if not recorded:
                record_built(path, data_name, submission.ledger_path, submission.sha256, oof)
                submission.record_received(max(earlier))
            return max(recorded or earlier), False
        marks = filter(None, listed.values())
        mark = Mark(submission.digest, 1 + max([len(earlier), *(mark.number for mark in marks)]))
    run = f"{data_name}/{oof['recipe']}" if "recipe" in oof else printable(path.name)
    submission = replace(submission, description=mark.describe(run))

    def prepare() -> Callable[[], int]:
        _confirm(submission, yes=yes, ask=ask)
        record_built(path, data_name, submission.ledger_path, submission.sha256, oof)
        return _kernel_sender(submission) if submission.kernel else _file_sender(submission, copy)

    ref = acting.send_once(
        f"the submission of {path}",
        lambda: next((item.ref for item in submission.listed() if parse_mark(item.description) == mark), None),
        submission,
        prepare,
    )
    submission.record_received(ref)
    return ref, True


@dataclass(frozen=True)
class _Submission:
    """A file or kernel version on its way to a competition; its `acting.Record` is the ledger."""

    client: Client
    name: str
    """The competition's name on Kaggle."""
    ledger_path: Path
    path: Path
    sha256: str
    kernel: str
    """`OWNER/SLUG/VERSION` of the kernel that wrote the file; empty if the file itself is uploaded."""
    description: str = ""
    """Description by which Kaggle lists the submission."""

    @property
    def destination(self) -> str:
        return f"kaggle/{self.name}"

    @property
    def digest(self) -> str:
        return make_digest(self.sha256, self.kernel)

    def entries(self) -> list[ledger.Entry]:
        """Returns its entries in the ledger, oldest first."""
        return ledger.find_all(self.ledger_path, self.kernel or self.sha256, self.destination)

    def listed(self) -> list[ApiSubmission]:
        """Returns its submissions in Kaggle's list."""
        marked = ((item, parse_mark(item.description)) for item in submissions(self.client, self.name))
        return [item for item, mark in marked if mark and mark.digest == self.digest]

    def record(self, event: ledger.Kind, **fields: Any) -> None:
        kernel = {"kernel": self.kernel} if self.kernel else {}
        ledger.append(self.ledger_path, event, self.sha256, destination=self.destination, **kernel, **fields)

    def state(self) -> acting.State | None:
        """Returns the state of the last upload, as `acting.Record`."""
        entries = self.entries()
        return entries[-1].unknown if entries else None

    def write(self, state: acting.State | None) -> None:
        """Records the state of the upload, as `acting.Record`."""
        if state == "begun":
            self.record("validated", description=self.description)
        else:
            self.record("unconfirmed" if state else "refused")

    def record_received(self, ref: int) -> None:
        """Records that Kaggle has received the submission."""
        try:
            self.record("submitted", ref=ref)
        except KitError as error:
            problem = f"{self.path}: submitted to {self.destination} as {ref}, which cannot be recorded: {error}"
            raise KitError(f"{problem}; then run the same command: it finds the submission") from None


def submissions(client: Client, name: str) -> list[ApiSubmission]:
    """Returns all submissions of the account to a competition, oldest first."""
    by_ref: dict[int, ApiSubmission] = {}
    for page in count(1):
        request = ApiListSubmissionsRequest()
        request.competition_name = name
        if page > 1:  # Kaggle sometimes names no next page though there may be one
            request.page = page
        answers = client.pages(client.competitions.list_submissions, request)
        listed = [item for answer in answers for item in answer.submissions or []]
        fresh = {item.ref: item for item in listed if item.ref not in by_ref}
        by_ref |= fresh
        if not fresh or len(listed) != PAGE:
            return [by_ref[ref] for ref in sorted(by_ref)]
    raise AssertionError


def refresh(ledger_path: Path, connect: Callable[[], Client]) -> None:
    """Asks Kaggle for what the ledger lacks: uploads of unknown outcome, missing scores and changed scores.

    Args:
        connect: Signs in; not called if nothing was ever sent to Kaggle.
    """
    sent: dict[str, list[ledger.Entry]] = {}
    for entry in ledger.entries(ledger_path):
        site, _, name = (entry.destination or "").partition("/")
        if site == "kaggle" and (entry.submitted or entry.unknown):
            sent.setdefault(name, []).append(entry)
    if not sent:
        return
    client = connect()
    for name, entries in sent.items():
        listed = submissions(client, name)
        for entry in entries:
            if matching := [item for item in listed if matches(item, entry)]:
                record(ledger_path, entry, matching[-1])


def _confirm(submission: _Submission, *, yes: bool, ask: Ask) -> None:
    """Reports how much of the daily allowance remains, and asks the user to confirm the submission."""
    client, name = submission.client, submission.name
    request = ApiGetSubmissionLimitsRequest()
    request.competition_name = name
    try:
        limits = client.read(client.competitions.get_submission_limits, request)
    except retry.Refused as failure:
        if failure.status != 404:
            raise
        allowance = f"{name}: how many submissions are left today is not known ({failure})"
        log.warning("%s", allowance)
    else:
        if limits.num_allowed_now <= 0:
            until = "the competition's whole allowance is used up" if limits.limited_by_total else retry.reset_text()
            raise KitError(f"{name}: not submitted: no submission is left today ({limits.num_today} made): {until}")
        allowance = f"{name}: {counted(limits.num_allowed_now, 'submission')} left today ({limits.num_today} made)"
        log.info("%s", allowance)
    if not yes and not ask(f"{allowance}. Submit?"):
        raise KitError(f"{name}: not submitted: not confirmed: --yes skips the question")


def _file_sender(submission: _Submission, copy: Path) -> Callable[[], int]:
    """Uploads the file, which spends no submission yet, and returns the function that submits it."""
    client = submission.client
    start = ApiStartSubmissionUploadRequest()
    start.competition_name, start.file_name = submission.name, submission.path.name
    start.content_length = copy.stat().st_size
    start.last_modified_epoch_seconds = int(copy.stat().st_mtime)
    target = client.read(client.competitions.start_submission_upload, start)
    upload(client, target.create_url, copy)
    request = ApiCreateSubmissionRequest()
    request.competition_name, request.blob_file_tokens = submission.name, target.token
    request.submission_description = submission.description
    return lambda: _send(submission, client.competitions.create_submission, request)


def _kernel_sender(submission: _Submission) -> Callable[[], int]:
    """Returns the function that submits the output of a kernel."""
    request = ApiCreateCodeSubmissionRequest()
    request.competition_name, request.file_name = submission.name, kernel_output.SUBMISSION
    request.kernel_owner, request.kernel_slug, request.kernel_version = kernel_output.split(submission.kernel)
    request.submission_description = submission.description
    return lambda: _send(submission, submission.client.competitions.create_code_submission, request)


def _send(submission: _Submission, method: Callable[[Any], Any], request: Any) -> int:
    answer = submission.client.act(method, request)
    if not answer.ref:
        reason = answer.message or "Kaggle gives no reason"
        raise retry.Refused(f"{submission.name}: not submitted: {reason}: correct what it names")
    return answer.ref


def _scored(submission: _Submission, ref: int) -> ledger.Entry:
    """Waits for the score and records it; if the score cannot be fetched, the submission stands."""

    def entry() -> ledger.Entry:
        return next(entry for entry in submission.entries() if entry.ref == ref)

    try:
        if entry().public is None and (scored := _wait_for_score(submission, ref)):
            record(submission.ledger_path, entry(), scored)
    except retry.Failure as failure:
        log.warning("%s; the submission stands, `kit scores` asks for its score", failure)
    if error := entry().error:
        raise KitError(f"{entry().file}: submitted, but Kaggle cannot score it: {error}")
    return entry()


def _wait_for_score(submission: _Submission, ref: int) -> ApiSubmission | None:
    def scored() -> ApiSubmission | None:
        items = (item for item in submissions(submission.client, submission.name) if item.ref == ref)
        return next((item for item in items if item.status != SubmissionStatus.PENDING), None)

    interrupted = "the submission stands; `make scores` asks for its score"
    return wait_for(scored, lambda: "waiting for the score", interrupted, PATIENCE, POLL)
