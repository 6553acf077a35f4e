"""The scored submissions of a data set, and how well out-of-fold scores predict the leaderboard."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from kit.core.files import sha256
from kit.report import figures
from kit.report.document import Submission
from kit.report.figures import Drawn, Figure
from kit.run import Run
from kit.submissions.ledger import Entry


def of_run(run: Run, entries: Sequence[Entry]) -> Entry | None:
    """Returns the scored entry of the run's submission.csv, or its last scored entry, or None without any."""
    name = f"{run.folder.parent.name}/{run.folder.name}"
    scored = [entry for entry in _scored(entries) if entry.run == name]
    digest = sha256(run.submission) if run.submission.is_file() else None
    return next((entry for entry in scored if entry.sha256 == digest), scored[-1] if scored else None)


def table(entries: Sequence[Entry], name: str, run: str = "") -> list[Submission]:
    """Lists the scored submissions of a data set, the best private score first."""
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
    """Draws nested against public and private Dice for each destination with at least two scored submissions."""
    table = pd.DataFrame([row.model_dump() for row in submissions], columns=list(Submission.model_fields))
    drawn = []
    for destination, rows in table.groupby("destination"):
        for part in ("public", "private"):
            scored = rows.dropna(subset=["nested", part])
            if len(scored) > 1:
                drawn.append(_scatter(scored, destination, part))
    return drawn


@figures.figure
def _scatter(axes: Axes, table: pd.DataFrame, destination: str, part: str) -> Drawn:
    dice = pd.concat([table.nested, table[part]])
    ends = (dice.min() - 0.01, dice.max() + 0.01)
    axes.plot(ends, ends, color=figures.MUTED, linewidth=1, linestyle="--", label="as promised")
    for number, rows, size, label in ((0, table[~table.used], 26, None), (1, table[table.used], 52, "this run")):
        axes.scatter(rows.nested, rows[part], s=size, color=figures.colour(number), linewidths=0, label=label)
    axes.set(xlabel="nested Dice, out of fold", ylabel=f"{part} Dice")
    axes.legend(loc="upper left")
    gap = (table[part] - table.nested).mean()
    side = "above" if gap > 0 else "below"
    alt = f"{len(table)} submissions; {part} is {abs(gap):.4f} {side} the nested Dice on average."
    name = f"leaderboard-{destination.replace('/', '-')}-{part}"
    return Drawn(name, f"{part.capitalize()} against nested Dice, {destination}", alt, table[["run", "nested", part]])


def _scored(entries: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry.public is not None or entry.private is not None]
