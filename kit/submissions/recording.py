"""Kaggle's answers about a submission as events of the ledger, and the mark by which both identify the submission."""

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
    """Beginning of a submission's description, short enough to survive truncation."""

    digest: str
    """Sixteen hexadecimal digits of the submitted content."""
    number: int
    """1 for the first submission of this content, 2 for the second, …"""

    def describe(self, run: str) -> str:
        """Returns the description of a submission.

        >>> Mark("0123456789abcdef", 2).describe("siim/exp5")
        '0123456789abcdef #2 kit siim/exp5'
        """
        return f"{self.digest} #{self.number} kit {run[:40]}"


def make_digest(sha256: str, kernel: str) -> str:
    """Returns the mark's digest of a file, or of a kernel version `OWNER/SLUG/VERSION`."""
    return (hashlib.sha256(kernel.encode()).hexdigest() if kernel else sha256)[:16]


def parse_mark(description: str | None) -> Mark | None:
    """Returns the mark in a description; None if the kit did not write the description.

    >>> parse_mark("0123456789abcdef #12 kit si...")
    Mark(digest='0123456789abcdef', number=12)
    >>> parse_mark("kit siim/exp5 #3 sha256 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef").number
    3
    """
    digest = re.search(r"\b[0-9a-f]{16,64}\b", description or "")
    number = re.search(r"#(\d+)", description or "")
    return Mark(digest[0][:16], int(number[1])) if digest and number else None


def matches(item: ApiSubmission, entry: ledger.Entry) -> bool:
    """Whether a submission in Kaggle's list is that of a ledger entry, by its number or else the description's mark."""
    if entry.ref is not None:
        return item.ref == entry.ref
    mark = parse_mark(entry.description)
    return mark is not None and parse_mark(item.description) == mark


def record(ledger_path: Path, entry: ledger.Entry, item: ApiSubmission) -> None:
    """Appends to the ledger what Kaggle's list says about a submission and the entry does not."""
    keys = {"destination": entry.destination, "ref": item.ref} | ({"kernel": entry.kernel} if entry.kernel else {})
    if not entry.submitted:
        ledger.append(ledger_path, "submitted", entry.sha256, **keys)
    public, private = _number(item.public_score), _number(item.private_score)
    error = (item.error_description or "no reason given") if item.status == SubmissionStatus.ERROR else ""
    if (public, private, error) != (entry.public, entry.private, entry.error):
        scores = {"public": public, "private": private} | ({"error": error} if error else {})
        ledger.append(ledger_path, "scored", entry.sha256, **keys, **scores)


def _number(score: str | None) -> float | None:
    """Parses a score; None if it is missing or not a finite number."""
    with contextlib.suppress(ValueError, TypeError):
        if math.isfinite(number := float(score or "")):
            return number
    return None
