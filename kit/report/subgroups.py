"""Where a run fails: its Dice in parts of the data, each with its bootstrap interval over patients."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from kit.competition.scoring import FULL_AREA
from kit.report import figures
from kit.report.cases import Cases
from kit.report.figures import Figure
from kit.thresholds.cross_validation import interval

AREAS = [1, 2048, 8192, 32768, 2**20 + 1]
"""Bounds of the bands of mask area, in pixels of a 1024×1024 image."""
AREA_BANDS = ("< 0.2 %", "0.2–0.8 %", "0.8–3 %", "≥ 3 %")
"""The same as shares of the image."""
AGES = [0, 20, 40, 60, 80, 200]
AGE_BANDS = ("< 20", "20–39", "40–59", "60–79", "≥ 80")
COLUMNS = ("group", "part", "images", "positives", "dice", "low", "high", "dice_positives", "negatives_empty")
RESAMPLES = 1000


def band(table: pd.DataFrame) -> pd.Series:
    """The band of mask area of each image; missing for negatives."""
    return pd.cut(table.truth_area, AREAS, right=False, labels=AREA_BANDS)


def age_band(table: pd.DataFrame) -> pd.Series:
    """The age band of each image; missing where the age is not known."""
    return pd.cut(table.age.astype("Float64"), AGES, right=False, labels=AGE_BANDS)


GROUPS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "mask area": band,
    "stratum": lambda table: table.stratum,
    "sex": lambda table: table.sex,
    "view": lambda table: table["view"],
    "age": age_band,
    "fold": lambda table: table.fold.astype(str),
}
"""How the images are parted, by the group's name."""


def breakdown(table: pd.DataFrame) -> pd.DataFrame:
    """Dice of each part of each group, and first of all images, as `COLUMNS`; a group of one part is left out.

    `dice` counts every image of the part once; `low` and `high` are its 95 % interval, patients drawn with all their
    images, and are missing where there is but one patient.

    Args:
        table: Of the cases: of all images, or of some.
    """
    rows = [_row("all", "all images", table)]
    for group, part_of in GROUPS.items():
        parts = part_of(table)
        names = parts.cat.categories if isinstance(parts.dtype, pd.CategoricalDtype) else sorted(parts.unique())
        there = [name for name in names if (parts == name).any()]
        rows += [_row(group, name, table[parts == name]) for name in there if len(there) > 1]
    return pd.DataFrame(rows, columns=COLUMNS)


def _row(group: str, part: str, table: pd.DataFrame) -> tuple:
    positive = table.truth_area > 0
    low = high = None  # one patient alone tells nothing of others
    if table.patient_id.nunique() > 1:
        low, high = interval(table.dice.to_numpy(), np.ones(len(table)), list(table.patient_id), RESAMPLES)
    return (
        group,
        str(part),
        len(table),
        int(positive.sum()),
        float(table.dice.mean()),
        low,
        high,
        float(table.dice[positive].mean()) if positive.any() else None,
        float((table.mask_area[~positive] == 0).mean()) if not positive.all() else None,
    )


@figures.styled
def forest(breakdown: pd.DataFrame, name: str, title: str) -> Figure:
    """The Dice of every part with its interval on one scale, beside that of all images.

    Args:
        breakdown: Of `breakdown`.
        name: Of the figure's files.
        title: Of the figure.
    """
    whole, rows = breakdown.iloc[0], breakdown.iloc[1:]
    figure, axes = figures.draw(height=0.9 + 0.24 * len(rows))
    group = rows.group.ne(rows.group.shift()).cumsum().to_numpy()
    places = -(np.arange(len(rows)) + 0.6 * (group - 1))
    axes.axvline(whole.dice, color=figures.MUTED, linewidth=1, linestyle="--")
    for place, number, row in zip(places, group, rows.itertuples(), strict=True):
        axes.hlines(place, row.low, row.high, color=figures.colour(number - 1), linewidth=2.4)
        axes.plot(row.dice, place, "o", color=figures.colour(number - 1), markersize=6)
    axes.set_yticks(places, [f"{row.group}: {row.part} ({row.images})" for row in rows.itertuples()])
    axes.set_ylim(places.min() - 0.7, 0.7)
    axes.set_xlim(max(0, rows.low.min() - 0.03), 1.01)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("mean Dice, 95 % interval")
    axes.set_title(title)
    worst = rows.loc[rows.dice.idxmin()]
    alt = f"Lowest is {worst.group} {worst.part} with {worst.dice:.3f} on {worst.images} images; "
    return figures.finish(figure, name, title, f"{alt}all images have {whole.dice:.3f}.", breakdown)


@figures.styled
def by_area(cases: Cases) -> Figure:
    """Dice of each positive against the area of its truth, with the running median."""
    table = cases.table[cases.positive].sort_values("truth_area")
    figure, axes = figures.draw()
    share = 100 * table.truth_area / FULL_AREA
    axes.scatter(share, table.dice, s=14, color=figures.colour(0), alpha=0.45, linewidths=0)
    window = max(9, len(table) // 8)
    median = table.dice.rolling(window, center=True, min_periods=3).median()
    axes.plot(share, median, color=figures.colour(1), label=f"running median of {window}")
    axes.set(xscale="log", ylim=(-0.03, 1.03), xlabel="area of the truth (% of the image)", ylabel="Dice")
    figures.plain_ticks(axes.xaxis)
    axes.set_title("Each image with a pneumothorax")
    axes.legend(loc="lower right")
    alt = f"{len(table)} images; the median Dice is {table.dice.median():.3f}."
    columns = ["image_id", "truth_area", "mask_area", "dice"]
    return figures.finish(figure, "dice-against-area", "Dice against area", alt, table[columns])
