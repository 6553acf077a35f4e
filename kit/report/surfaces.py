"""What a threshold search found: rules side by side, and the Dice over their thresholds as pictures."""

from collections.abc import Iterable
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kit.competition import scoring
from kit.core.arrays import read_arrays
from kit.inference import rules
from kit.inference.rules import ExpectedRule
from kit.inference.thresholds_file import MEASURES, read_measured
from kit.report import figures, summary
from kit.report.cases import Cases
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
    found = read_measured(folder / "thresholds.json").content
    scores = {key: found[key] for key in MEASURES} | {"interval": found["interval"] and tuple(found["interval"])}
    named = summary.thresholds(found) or NO_THRESHOLDS
    return Search(rule=found["rule"], tta=tta, thresholds=named, used=used, **scores)


def searches(run: Run, cases: Cases | None = None) -> list[Search]:
    """What the search found for each rule, with and without TTA; the best nested Dice first.

    The recipe's own thresholds, which nobody searched, are not among them.

    Args:
        cases: Of the run: draw what was searched on the maps that it predicts with.
    """
    recipe, chosen = run.read_recipe(), read_measured(run.thresholds)
    found = []
    for name, tta in product(sorted(rules.RULES), (True, False)):
        if (folder := run.rule(name, tta)).joinpath("thresholds.json").is_file():
            used = bool(chosen.rules) and name == chosen.rule.name and tta == recipe.tta
            search = read_search(folder, tta, used)
            if cases is not None and tta == recipe.tta:
                search = search.model_copy(update={"figures": draw(folder, cases, f"{name}-")})
            found.append(search)
    return sorted(found, key=lambda search: (search.nested_dice or 0, search.apparent_dice), reverse=True)


def table(folders: dict[str, Path], in_use: Path | None = None) -> str:
    """The searches side by side, one a line.

    Args:
        folders: Each with a thresholds.json, by what to call it.
        in_use: The one whose rule the run predicts with; its line begins with a star.
    """
    rows: list[tuple[str, ...]] = [("rule", "thresholds", *MEASURES.values())]
    for name, folder in folders.items():
        found = read_search(folder, True, folder == in_use)
        scores = (getattr(found, key) for key in MEASURES)
        rows.append((f"* {name}" if found.used else name, found.thresholds, *map(_text, scores)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _text(score: float | tuple[float, float] | None) -> str:
    if isinstance(score, tuple):
        return "–".join(map(_text, score))
    return "–" if score is None else f"{score:.4f}"


def verdict(folders: Iterable[Path], page: Path | None = None) -> str:
    """What to do where the best of some searches is no better than an empty submission; empty where one is.

    Args:
        page: The report that shows what they miss, where it was just made.
    """
    found = [read_measured(folder / "thresholds.json") for folder in folders]
    return scoring.verdict(max(found, key=lambda one: one.nested_dice or 0).content, page)


def draw(folder: Path, cases: Cases | None = None, prefix: str = "") -> list[Figure]:
    """The Dice over a rule's thresholds: heat maps with the optimum, and what loses little around it.

    The `triplet` has two heat maps: binarization against removal at the best top, and against top at the best removal.
    The rule `expected` has none: drawn is what it makes of each case.
    """
    chosen = read_measured(folder / "thresholds.json")
    if isinstance(chosen.rule, ExpectedRule):
        return [] if cases is None else [decisions(chosen.rule, cases)]
    if not (folder / "surface.npz").is_file():
        return []
    found = chosen.content
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
        places = np.unique(np.linspace(0, len(marks) - 1, 6).round().astype(int))
        axis.set_ticks(places, [np.format_float_positional(marks[place], 2, trim="-") for place in places])
    axes.grid(visible=False)
    axes.set(xlabel=AXES[across], ylabel=AXES["binarization"])
    alt = f"Mean Dice is highest, {dice[best['binarization'], best[across]]:.4f}, at {summary.thresholds(found)}"
    alt += f"; within the white line no more than {FLAT} is lost." if line else "."
    title = f"{found['rule']}: apparent Dice {found['apparent_dice']:.4f}"
    return Drawn(name, title, alt, pd.DataFrame(), size=(4.7, 3.6))


@figures.figure
def decisions(axes: Axes, rule: ExpectedRule, cases: Cases) -> Drawn:
    """Each image by P(not empty) and the Dice that its best mask promises; above the line it gets that mask."""
    area, pixels = cases.counts.area, cases.counts.pixels
    data = pd.DataFrame(
        {
            "positive": cases.positive,
            "probability_not_empty": rule.p_nonempty(area, pixels),
            "promised_dice": rule.trust * rule.best(area)[1],
            "masked": rule.decide(area, pixels) < 256,
        }
    )
    line = np.linspace(0.5, 1, 100)
    axes.fill_between(line, (1 - line) / line, 1.02, color=figures.colour(2), alpha=0.15, linewidth=0)
    axes.plot(line, (1 - line) / line, color=figures.MUTED, linewidth=1.2, linestyle="--")
    figures.scatter_cases(axes, data.probability_not_empty, data.promised_dice, cases.positive)
    axes.set(xlabel="probability that the truth is not empty", ylabel="Dice that its best mask promises")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower right")
    right = int((data.masked & data.positive).sum())
    alt = f"{data.masked.sum()} of {len(data)} images get a mask, {right} of them are positive."
    return Drawn("expected-decisions", "Decision by image: shaded gets a mask", alt, data, data.index)
