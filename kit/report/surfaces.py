"""What a threshold search found: rules side by side, and the Dice over their thresholds as a picture."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kit.competition import scoring
from kit.core.arrays import read_arrays
from kit.inference import rules, thresholds_file
from kit.inference.thresholds_file import read_measured
from kit.report import figures, summary
from kit.report.document import Search
from kit.report.figures import Drawn, Figure
from kit.run import Run
from kit.thresholds.exact import FLAT

SHOWN = 0.1
"""Dice below the best by more than this has one colour."""
AXES = {
    "binarization": "binarization (B-TH)",
    "removal": "removal (R-TH, pixels of 1024×1024)",
    "top": "top",
}
"""What each threshold is called on an axis."""
NO_THRESHOLDS = "decided image by image"
"""What stands in their place of the rule `expected`."""


def read_search(folder: Path, tta: bool, used: bool) -> Search:
    """What a search has written."""
    found = read_measured(folder / "thresholds.json")
    return Search(
        rule=found["rule"],
        tta=tta,
        thresholds=summary.thresholds(found) or NO_THRESHOLDS,
        nested=found["nested_dice"],
        interval=found["interval"] and tuple(found["interval"]),
        all_empty=found["dice_all_empty"],
        dice_positives=found["dice_positives"],
        negatives_empty=found["negatives_empty"],
        apparent=found["apparent_dice"],
        used=used,
    )


def searches(run: Run) -> list[Search]:
    """What the search found for each rule, with and without TTA; the best nested Dice first.

    The recipe's own thresholds, which nobody searched, are not among them.
    """
    recipe, chosen = run.read_recipe(), thresholds_file.search_of(read_measured(run.thresholds))
    found = [
        read_search(run.rule(name, tta), tta, name == chosen and tta == recipe.tta)
        for name in sorted(rules.RULES)
        for tta in (True, False)
        if (run.rule(name, tta) / "thresholds.json").is_file()
    ]
    return sorted(found, key=lambda search: (search.nested or 0, search.apparent), reverse=True)


def table(folders: dict[str, Path], in_use: Path | None = None) -> str:
    """The searches side by side, one a line.

    Args:
        folders: Each with a thresholds.json, by what to call it.
        in_use: The one whose rule the run predicts with; its line begins with a star.
    """
    rows: list[tuple[str, ...]] = [
        ("rule", "thresholds", "nested Dice", "interval", "all empty", "positives", "negatives empty", "apparent")
    ]
    for name, folder in folders.items():
        found = read_search(folder, True, folder == in_use)
        interval = "–" if found.interval is None else "–".join(f"{bound:.4f}" for bound in found.interval)
        scores = (found.all_empty, found.dice_positives, found.negatives_empty, found.apparent)
        nested, *others = ("–" if score is None else f"{score:.4f}" for score in (found.nested, *scores))
        rows.append((f"* {name}" if found.used else name, found.thresholds, nested, interval, *others))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def verdict(folders: Iterable[Path]) -> str:
    """What to do where the best of some searches is no better than an empty submission; empty where one is."""
    found = [read_measured(folder / "thresholds.json") for folder in folders]
    return scoring.verdict(max(found, key=lambda one: one["nested_dice"] or 0))


def draw(folder: Path, prefix: str = "") -> list[Figure]:
    """The Dice over a rule's thresholds: heat maps with the optimum, and what loses little around it.

    The `triplet` has two heat maps: binarization against removal at the best top, and against top at the best removal.

    Returns:
        None of them for a rule without a surface.
    """
    if not (folder / "surface.npz").is_file():
        return []
    found = read_measured(folder / "thresholds.json")
    axes = read_arrays(folder / "surface.npz", "levels", "removal", "dice")
    dice = axes["dice"]  # ([top,] binarization, removal)
    values = {"top": axes["levels"], "binarization": axes["levels"], "removal": axes["removal"]}
    names = [name for name in values if name in found]
    best = {name: int(np.searchsorted(values[name], found[name])) for name in names}
    drawn = []
    for across, file in (("removal", "surface"), ("top", "surface-top")):
        if across in names:
            panel = _through(dice, names, best, "binarization", across)
            drawn.append(_heat_map(f"{prefix}{file}", found, panel, across, values, best))
    return drawn


def _through(dice: np.ndarray, names: list[str], best: dict[str, int], *kept: str) -> np.ndarray:
    """The part of a surface where all thresholds but those kept are the best, its axes in the order of `kept`."""
    part = dice[tuple(slice(None) if name in kept else best[name] for name in names)]
    left = [name for name in names if name in kept]
    return np.transpose(part, [left.index(name) for name in kept])


@figures.figure
def _heat_map(axes: Axes, name: str, found: dict, dice: np.ndarray, across: str, values: dict, best: dict) -> Drawn:
    """Dice (256 levels, values across) and its optimum; the numbers are in surface.npz."""
    high = dice.max()
    image = axes.imshow(
        dice, origin="lower", aspect="auto", interpolation="nearest", vmin=max(dice.min(), high - SHOWN), vmax=high
    )
    bar = axes.figure.colorbar(image, ax=axes, label="apparent mean Dice")
    bar.outline.set_visible(False)
    near = dice >= high - FLAT
    line = min(near.any(axis=0).sum(), near.any(axis=1).sum()) > 2 and not near.all()  # else there is none to be seen
    if line:
        axes.contour(dice, levels=[high - FLAT], colors="white", linewidths=1)
    axes.plot(best[across], best["binarization"], "+", color="#e11d2e", markersize=13, markeredgewidth=2.4)
    for axis, marks in ((axes.xaxis, values[across]), (axes.yaxis, values["binarization"])):
        places = figures.marks(marks)
        axis.set_ticks(places, [np.format_float_positional(marks[place], 2, trim="-") for place in places])
    axes.grid(visible=False)
    axes.set(xlabel=AXES[across], ylabel=AXES["binarization"])
    alt = f"Mean Dice is highest, {dice[best['binarization'], best[across]]:.4f}, at {summary.thresholds(found)}"
    alt += f"; within the white line no more than {FLAT} is lost." if line else "."
    title = f"{found['rule']}: apparent Dice {found['apparent_dice']:.4f}"
    return Drawn(name, title, alt, pd.DataFrame(), size=(4.7, 3.6))
