"""Whether out-of-fold scores foretell the leaderboard: a data set's submissions that were scored."""

import re
from collections.abc import Sequence

import pandas as pd

from kit.report import figures
from kit.report.figures import Figure
from kit.submissions.ledger import Entry

COLUMNS = ("run", "destination", "nested", "apparent", "public", "private", "time")


def table(entries: Sequence[Entry], name: str) -> pd.DataFrame:
    """A row a scored submission of a data set, the best private score first, as `COLUMNS`.

    Args:
        entries: Of the ledger, of all data sets.
        name: Of the data set.
    """
    rows = [
        (
            entry.run or entry.file,
            entry.destination,
            entry.nested_dice,
            entry.apparent_dice,
            entry.public,
            entry.private,
            entry.time,
        )
        for entry in entries
        if (entry.public is not None or entry.private is not None)
        and (entry.run.startswith(f"{name}/") or entry.destination == f"local/{name}")
    ]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("private", ascending=False, ignore_index=True)


def scatters(table: pd.DataFrame, run: str) -> list[Figure]:
    """Nested against public and private Dice, a figure for each destination that has scored two submissions or more.

    Args:
        table: Of `table`.
        run: The submission to mark, NAME/RECIPE.
    """
    drawn = []
    for destination, rows in table.groupby("destination"):
        for part in ("public", "private"):
            known = rows.dropna(subset=["nested", part])
            if len(known) > 1:
                drawn.append(_scatter(known, str(destination), part, run))
    return drawn


@figures.styled
def _scatter(known: pd.DataFrame, destination: str, name: str, run: str) -> Figure:
    figure, axes = figures.draw()
    both = pd.concat([known.nested, known[name]])
    ends = (both.min() - 0.01, both.max() + 0.01)
    axes.plot(ends, ends, color=figures.MUTED, linewidth=1, linestyle="--", label="as promised")
    own = known.run == run
    axes.scatter(known.nested[~own], known[name][~own], s=26, color=figures.colour(0), alpha=0.7, linewidths=0)
    axes.scatter(known.nested[own], known[name][own], s=52, color=figures.colour(1), linewidths=0, label="this run")
    title = f"{name.capitalize()} against nested Dice, {destination}"
    axes.set(xlabel="nested Dice, out of fold", ylabel=f"{name} Dice")
    axes.set_title(title)
    axes.legend(loc="upper left")
    gap = (known[name] - known.nested).mean()
    side = "above" if gap > 0 else "below"
    alt = f"{len(known)} submissions; {name} is {abs(gap):.4f} {side} the nested Dice on average."
    file = re.sub(r"[^A-Za-z0-9._-]+", "-", f"leaderboard-{destination}-{name}")
    return figures.finish(figure, file, title, alt, known)
