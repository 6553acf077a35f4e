"""A submission's way to Kaggle: sent once, found again after whatever went wrong, its score waited for."""

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
from kit.submissions.recording import Mark, digest_of, is_of, mark_of, record
from kit.submissions.submit import Ask, Outcome, checked_copy, keep_nothing, never, record_built

log = logging.getLogger(__name__)

PATIENCE = 900.0
"""Seconds to wait for a score."""
POLL = 3.0
"""Seconds between two looks for a score."""
PAGE = 20
"""Submissions on a page of Kaggle's list, where it does not say that there is another."""


def submit_kaggle(
    path: Path,
    competition: layout.Competition,
    ledger_path: Path,
    oof: dict[str, Any],
    client: Client,
    name: str,
    again: bool = False,
    yes: bool = False,
    ask: Ask = never,
    kernel: str | None = None,
    keep: Callable[[Path], None] = keep_nothing,
) -> Outcome:
    """Validates a submission, uploads it unless Kaggle has it already, and waits for its score.

    Whatever stopped a call before, the next one finds by the ledger and by Kaggle's own list whether the submission
    was received: its description begins with a part of the file's SHA-256, or of that of the kernel's version.

    Args:
        path: The submission file, or the output of the kernel.
        oof: What its thresholds.json holds, empty for a file from elsewhere.
        kernel: `OWNER/SLUG/VERSION` of the kernel whose output the file is; None: the file itself is uploaded.
        keep: Takes the file's checked copy while no other submission is under way.

    Raises:
        KitError: the file is invalid, the data are another competition's, the allowance is used up, nobody confirmed,
            Kaggle does not take it, or whether it has taken it cannot be known.
    """
    with checked_copy(path, competition, ledger_path) as copy:
        require_same_competition(client, name, competition)
        place = _Place(client, name, ledger_path, files.sha256(copy), kernel or "")
        ref, fresh = _submit(place, path, copy, competition.name, oof, again, yes, ask)
        keep(copy)
    return Outcome(_scored(place, ref), fresh, path)


def require_same_competition(client: Client, name: str, competition: layout.Competition) -> None:
    """Holds the sample submission of the data against those that the competition lists, by name and size.

    Raises:
        KitError: the competition lists other ones; where it lists none, nothing is known.
    """
    if competition.sample_path is None:
        return
    try:
        listed = download.list_files(client, name)
    except retry.Refused as failure:  # files may be withdrawn where submissions are still taken
        log.warning("%s; whether %s holds its data is not known", failure, competition.folder)
        return
    samples = {path: file["size"] for path, file in listed.items() if "sample_submission" in path}
    ours = {competition.sample_path.name: competition.sample_path.stat().st_size}
    if samples and not ours.items() & samples.items():
        theirs = ", ".join(f"{path} of {size} bytes" for path, size in samples.items())
        raise KitError(
            f"{competition.sample_path}: is of {ours[competition.sample_path.name]} bytes, and {name} has {theirs}: "
            "name in kaggle.yaml the competition that --data is of, or download its files"
        )


def _submit(
    place: "_Place",
    path: Path,
    copy: Path,
    data_name: str,
    oof: dict[str, Any],
    again: bool,
    yes: bool,
    ask: Ask,
) -> tuple[int, bool]:
    """Brings it about that Kaggle and the ledger have the submission; its number, and whether it is new."""
    entry = place.entry()
    mark = mark_of(entry.description) if entry and entry.unknown else None
    if mark is None:
        listed = {one.ref: mark_of(one.description) for one in place.listed()}
        earlier = listed.keys() | place.recorded()
        if earlier and not again and not ask(f"{path} was submitted to {place.name} before. Submit it again?"):
            if not place.recorded():
                record_built(path, data_name, place.book, place.sha256, oof)
                place.received(path, max(earlier))
            return max(place.recorded()), False
        mark = Mark(place.digest, 1 + max([len(earlier), *(known.number for known in listed.values() if known)]))
    run = f"{data_name}/{oof['recipe']}" if "recipe" in oof else printable(path.name)
    description = mark.describe(run)

    def prepare() -> Callable[[], int]:
        _spend(place.client, place.name, yes, ask)
        record_built(path, data_name, place.book, place.sha256, oof)
        return _kernel_sender(place, description) if place.kernel else _file_sender(place, copy, path.name, description)

    ref = acting.send_once(
        f"the submission of {path}",
        lambda: next((one.ref for one in place.listed() if mark_of(one.description) == mark), None),
        replace(place, description=description),
        prepare,
    )
    place.received(path, ref)
    return ref, True


