"""Comparison of runs image by image: paired differences of Dice with intervals, and which run wins where."""

from itertools import combinations
from typing import NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from kit.core.errors import KitError
from kit.report import figures, subgroups
from kit.report.figures import Drawn
from kit.thresholds.cross_validation import interval

EQUAL = 1e-9
"""Dice scores that differ by less count as equal."""
LISTED = 8
"""Number of images to list for each run."""


class Pair(NamedTuple):
    """Two runs and the images that both have predicted."""

    first: str
    second: str
    table: pd.DataFrame
    """One row per image: the columns of `cases`, dice_first, dice_second and difference (second minus first)."""
    mean: float
    low: float
    high: float
    """Bounds of the 95 % bootstrap interval of the mean difference, over patients."""

    @property
    def wins(self) -> tuple[int, int, int]:
        """Numbers of images that the first run wins, that are equal, and that the second run wins."""
        difference = self.table.difference
        return int((difference < -EQUAL).sum()), int((difference.abs() <= EQUAL).sum()), int((difference > EQUAL).sum())

    @property
    def verdict(self) -> str:
        """Which run is better, or that the interval does not decide it."""
        if self.low > 0 or self.high < 0:
            return f"{self.second if self.low > 0 else self.first} is better"
        return "not decided: the interval contains 0"


def pairs(tables: dict[str, pd.DataFrame]) -> list[Pair]:
    """Pairs each run with each later one, by their tables of cases.

    Raises:
        KitError: two runs have no image in common.
    """
    compared = []
    for first, second in combinations(tables, 2):
        columns = ["image_id", "dice", "mask_area", "outcome", "fold"]
        table = tables[first].merge(tables[second][columns], on="image_id", suffixes=("_first", "_second"))
        if table.empty:
            raise KitError(f"{first} and {second} have predicted no image in common: compare runs on the same data")
        table["difference"] = table.dice_second - table.dice_first
        low, high = interval(table.difference.to_numpy(), list(table.patient_id))
        compared.append(Pair(first, second, table, float(table.difference.mean()), low, high))
    return compared


def by_group(pair: Pair) -> pd.DataFrame:
    """Computes the difference in each part of the data; folds are left out, since the runs may be split differently.

    Returns:
        Columns group, part, images, the mean Dice of the first and second run, and mean, low and high of the
        difference.
    """
    rows = []
    for group, name, part in subgroups.parts(pair.table.assign(fold=0)):
        low, high = subgroups.mean_interval(part, "difference") or (float("nan"), float("nan"))
        means = (float(part[column].mean()) for column in ("dice_first", "dice_second", "difference"))
        rows.append((group, name, len(part), *means, low, high))
    return pd.DataFrame(rows, columns=["group", "part", "images", "first", "second", "mean", "low", "high"])


def extremes(pair: Pair) -> pd.DataFrame:
    """Lists the images on which two runs differ most; images that the second run wins come first."""
    table = pair.table.sort_values(["difference", "image_id"], ascending=[False, True])
    ends = pd.concat([table.head(LISTED), table.tail(LISTED)]).drop_duplicates("image_id")
    columns = ["image_id", "stratum", "truth_area", "dice_first", "dice_second", "difference"]
    return ends.loc[ends.difference.abs() > EQUAL, columns]


def named(pair: Pair, table: pd.DataFrame) -> pd.DataFrame:
    """Renames the columns of the first and the second run in a table to the runs' names."""
    names = {"first": f"Dice of {pair.first}", "second": f"Dice of {pair.second}", "mean": "difference"}
    return table.rename(columns=names | {f"dice_{which}": names[which] for which in ("first", "second")})


def text(pairs: list[Pair]) -> str:
    """Formats a comparison for a terminal."""
    lines = []
    for pair in pairs:
        first, equal, second = pair.wins
        table = pair.table
        lines += [
            f"{pair.second} against {pair.first}, {len(table)} images:",
            f"  by the rules in use, mean Dice {table.dice_second.mean():.4f} against {table.dice_first.mean():.4f}: "
            f"{pair.mean:+.4f} [{pair.low:+.4f}, {pair.high:+.4f}], {pair.verdict}",
            f"  {pair.second} wins on {second} images, {pair.first} on {first}, {equal} are equal",
            *("  " + line for line in named(pair, by_group(pair)).round(4).to_string(index=False).splitlines()),
        ]
    return "\n".join(lines)


@figures.figure
def scatter(axes: Axes, pair: Pair) -> Drawn:
    """Draws the Dice of each image by both runs."""
    axes.plot([0, 1], [0, 1], color=figures.MUTED, linewidth=1, linestyle="--")
    figures.scatter_cases(axes, pair.table.dice_first, pair.table.dice_second, (pair.table.truth_area > 0).to_numpy())
    axes.set(xlabel=f"Dice by {pair.first}", ylabel=f"Dice by {pair.second}", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    axes.legend(loc="lower right")
    first, equal, second = pair.wins
    alt = f"{pair.second} wins on {second} images, {pair.first} on {first}, {equal} are equal."
    data = pair.table[["image_id", "truth_area", "dice_first", "dice_second", "difference"]]
    return Drawn(f"{_file(pair)}-images", "Image by image: above the line the second wins", alt, data, size=(4.7, 4.0))


@figures.figure
def forest(axes: Axes, pair: Pair) -> Drawn:
    """Draws the difference in each part of the data with its interval."""
    rows = by_group(pair)
    size = subgroups.draw_intervals(axes, rows, 0)
    axes.set_xlabel(f"Dice of {pair.second} minus Dice of {pair.first}")
    decided = rows[(rows.low > 0) | (rows.high < 0)]
    alt = f"In {len(decided)} of {len(rows)} parts the interval excludes 0."
    return Drawn(f"{_file(pair)}-parts", "Which run wins where", alt, rows, size=size)


def _file(pair: Pair) -> str:
    return f"{pair.second}-against-{pair.first}"
