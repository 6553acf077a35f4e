"""Results of a threshold search: a table of the rules, and figures of the Dice over their thresholds."""

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
"""Range of Dice below the best that the colours distinguish."""
AXES = {
    "binarization": "binarization (B-TH)",
    "removal": "removal (R-TH, pixels of 1024×1024)",
    "top": "top",
}
"""Label of the axis of each threshold."""
NO_THRESHOLDS = "decided image by image"
"""Text in place of thresholds for the rule `expected`."""


def read_search(folder: Path, *, tta: bool, used: bool) -> Search:
    """Reads the result of a search from its folder."""
    result = read_measured(folder / "thresholds.json").content
    scores = {key: result[key] for key in MEASURES} | {"interval": result["interval"] and tuple(result["interval"])}
    thresholds = summary.thresholds(result) or NO_THRESHOLDS
    return Search(rule=result["rule"], tta=tta, thresholds=thresholds, used=used, **scores)


def searches(run: Run, cases: Cases | None = None) -> list[Search]:
    """Reads the results of a run's search for each rule, with and without TTA; the best nested Dice comes first.

    The recipe's own thresholds are left out, since they were not searched.

    Args:
        cases: The run's cases; if given, the searches on the maps that the run predicts with get their figures.
    """
    recipe, chosen = run.read_recipe(), read_measured(run.thresholds)
    results = []
    for name, tta in product(sorted(rules.RULES), (True, False)):
        if (folder := run.rule(name, tta=tta)).joinpath("thresholds.json").is_file():
            used = bool(chosen.rules) and name == chosen.rule.name and tta == recipe.tta
            search = read_search(folder, tta=tta, used=used)
            if cases is not None and tta == recipe.tta:
                search = search.model_copy(update={"figures": draw(folder, cases, f"{name}-")})
            results.append(search)
    return sorted(results, key=lambda search: (search.nested_dice or 0, search.apparent_dice), reverse=True)


def table(folders: dict[str, Path], in_use: Path | None = None) -> str:
    """Formats searches as a table for a terminal.

    Args:
        folders: Folder of each search, which has a thresholds.json, by name.
        in_use: Folder of the rule that the run predicts with; its line gets a star.
    """
    rows: list[tuple[str, ...]] = [("rule", "thresholds", *MEASURES.values())]
    for name, folder in folders.items():
        search = read_search(folder, tta=True, used=folder == in_use)
        scores = (getattr(search, key) for key in MEASURES)
        rows.append((f"* {name}" if search.used else name, search.thresholds, *map(_text, scores)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _text(score: float | tuple[float, float] | None) -> str:
    if isinstance(score, tuple):
        return "–".join(map(_text, score))
    return "–" if score is None else f"{score:.4f}"


def verdict(folders: Iterable[Path], page: Path | None = None) -> str:
    """Says what to do if the best of several searches is no better than an empty submission, else returns "".

    Args:
        page: The run's report, if it was just written.
    """
    results = [read_measured(folder / "thresholds.json") for folder in folders]
    return scoring.verdict(max(results, key=lambda result: result.nested_dice or 0).content, page)


def draw(folder: Path, cases: Cases | None = None, prefix: str = "") -> list[Figure]:
    """Draws the Dice over a rule's thresholds as heat maps, with the optimum and the region of similar Dice around it.

    `triplet` gets two heat maps: binarization against removal at the best top, and against top at the best removal.
    `expected` has no thresholds; its figure shows the decision for each case.
    """
    chosen = read_measured(folder / "thresholds.json")
    if isinstance(chosen.rule, ExpectedRule):
        return [] if cases is None else [decisions(chosen.rule, cases)]
    if not (folder / "surface.npz").is_file():
        return []
    result = chosen.content
    surface = read_arrays(folder / "surface.npz", "levels", "removal", "dice")
    dice = surface["dice"]  # ([top,] binarization, removal)
    values = {"top": surface["levels"], "binarization": surface["levels"], "removal": surface["removal"]}
    names = [name for name in values if name in result]
    best = {name: int(np.searchsorted(values[name], result[name])) for name in names}
    drawn = []
    for across, file in (("removal", "surface"), ("top", "surface-top")):
        if across in names:
            panel = _slice_at_best(dice, names, best, "binarization", across)
            drawn.append(_heat_map(f"{prefix}{file}", result, panel, across, values, best))
    return drawn


def _slice_at_best(dice: np.ndarray, names: list[str], best: dict[str, int], *kept: str) -> np.ndarray:
    """Fixes all thresholds of a surface at their best values but those in `kept`, which become its axes in order."""
    part = dice[tuple(slice(None) if name in kept else best[name] for name in names)]
    remaining = [name for name in names if name in kept]
    return np.transpose(part, [remaining.index(name) for name in kept])


@figures.figure
def _heat_map(axes: Axes, name: str, result: dict, dice: np.ndarray, across: str, values: dict, best: dict) -> Drawn:
    """Draws the Dice, (256 levels, values across), and its optimum; the numbers are in surface.npz."""
    high = dice.max()
    image = axes.imshow(
        dice, origin="lower", aspect="auto", interpolation="nearest", vmin=max(dice.min(), high - SHOWN), vmax=high
    )
    bar = axes.figure.colorbar(image, ax=axes, label="apparent mean Dice")
    bar.outline.set_visible(False)
    near = dice >= high - FLAT
    has_line = min(near.any(axis=0).sum(), near.any(axis=1).sum()) > 2 and not near.all()  # else it would be invisible
    if has_line:
        axes.contour(dice, levels=[high - FLAT], colors="white", linewidths=1)
    axes.plot(best[across], best["binarization"], "+", color="#e11d2e", markersize=13, markeredgewidth=2.4)
    for axis, marks in ((axes.xaxis, values[across]), (axes.yaxis, values["binarization"])):
        ticks = np.unique(np.linspace(0, len(marks) - 1, 6).round().astype(int))
        axis.set_ticks(ticks, [np.format_float_positional(marks[tick], 2, trim="-") for tick in ticks])
    axes.grid(visible=False)
    axes.set(xlabel=AXES[across], ylabel=AXES["binarization"])
    alt = f"Mean Dice is highest, {dice[best['binarization'], best[across]]:.4f}, at {summary.thresholds(result)}"
    alt += f"; within the white line no more than {FLAT} is lost." if has_line else "."
    title = f"{result['rule']}: apparent Dice {result['apparent_dice']:.4f}"
    return Drawn(name, title, alt, pd.DataFrame(), size=(4.7, 3.6))


@figures.figure
def decisions(axes: Axes, rule: ExpectedRule, cases: Cases) -> Drawn:
    """Draws each image by P(not empty) and the expected Dice of its best mask; images above the line get the mask."""
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
    positives = int((data.masked & data.positive).sum())
    alt = f"{data.masked.sum()} of {len(data)} images get a mask, {positives} of them are positive."
    return Drawn("expected-decisions", "Decision by image: shaded gets a mask", alt, data, data.index)