@dataclass(frozen=True)
class _Place:
    """Where one file or kernel's version goes, and what the ledger and Kaggle know of it there; an `acting.Record`."""

    client: Client
    name: str
    book: Path
    sha256: str
    kernel: str
    """`OWNER/SLUG/VERSION` of which the file is the output; empty: the file itself is submitted."""
    description: str = ""
    """What Kaggle is to know it by."""

    @property
    def destination(self) -> str:
        return f"kaggle/{self.name}"

    @property
    def digest(self) -> str:
        return digest_of(self.sha256, self.kernel)

    def entries(self) -> list[ledger.Entry]:
        """Of the ledger, the oldest first."""
        known = (one for one in ledger.entries(self.book) if one.destination == self.destination)
        return [one for one in known if one.identity == (self.kernel or self.sha256)]

    def entry(self) -> ledger.Entry | None:
        return ledger.find(self.book, self.kernel or self.sha256, self.destination)

    def recorded(self) -> set[int]:
        """Numbers of its submissions that the ledger knows."""
        return {one.ref for one in self.entries() if one.ref is not None}

    def listed(self) -> list[ApiSubmission]:
        """Its submissions in Kaggle's list."""
        marked = ((one, mark_of(one.description)) for one in submissions(self.client, self.name))
        return [one for one, mark in marked if mark and mark.digest == self.digest]

    def record(self, event: ledger.Kind, **fields: Any) -> None:
        named = {"kernel": self.kernel} if self.kernel else {}
        ledger.append(self.book, event, self.sha256, destination=self.destination, **named, **fields)

    def state(self) -> acting.State | None:
        """Of its last upload."""
        entry = self.entry()
        return entry.unknown if entry else None

    def write(self, state: acting.State | None) -> None:
        """Tells the ledger what is known of the upload."""
        if state == "begun":
            self.record("validated", description=self.description)
        else:
            self.record("unconfirmed" if state else "refused")

    def received(self, path: Path, ref: int) -> None:
        """Tells the ledger that Kaggle has it."""
        try:
            self.record("submitted", ref=ref)
        except KitError as error:
            told = f"{path}: submitted to {self.destination} as {ref}, which cannot be recorded: {error}"
            raise KitError(f"{told}; then run the same command: it finds the submission") from None


def submissions(client: Client, name: str) -> list[ApiSubmission]:
    """All submissions of the account to a competition, the oldest first."""
    found: dict[int, ApiSubmission] = {}
    for page in count(1):
        request = ApiListSubmissionsRequest()
        request.competition_name = name
        if page > 1:  # Kaggle has told of no further page where there may be one.
            request.page = page
        answers = client.pages(client.competitions.list_submissions, request)
        listed = [one for answer in answers for one in answer.submissions or []]
        fresh = {one.ref: one for one in listed if one.ref not in found}
        found |= fresh
        if not fresh or len(listed) != PAGE:
            return [found[ref] for ref in sorted(found)]
    raise AssertionError


