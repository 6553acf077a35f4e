"""The Dice of a run in parts of the data, each with a bootstrap interval over patients."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from kit.competition.scoring import FULL_AREA
from kit.report import figures
from kit.report.cases import Cases
from kit.report.document import Interval, Part
from kit.report.figures import Drawn
from kit.thresholds.cross_validation import interval

AREAS = [1, 2048, 8192, 32768, 2**20 + 1]
"""Bounds of the bands of mask area, in pixels of a 1024×1024 image."""
AREA_BANDS = ("< 0.2 %", "0.2–0.8 %", "0.8–3 %", "≥ 3 %")
"""Names of the bands, as shares of the image."""
AGES = [0, 20, 40, 60, 80, 200]
AGE_BANDS = ("< 20", "20–39", "40–59", "60–79", "≥ 80")
GROUPS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "mask area": lambda table: pd.cut(table.truth_area, AREAS, right=False, labels=AREA_BANDS),
    "stratum": lambda table: table.stratum,
    "sex": lambda table: table.sex,
    "view": lambda table: table["view"],
    "age": lambda table: pd.cut(table.age.astype("Float64"), AGES, right=False, labels=AGE_BANDS),
    "fold": lambda table: table.fold.astype(str),
}
"""Functions that assign each image to a part of a group, by the group's name; NaN means no part."""


def parts(table: pd.DataFrame) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yields group, part and images for each part of each group that has at least two parts, in the groups' order."""
    for group, part_of in GROUPS.items():
        column = part_of(table)
        names = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else sorted(column.unique())
        filled = [name for name in names if (column == name).any()]
        yield from ((group, str(name), table[column == name]) for name in filled if len(filled) > 1)


def mean_interval(table: pd.DataFrame, column: str) -> Interval:
    """Returns the 95 % interval of a column's mean, over patients; None if there is only one patient."""
    if table.patient_id.nunique() < 2:
        return None
    low, high = interval(table[column].to_numpy(), list(table.patient_id))
    return float(low), float(high)


def breakdown(table: pd.DataFrame) -> list[Part]:
    """Scores all images together, then each part of each group."""
    return [_part(*part) for part in [("all", "all images", table), *parts(table)]]


def _part(group: str, part: str, table: pd.DataFrame) -> Part:
    positive = table.truth_area > 0
    return Part(
        group=group,
        part=part,
        images=len(table),
        positives=int(positive.sum()),
        dice=float(table.dice.mean()),
        interval=mean_interval(table, "dice"),
        dice_positives=float(table.dice[positive].mean()) if positive.any() else None,
        negatives_empty=float((table.mask_area[~positive] == 0).mean()) if not positive.all() else None,
    )


def draw_intervals(axes: Axes, rows: pd.DataFrame, centre: float) -> tuple[float, float]:
    """Draws means with intervals, one below the other and in one colour per group, beside a vertical line.

    Args:
        rows: Columns group, part, images, mean, low and high; low and high may be NaN.
        centre: Position of the line.

    Returns:
        Width and height that the figure needs.
    """
    group = rows.group.ne(rows.group.shift()).cumsum().to_numpy()
    heights = -(np.arange(len(rows)) + 0.6 * (group - 1))
    axes.axvline(centre, color=figures.MUTED, linewidth=1, linestyle="--")
    for y, number, row in zip(heights, group, rows.itertuples(), strict=True):
        axes.hlines(y, row.low, row.high, color=figures.colour(number - 1), linewidth=2.4)
        axes.plot(row.mean, y, "o", color=figures.colour(number - 1), markersize=6)
    axes.set_yticks(heights, [f"{row.group}: {row.part} ({row.images})" for row in rows.itertuples()])
    axes.set_ylim(heights.min() - 0.7, 0.7)
    axes.grid(axis="y", visible=False)
    return 4.7, 0.9 + 0.24 * len(rows)


@figures.figure
def forest(axes: Axes, parts: Sequence[Part], name: str, title: str) -> Drawn:
    """Draws the Dice of each part with its interval, and the Dice of all images as a line."""
    whole, *others = parts
    rows = pd.DataFrame([part.model_dump() for part in others]).rename(columns={"dice": "mean"})
    rows["low"], rows["high"] = zip(*(part.interval or (np.nan, np.nan) for part in others), strict=True)
    size = draw_intervals(axes, rows, whole.dice)
    axes.set_xlim(max(0, min(rows.low.min(), rows["mean"].min()) - 0.03), 1.01)
    axes.set_xlabel("mean Dice, 95 % interval")
    worst = min(others, key=lambda part: part.dice)
    alt = f"Lowest is {worst.group} {worst.part} with {worst.dice:.3f} on {worst.images} images; "
    columns = ["group", "part", "images", "mean", "low", "high"]
    return Drawn(name, title, f"{alt}all images have {whole.dice:.3f}.", rows[columns], size=size)


@figures.figure
def by_area(axes: Axes, cases: Cases) -> Drawn:
    """Draws the Dice of each positive image against the area of its truth, with the running median."""
    table = cases.table[cases.positive].sort_values("truth_area")
    share = 100 * table.truth_area / FULL_AREA
    axes.scatter(share, table.dice, s=14, color=figures.colour(0), alpha=0.45, linewidths=0, gid=figures.CASES)
    window = max(9, len(table) // 8)
    median = table.dice.rolling(window, center=True, min_periods=3).median()
    axes.plot(share, median, color=figures.colour(1), label=f"running median of {window}")
    axes.set(xscale="log", ylim=(-0.03, 1.03), xlabel="area of the truth (% of the image)", ylabel="Dice")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(loc="lower right")
    alt = f"{len(table)} positive images; the median Dice is {table.dice.median():.3f}."
    data = table[["image_id", "truth_area", "mask_area", "dice"]]
    return Drawn("dice-against-area", "Dice against area", alt, data, list(table.index))
