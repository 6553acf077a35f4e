"""Whether out-of-fold scores foretell the leaderboard: all submissions of the ledger that were scored."""

from collections.abc import Sequence

import pandas as pd

from kit.report import figures
from kit.report.figures import Figure
from kit.submissions.ledger import Entry

COLUMNS = ("run", "destination", "oof", "nested", "public", "private", "time")


def table(entries: Sequence[Entry]) -> pd.DataFrame:
    """A row a scored submission, the best private score first, as `COLUMNS`."""
    rows = [
        (
            entry.run or entry.file,
            entry.destination,
            entry.dice,
            entry.nested_dice,
            entry.public,
            entry.private,
            entry.time,
        )
        for entry in entries
        if entry.public is not None or entry.private is not None
    ]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("private", ascending=False, ignore_index=True)


@figures.styled
def scatter(table: pd.DataFrame, name: str, run: str) -> Figure | None:
    """Out-of-fold against `public` or `private` Dice; None where fewer than two submissions have both.

    Args:
        table: Of `table`.
        name: The leaderboard's part.
        run: The submission to mark, NAME/RECIPE.
    """
    known = table.dropna(subset=["oof", name])
    if len(known) < 2:
        return None
    figure, axes = figures.draw()
    both = pd.concat([known.oof, known[name]])
    ends = (both.min() - 0.01, both.max() + 0.01)
    axes.plot(ends, ends, color=figures.MUTED, linewidth=1, linestyle="--", label="as promised")
    own = known.run == run
    axes.scatter(known.oof[~own], known[name][~own], s=26, color=figures.colour(0), alpha=0.7, linewidths=0)
    axes.scatter(known.oof[own], known[name][own], s=52, color=figures.colour(1), linewidths=0, label="this run")
    axes.set(xlabel="out-of-fold Dice", ylabel=f"{name} Dice")
    axes.set_title(f"{name.capitalize()} against out of fold")
    axes.legend(loc="upper left")
    gap = (known[name] - known.oof).mean()
    alt = (
        f"{len(known)} submissions; {name} is {abs(gap):.4f} {'above' if gap > 0 else 'below'} out of fold on average."
    )
    return figures.finish(figure, f"leaderboard-{name}", f"{name.capitalize()} against out of fold", alt, known)