def refresh(ledger_path: Path, connect: Callable[[], Client]) -> None:
    """Asks Kaggle for what the ledger does not know yet: what has arrived, what it scored, and what was scored anew.

    Args:
        connect: Signs in; not called where nothing was ever sent to Kaggle.
    """
    sent: dict[str, list[ledger.Entry]] = {}
    for entry in ledger.entries(ledger_path):
        place, _, name = (entry.destination or "").partition("/")
        if place == "kaggle" and (entry.submitted or entry.unknown):
            sent.setdefault(name, []).append(entry)
    client = connect() if sent else None
    for name, known in sent.items():
        assert client is not None
        listed = submissions(client, name)
        for entry in known:
            if theirs := [one for one in listed if is_of(one, entry)]:
                record(ledger_path, entry, theirs[-1])


def _spend(client: Client, name: str, yes: bool, ask: Ask) -> None:
    """Says what the daily allowance leaves, and has a person agree."""
    request = ApiGetSubmissionLimitsRequest()
    request.competition_name = name
    try:
        limits = client.read(client.competitions.get_submission_limits, request)
    except retry.Refused as failure:
        if failure.status != 404:
            raise
        left = f"{name}: how many submissions are left today is not known ({failure})"
        log.warning("%s", left)
    else:
        if limits.num_allowed_now <= 0:
            until = "the competition's whole allowance is used up" if limits.limited_by_total else retry.reset_text()
            raise KitError(f"{name}: not submitted: no submission is left today ({limits.num_today} made): {until}")
        left = f"{name}: {counted(limits.num_allowed_now, 'submission')} left today ({limits.num_today} made)"
        log.info("%s", left)
    if not yes and not ask(f"{left}. Submit?"):
        raise KitError(f"{name}: not submitted: not confirmed: --yes skips the question")


def _file_sender(place: _Place, path: Path, name: str, description: str) -> Callable[[], int]:
    """Uploads a file under a name, which has no effect, and gives the act that submits it."""
    start = ApiStartSubmissionUploadRequest()
    start.competition_name, start.file_name = place.name, name
    start.content_length = path.stat().st_size
    start.last_modified_epoch_seconds = int(path.stat().st_mtime)
    target = place.client.read(place.client.competitions.start_submission_upload, start)
    upload(place.client, target.create_url, path)
    request = ApiCreateSubmissionRequest()
    request.competition_name, request.blob_file_tokens = place.name, target.token
    request.submission_description = description
    return lambda: _send(place, place.client.competitions.create_submission, request)


def _kernel_sender(place: _Place, description: str) -> Callable[[], int]:
    """The act that submits a kernel's output."""
    request = ApiCreateCodeSubmissionRequest()
    request.competition_name, request.file_name = place.name, kernel_output.SUBMISSION
    request.kernel_owner, request.kernel_slug, request.kernel_version = kernel_output.split(place.kernel)
    request.submission_description = description
    return lambda: _send(place, place.client.competitions.create_code_submission, request)


def _send(place: _Place, method: Callable[[Any], Any], request: Any) -> int:
    answer = place.client.act(method, request)
    if not answer.ref:
        reason = answer.message or "Kaggle gives no reason"
        raise retry.Refused(f"{place.name}: not submitted: {reason}: correct what it names")
    return answer.ref


def _scored(place: _Place, ref: int) -> ledger.Entry:
    """Waits for the score and records it; a failure to learn it does not undo the submission."""

    def entry() -> ledger.Entry:
        return next(one for one in place.entries() if one.ref == ref)

    try:
        if entry().public is None:
            record(place.book, entry(), _wait(place, ref))
    except retry.Failure as failure:
        log.warning("%s; the submission stands, `kit scores` asks for its score", failure)
    if error := entry().error:
        raise KitError(f"{entry().file}: submitted, but Kaggle cannot score it: {error}")
    return entry()


def _wait(place: _Place, ref: int) -> ApiSubmission | None:
    """The submission once it is scored; None where it is not for fifteen minutes."""

    def scored() -> ApiSubmission | None:
        found = (one for one in submissions(place.client, place.name) if one.ref == ref)
        return next((one for one in found if one.status != SubmissionStatus.PENDING), None)

    interrupted = "the submission stands; `make scores` asks for its score"
    return wait_for(scored, lambda: "waiting for the score", interrupted, PATIENCE, POLL)
