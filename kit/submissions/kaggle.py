"""A submission's way to Kaggle: sent once, found again after whatever went wrong, its score waited for."""

import logging
import time
from collections.abc import Callable
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
from kit.core.errors import KitError
from kit.kaggle import kernel_output, retry
from kit.kaggle.client import Client
from kit.kaggle.transfer import upload
from kit.kaggle.waiting import waiting
from kit.submissions import ledger
from kit.submissions.submit import Ask, Outcome, never, record_built, validate

log = logging.getLogger(__name__)

LOOKS = (0.0, 2.0, 5.0)
"""Seconds before each look at Kaggle's list for a submission that may still be on its way into it."""
PATIENCE = 900.0
"""Seconds to wait for a score."""
POLL = 1.0
"""Seconds between the first two looks for a score; each pause is longer than the one before, up to 15 of them."""
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
        KitError: the file is invalid, the allowance is used up, nobody agreed, or Kaggle does not take it.
    """
    destination = f"kaggle/{name}"
    validate(path, competition)
    digest = files.sha256(path)

    def scored(fresh: bool) -> Outcome:
        entry = _scored(client, name, ledger_path, ledger.find(ledger_path, digest, destination))
        return Outcome(entry, fresh, path)

    with files.locked(ledger_path, busy="another submission is under way: wait until it ends"):
        entry = ledger.find(ledger_path, digest, destination)
        if entry and not entry.submitted:
            arrived = _look(client, name, entry.description)
            if arrived:
                ledger.append(ledger_path, "submitted", digest, destination=destination, ref=arrived[-1].ref)
                return scored(fresh=True)
        earlier = [one for one in submissions(client, name) if digest in (one.description or "")]
        known = bool(earlier) or (entry is not None and entry.submitted)
        if known and not again and not ask(f"{path} was submitted to {name} before. Submit it again?"):
            if entry is None or not entry.submitted:
                record_built(path, competition.name, ledger_path, digest, oof)
                ledger.append(ledger_path, "submitted", digest, destination=destination, ref=earlier[-1].ref)
            return scored(fresh=False)
        _spend(client, name, yes, ask)
        record_built(path, competition.name, ledger_path, digest, oof)
        run = f"{competition.name}/{oof['recipe']}" if "recipe" in oof else path.name
        description = f"kit {run} #{len(earlier) + 1} sha256 {digest}"
        ledger.append(ledger_path, "validated", digest, destination=destination, description=description)
        if kernel is None:
            ref = _send_file(client, name, path, description)
        else:
            ref = _send_kernel(client, name, kernel, path.name, description)
        ledger.append(ledger_path, "submitted", digest, destination=destination, ref=ref)
    return scored(fresh=True)


def submissions(client: Client, name: str) -> list[ApiSubmission]:
    """All submissions of the account to a competition, the oldest first."""
    found: dict[int, ApiSubmission] = {}
    token = ""
    for page in count(1):
        request = ApiListSubmissionsRequest()
        request.competition_name = name
        if token:
            request.page_token = token
        else:
            request.page = page
        answer = client.read(client.competitions.list_submissions, request)
        listed = answer.submissions or []
        fresh = {one.ref: one for one in listed if one.ref not in found}
        found.update(fresh)
        token = answer.next_page_token
        if not fresh or (not token and len(listed) < PAGE):
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
    client = connect() if still_open else None
    for name, unknown in still_open.items():
        listed = submissions(client, name)
        for entry in unknown:
            theirs = [one for one in listed if entry.ref == one.ref or entry.sha256 in (one.description or "")]
            if theirs:
                _record(ledger_path, entry, theirs[-1])


def _look(client: Client, name: str, description: str) -> list[ApiSubmission]:
    """Submissions of that description; where there is none, a few looks later."""
    for wait in LOOKS:
        time.sleep(wait)
        found = [one for one in submissions(client, name) if one.description == description]
        if found:
            return found
    return []


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
        raise KitError(f"{name}: not submitted: nobody agreed: --yes skips the question")


def _send_file(client: Client, name: str, path: Path, description: str) -> int:
    start = ApiStartSubmissionUploadRequest()
    start.competition_name = name
    start.file_name = path.name
    start.content_length = path.stat().st_size
    start.last_modified_epoch_seconds = int(path.stat().st_mtime)
    place = client.read(client.competitions.start_submission_upload, start)  # Without effect until it is submitted.
    upload(place.create_url, path)
    request = ApiCreateSubmissionRequest()
    request.competition_name = name
    request.blob_file_tokens = place.token
    request.submission_description = description
    return _send(client, name, client.competitions.create_submission, request)


def _send_kernel(client: Client, name: str, kernel: str, file_name: str, description: str) -> int:
    request = ApiCreateCodeSubmissionRequest()
    request.competition_name = name
    request.kernel_owner, request.kernel_slug, request.kernel_version = kernel_output.split(kernel)
    request.file_name = file_name
    request.submission_description = description
    return _send(client, name, client.competitions.create_code_submission, request)


def _send(client: Client, name: str, method: Callable[[Any], Any], request: Any) -> int:
    """Sends the request that spends a submission; repeats it only when Kaggle's list proves that it had no effect."""

    def attempt(number: int) -> int:
        try:
            answer = client.act(method, request)
        except retry.Unsettled as failure:
            arrived = _look(client, name, request.submission_description)
            if arrived:
                return arrived[-1].ref
            if failure.finished:
                raise
            raise KitError(
                f"{failure}; Kaggle does not list the submission: the same command again looks first"
            ) from None
        if not answer.ref:
            raise KitError(f"{name}: not submitted: {answer.message or 'Kaggle gives no reason'}: mend what it names")
        return answer.ref

    return retry.persist(attempt)


def _scored(client: Client, name: str, ledger_path: Path, entry: ledger.Entry) -> ledger.Entry:
    """Waits for the score and records it; a failure to learn it does not undo the submission."""
    try:
        if entry.public is None:
            _record(ledger_path, entry, _wait(client, name, entry.ref))
    except retry.Failure as failure:
        log.warning("%s; the submission stands, `kit scores` asks for its score", failure)
    entry = ledger.find(ledger_path, entry.sha256, entry.destination)
    if entry.error:
        raise KitError(f"{entry.file}: submitted, but Kaggle cannot score it: {entry.error}")
    return entry


def _wait(client: Client, name: str, ref: int) -> ApiSubmission | None:
    """The submission once it is scored; as it is after fifteen minutes."""
    with waiting("waiting for the score") as line:
        for pause in count(1):
            found = next((one for one in submissions(client, name) if one.ref == ref), None)
            if (found and found.status != SubmissionStatus.PENDING) or line.seconds() > PATIENCE:
                return found
            time.sleep(POLL * min(pause, 15))
    raise AssertionError


def _record(ledger_path: Path, entry: ledger.Entry, theirs: ApiSubmission | None) -> None:
    """Tells the ledger what is new about a submission."""
    if theirs is None:
        return
    if not entry.submitted:
        ledger.append(ledger_path, "submitted", entry.sha256, destination=entry.destination, ref=theirs.ref)
    public, private = (float(score) if score else None for score in (theirs.public_score, theirs.private_score))
    error = (theirs.error_description or "no reason given") if theirs.status == SubmissionStatus.ERROR else ""
    if (public, private, error) != (entry.public, entry.private, entry.error):
        scores = {"public": public, "private": private} | ({"error": error} if error else {})
        ledger.append(ledger_path, "scored", entry.sha256, destination=entry.destination, **scores)
