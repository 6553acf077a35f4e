"""Submits locally; and the steps of any submission: it is checked, never sent twice by accident, and recorded."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.competition import layout, scoring, submission
from kit.core import files
from kit.core.errors import KitError, printable
from kit.submissions import ledger, standings

MEASURES = ("nested_dice", "interval", "dice_all_empty", "dice_positives", "apparent_dice")
"""Keys of a thresholds.json that the ledger keeps."""
Ask = Callable[[str], bool]
"""Asks the user a yes-or-no question; the answer is no if nobody can be asked."""


@dataclass(frozen=True)
class Outcome:
    """Result of a submission."""

    entry: ledger.Entry
    fresh: bool
    """False if nothing was submitted because the same file had been submitted before."""
    path: Path
    """The file; the ledger may know the same content under another name."""

    def __str__(self) -> str:
        return "\n".join(filter(None, (self._what_happened(), scoring.verdict(vars(self.entry)))))

    def _what_happened(self) -> str:
        place = f"{self.path}: "
        if self.entry.file not in ("", str(self.path)):
            place += f"has the content of {self.entry.file}: "
        if not self.entry.submitted:
            name = (self.entry.destination or "").partition("/")[2]
            return f"{place}valid; {name} has no solution.csv to score against; the file is ready"
        scores = " · ".join(
            f"{name} {value:.4f}"
            for name, value in (("public", self.entry.public), ("private", self.entry.private))
            if value is not None
        )
        if self.entry.destination == f"kaggle/{standings.COMPETITION}" and self.entry.private is not None:
            scores += f" ({standings.describe(self.entry.private)})"
        if self.fresh:
            return f"{place}submitted to {self.entry.destination}: {scores or 'no score yet, see `kit scores`'}"
        return (
            f"{place}nothing to do: this very file was submitted to {self.entry.destination} before"
            f" ({scores or 'no score yet, see `kit scores`'}); --again submits it once more"
        )


def never(question: str) -> bool:
    """Answers no, for callers that can ask nobody."""
    return False


@contextmanager
def checked_copy(path: Path, competition: layout.Competition, ledger_path: Path) -> Iterator[Path]:
    """Yields a copy of a valid submission, with the ledger locked while the block runs.

    The bytes that are checked, hashed, sent and kept are the same, even if `path` changes meanwhile.

    Raises:
        KitError: lists the problems of an invalid file; or another submission is under way.
    """
    with (
        tempfile.TemporaryDirectory(prefix="kit-submit-") as folder,
        files.locked(ledger_path, busy="another submission is under way: wait for it to finish"),
    ):
        copy = Path(folder, "submission.csv")
        files.copy(path, copy)
        try:
            submission.check(copy, competition.sample_ids, competition.shapes)
        except KitError as error:
            raise KitError(str(error).replace(str(copy), printable(path))) from None
        yield copy


def submit_local(
    path: Path,
    competition: layout.Competition,
    ledger_path: Path,
    oof: dict[str, Any],
    *,
    again: bool = False,
    ask: Ask = never,
    keep: Callable[[Path], None] = lambda copy: None,
) -> Outcome:
    """Validates a submission, and scores it on the built-in leaderboard if the data have a solution.csv.

    Args:
        oof: Content of its thresholds.json (`recipe`, `nested_dice`, …); empty for a file from elsewhere.
        keep: Called with the checked copy of the file while the ledger is locked.

    Raises:
        KitError: lists the problems of an invalid file, which is not recorded.
    """
    destination = f"local/{competition.name}"
    with checked_copy(path, competition, ledger_path) as copy:
        digest = files.sha256(copy)
        before = ledger.find(ledger_path, digest, destination)
        scored = before is not None and (before.public, before.private) != (None, None)
        if before and scored and not again and not ask(f"{path} was submitted before. Submit it again?"):
            keep(copy)
            return Outcome(before, fresh=False, path=path)
        if before is None:
            record_built(path, competition.name, ledger_path, digest, oof)
            ledger.append(ledger_path, "validated", digest, destination=destination)
        if competition.solution_path is not None:
            solution = scoring.read_solution(competition.solution_path)
            scores = scoring.score(submission.read(copy), solution, competition.shapes)
            if scored or not (before and before.submitted):  # else a call was killed between submitting and scoring
                ledger.append(ledger_path, "submitted", digest, destination=destination)
            figures = {"public": scores.public, "private": scores.private}
            ledger.append(ledger_path, "scored", digest, destination=destination, **figures)
        entry = ledger.find(ledger_path, digest, destination)
        assert entry is not None, "it was just written"
        keep(copy)
    return Outcome(entry, fresh=True, path=path)


def record_built(path: Path, name: str, ledger_path: Path, digest: str, oof: dict[str, Any]) -> None:
    """Records which run wrote the file, with its out-of-fold scores, unless that is the last such event of the file."""
    run = f"{name}/{oof['recipe']}" if "recipe" in oof else ""
    history = [
        (event.file, event.run)
        for event in ledger.read(ledger_path)
        if event.event == "built" and event.sha256 == digest
    ]
    file = printable(path)
    if history[-1:] == [(file, run)]:
        return
    scores = {key: oof.get(key) for key in MEASURES}
    ledger.append(ledger_path, "built", digest, file=file, run=run, **scores)
