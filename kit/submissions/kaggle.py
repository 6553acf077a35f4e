"""A submission's way to Kaggle: sent once, found again after whatever went wrong, its score waited for."""

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
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

from kit.competition import layout, submission
from kit.core import files
from kit.core.errors import KitError, printable
from kit.kaggle import acting, kernel_output, retry
from kit.kaggle.client import Client
from kit.kaggle.transfer import upload
from kit.kaggle.waiting import waiting
from kit.submissions import ledger
from kit.submissions.recording import is_of, record
from kit.submissions.submit import Ask, Outcome, never, record_built

log = logging.getLogger(__name__)

PATIENCE = 900.0
"""Seconds to wait for a score."""
POLL = 1.0
"""Seconds between the first two looks for a score; each pause is longer, up to 15 of them."""
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
) -> Outcome:
    """Validates a submission, uploads it unless Kaggle has it already, and waits for its score.

    Whatever stopped a call before, the next one finds by the ledger and by Kaggle's own list whether the submission
    was received: its description carries the file's SHA-256.

    Args:
        path: The submission file, or the output of the kernel.
        competition: The data that it answers.
        ledger_path: Where its events are recorded.
        oof: What its thresholds.json holds, empty for a file from elsewhere.
        client: The signed-in client.
        name: The competition's name on Kaggle.
        again: Submit a file that was submitted before.
        yes: Spend a submission without a question.
        ask: Puts a question to a person.
        kernel: `OWNER/SLUG/VERSION` of the kernel whose output the file is; None: the file itself is uploaded.

    Raises:
        KitError: the file is invalid, the allowance is used up, nobody confirmed, Kaggle does not take it, or whether
            it has taken it cannot be known.
    """
    with tempfile.TemporaryDirectory(prefix="kit-submit-") as folder:
        sent = (
            Path(folder) / path.name
        )  # What is checked, hashed and sent are the same bytes, whatever happens to path.
        files.copy(path, sent)
        submission.check(sent, competition.sample_ids, competition.shapes)
        place = _Place(client, name, ledger_path, files.sha256(sent))
        with files.locked(ledger_path, busy="another submission is under way: wait for it to finish"):
            fresh = _submit(place, path, sent, competition.name, oof, again, yes, ask, kernel)
    return Outcome(_scored(place), fresh, path)


def _submit(
    place: "_Place",
    path: Path,
    sent: Path,
    data_name: str,
    oof: dict[str, Any],
    again: bool,
    yes: bool,
    ask: Ask,
    kernel: str | None,
) -> bool:
    """Brings it about that Kaggle and the ledger have the submission; whether it was not there before."""
    entry = place.entry()
    if entry and entry.begun is not None:

        def arrived() -> ApiSubmission | None:
            return next((one for one in place.listed() if one.description == entry.description), None)

        if found := acting.seek(f"the submission of {path}", arrived, entry.begun):
            place.received(path, found.ref)
            return True
    earlier = {one.ref for one in place.listed()} | place.recorded()
    if earlier and not again and not ask(f"{path} was submitted to {place.name} before. Submit it again?"):
        if not place.recorded():
            record_built(path, data_name, place.book, place.digest, oof)
            place.received(path, max(earlier))
        return False
    _spend(place.client, place.name, yes, ask)
    record_built(path, data_name, place.book, place.digest, oof)
    run = f"{data_name}/{oof['recipe']}" if "recipe" in oof else printable(path.name)
    description = f"kit {run} #{len(earlier) + 1} sha256 {place.digest}"
    send = _file_sender(place, sent, description) if kernel is None else _kernel_sender(place, kernel, description)
    ref = acting.once(
        f"the submission of {path}",
        look=lambda: next((one.ref for one in place.listed() if one.ref not in earlier), None),
        record=lambda: place.record("validated", description=description),
        send=send,
        close=lambda: place.record("refused"),
    )
    place.received(path, ref)
    return True


