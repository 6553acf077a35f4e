"""What Kaggle says about a submission, as the ledger keeps it."""

import contextlib
import math
from pathlib import Path

from kagglesdk.competitions.types.competition_api_service import ApiSubmission
from kagglesdk.competitions.types.submission_status import SubmissionStatus

from kit.submissions import ledger


def is_of(one: ApiSubmission, entry: ledger.Entry) -> bool:
    """Whether a submission in Kaggle's list is an entry of the ledger: by its number, or what it was sent as."""
    return one.ref == entry.ref if entry.ref is not None else one.description == entry.description


def record(book: Path, entry: ledger.Entry, theirs: ApiSubmission | None) -> None:
    """Tells the ledger what is new about a submission."""
    if theirs is None:
        return
    about = {"destination": entry.destination, "ref": theirs.ref}
    if not entry.submitted:
        ledger.append(book, "submitted", entry.sha256, **about)
    public, private = _number(theirs.public_score), _number(theirs.private_score)
    error = (theirs.error_description or "no reason given") if theirs.status == SubmissionStatus.ERROR else ""
    if (public, private, error) != (entry.public, entry.private, entry.error):
        scores = {"public": public, "private": private} | ({"error": error} if error else {})
        ledger.append(book, "scored", entry.sha256, **about, **scores)


def _number(score: str | None) -> float | None:
    """A score; None while there is none, and for what is no number."""
    with contextlib.suppress(ValueError, TypeError):
        if math.isfinite(number := float(score or "")):
            return number
    return None
