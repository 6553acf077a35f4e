"""What Kaggle says about a submission, as the ledger keeps it, and how the two know it by its description."""

import contextlib
import hashlib
import math
import re
from pathlib import Path
from typing import NamedTuple

from kagglesdk.competitions.types.competition_api_service import ApiSubmission
from kagglesdk.competitions.types.submission_status import SubmissionStatus

from kit.submissions import ledger


class Mark(NamedTuple):
    """How a description begins, so that it survives being shortened."""

    digest: str
    """Sixteen hexadecimal digits of what is submitted."""
    number: int
    """Of the same submitted before, and this one."""

    def describe(self, run: str) -> str:
        """The description of a submission.

        >>> Mark("0123456789abcdef", 2).describe("siim/exp5")
        '0123456789abcdef #2 kit siim/exp5'
        """
        return f"{self.digest} #{self.number} kit {run[:40]}"


def digest_of(sha256: str, kernel: str) -> str:
    """The mark's digest of a file, or of the version `OWNER/SLUG/VERSION` of a kernel."""
    return (hashlib.sha256(kernel.encode()).hexdigest() if kernel else sha256)[:16]


def mark_of(description: str | None) -> Mark | None:
    """The mark in a description; None where somebody else has written it.

    >>> mark_of("0123456789abcdef #12 kit si...")
    Mark(digest='0123456789abcdef', number=12)
    >>> mark_of("kit siim/exp5 #3 sha256 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef").number
    3
    """
    digest = re.search(r"\b[0-9a-f]{16,64}\b", description or "")
    number = re.search(r"#(\d+)", description or "")
    return Mark(digest[0][:16], int(number[1])) if digest and number else None


def is_of(one: ApiSubmission, entry: ledger.Entry) -> bool:
    """Whether a submission in Kaggle's list is an entry of the ledger: by its number, or what it was sent as."""
    if entry.ref is not None:
        return one.ref == entry.ref
    mark = mark_of(entry.description)
    return mark is not None and mark_of(one.description) == mark


def record(book: Path, entry: ledger.Entry, theirs: ApiSubmission | None) -> None:
    """Tells the ledger what is new about a submission."""
    if theirs is None:
        return
    about = {"destination": entry.destination, "ref": theirs.ref} | ({"kernel": entry.kernel} if entry.kernel else {})
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