@dataclass(frozen=True)
class _Place:
    """Where one file goes, and what the ledger and Kaggle know of it there."""

    client: Client
    name: str
    book: Path
    digest: str

    @property
    def destination(self) -> str:
        return f"kaggle/{self.name}"

    def entry(self) -> ledger.Entry | None:
        return ledger.find(self.book, self.digest, self.destination)

    def recorded(self) -> set[int]:
        """Numbers of its submissions that the ledger knows."""
        ours = [one for one in ledger.entries(self.book) if one.sha256 == self.digest]
        return {one.ref for one in ours if one.destination == self.destination and one.ref is not None}

    def listed(self) -> list[ApiSubmission]:
        """Its submissions in Kaggle's list."""
        return [one for one in submissions(self.client, self.name) if self.digest in (one.description or "")]

    def record(self, event: ledger.Kind, **fields: Any) -> None:
        ledger.append(self.book, event, self.digest, destination=self.destination, **fields)

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
    """Asks Kaggle for what the ledger does not know yet: what has arrived, and what it scored.

    Args:
        ledger_path: The ledger.
        connect: Signs in; not called where nothing is open.

    Raises:
        KitError: Kaggle cannot be asked.
    """
    still_open: dict[str, list[ledger.Entry]] = {}
    for entry in ledger.entries(ledger_path):
        place, _, name = (entry.destination or "").partition("/")
        if place == "kaggle" and not entry.error and None in (entry.ref, entry.public, entry.private):
            still_open.setdefault(name, []).append(entry)
    if not still_open:
        return
    client = connect()
    for name, unknown in still_open.items():
        listed = submissions(client, name)
        for entry in unknown:
            theirs = [one for one in listed if is_of(one, entry)]
            if theirs:
                record(ledger_path, entry, theirs[-1])


def _spend(client: Client, name: str, yes: bool, ask: Ask) -> None:
    """Says what the daily allowance leaves, and has a person agree."""
    request = ApiGetSubmissionLimitsRequest()
    request.competition_name = name
    limits = client.read(client.competitions.get_submission_limits, request)
    if limits.num_allowed_now <= 0:
        until = "the competition's whole allowance is used up" if limits.limited_by_total else retry.reset_text()
        raise KitError(f"{name}: not submitted: no submission is left today ({limits.num_today} made): {until}")
    left = f"{name}: {limits.num_allowed_now} submissions left today ({limits.num_today} made)"
    log.info("%s", left)
    if not yes and not ask(f"{left}. Submit?"):
        raise KitError(f"{name}: not submitted: not confirmed: --yes skips the question")


def _file_sender(place: _Place, path: Path, description: str) -> Callable[[], int]:
    """Uploads a file, which has no effect, and gives the act that submits it."""
    start = ApiStartSubmissionUploadRequest()
    start.competition_name, start.file_name = place.name, path.name
    start.content_length = path.stat().st_size
    start.last_modified_epoch_seconds = int(path.stat().st_mtime)
    target = place.client.read(place.client.competitions.start_submission_upload, start)
    upload(place.client, target.create_url, path)
    request = ApiCreateSubmissionRequest()
    request.competition_name, request.blob_file_tokens = place.name, target.token
    request.submission_description = description
    return lambda: _send(place, place.client.competitions.create_submission, request)


def _kernel_sender(place: _Place, kernel: str, description: str) -> Callable[[], int]:
    """The act that submits a kernel's output."""
    request = ApiCreateCodeSubmissionRequest()
    request.competition_name, request.file_name = place.name, kernel_output.SUBMISSION
    request.kernel_owner, request.kernel_slug, request.kernel_version = kernel_output.split(kernel)
    request.submission_description = description
    return lambda: _send(place, place.client.competitions.create_code_submission, request)


def _send(place: _Place, method: Callable[[Any], Any], request: Any) -> int:
    answer = place.client.act(method, request)
    if not answer.ref:
        reason = answer.message or "Kaggle gives no reason"
        raise retry.Refused(f"{place.name}: not submitted: {reason}: correct what it names")
    return answer.ref


def _scored(place: _Place) -> ledger.Entry:
    """Waits for the score and records it; a failure to learn it does not undo the submission."""
    entry = place.entry()
    assert entry is not None
    try:
        if entry.public is None:
            record(place.book, entry, _wait(place, entry.ref))
    except retry.Failure as failure:
        log.warning("%s; the submission stands, `kit scores` asks for its score", failure)
    entry = place.entry()
    assert entry is not None
    if entry.error:
        raise KitError(f"{entry.file}: submitted, but Kaggle cannot score it: {entry.error}")
    return entry


def _wait(place: _Place, ref: int | None) -> ApiSubmission | None:
    """The submission once it is scored; as it is after fifteen minutes."""
    with waiting("waiting for the score", "the submission stands; `make scores` asks for its score") as line:
        for pause in count(1):
            found = next((one for one in place.listed() if one.ref == ref), None)
            if (found and found.status != SubmissionStatus.PENDING) or line.seconds() > PATIENCE:
                return found
            time.sleep(POLL * min(pause, 15))
    raise AssertionError
