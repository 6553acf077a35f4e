"""Whether out-of-fold scores foretell the leaderboard: a data set's submissions that were scored."""

from collections.abc import Sequence
from itertools import groupby

import pandas as pd
from matplotlib.axes import Axes

from kit.core.files import sha256
from kit.report import figures
from kit.report.document import Submission
from kit.report.figures import Drawn, Figure
from kit.run import Run
from kit.submissions.ledger import Entry


def of_run(run: Run, entries: Sequence[Entry]) -> Entry | None:
    """The scored submission of a run: of its present submission.csv, else the last one scored; None without one."""
    name = f"{run.folder.parent.name}/{run.folder.name}"
    own = [entry for entry in _scored(entries) if entry.run == name]
    digest = sha256(run.submission) if run.submission.is_file() else None
    return next((entry for entry in own if entry.sha256 == digest), own[-1] if own else None)


def table(entries: Sequence[Entry], name: str, run: str = "") -> list[Submission]:
    """The scored submissions of a data set, the best private score first."""
    rows = [
        Submission(
            run=entry.run or entry.file,
            destination=entry.destination or "",
            nested=entry.nested_dice,
            apparent=entry.apparent_dice,
            public=entry.public,
            private=entry.private,
            time=entry.time,
            used=entry.run == run,
        )
        for entry in _scored(entries)
        if entry.run.startswith(f"{name}/") or entry.destination == f"local/{name}"
    ]
    return sorted(rows, key=lambda row: -1 if row.private is None else row.private, reverse=True)


def scatters(submissions: Sequence[Submission]) -> list[Figure]:
    """Nested against public and private Dice, a figure for each destination that has scored two submissions or more."""
    drawn = []
    for destination, rows in groupby(sorted(submissions, key=lambda row: row.destination), lambda row: row.destination):
        known = pd.DataFrame([row.model_dump() for row in rows])
        for part in ("public", "private"):
            both = known.dropna(subset=["nested", part])
            if len(both) > 1:
                drawn.append(_scatter(both, destination, part))
    return drawn


@figures.figure
def _scatter(axes: Axes, known: pd.DataFrame, destination: str, part: str) -> Drawn:
    both = pd.concat([known.nested, known[part]])
    ends = (both.min() - 0.01, both.max() + 0.01)
    axes.plot(ends, ends, color=figures.MUTED, linewidth=1, linestyle="--", label="as promised")
    for number, rows, size, label in ((0, known[~known.used], 26, None), (1, known[known.used], 52, "this run")):
        axes.scatter(rows.nested, rows[part], s=size, color=figures.colour(number), linewidths=0, label=label)
    axes.set(xlabel="nested Dice, out of fold", ylabel=f"{part} Dice")
    axes.legend(loc="upper left")
    gap = (known[part] - known.nested).mean()
    side = "above" if gap > 0 else "below"
    alt = f"{len(known)} submissions; {part} is {abs(gap):.4f} {side} the nested Dice on average."
    name = f"leaderboard-{destination.replace('/', '-')}-{part}"
    return Drawn(name, f"{part.capitalize()} against nested Dice, {destination}", alt, known[["run", "nested", part]])


def _scored(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.public is not None or entry.private is not None]
