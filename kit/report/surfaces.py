"""What a threshold search found: rules side by side, and the Dice over their thresholds as a picture."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from kit.competition import scoring
from kit.core.arrays import read_arrays
from kit.inference.thresholds_file import read_measured
from kit.report import figures
from kit.report.figures import Figure
from kit.thresholds.exact import FLAT

SHOWN = 0.1
"""Dice below the best by more than this has one colour."""
AXES = {
    "binarization": "binarization (B-TH)",
    "removal": "removal (R-TH, pixels of 1024×1024)",
    "top": "top",
}
"""What each threshold is called on an axis."""


def table(folders: dict[str, Path], in_use: Path | None = None) -> str:
    """The searches side by side, one a line; in brackets where 95 % of the optima of bootstrap draws lie, if any.

    Args:
        folders: Each with a thresholds.json, by what to call it.
        in_use: The one whose rule the run predicts with; its line begins with a star.
    """
    head = (
        "rule",
        "best thresholds",
        "nested Dice",
        "95 % interval",
        "all empty",
        "positives",
        "negatives empty",
        "apparent",
    )
    rows: list[tuple[str, ...]] = [head]
    for name, folder in folders.items():
        rows.append(_row(f"* {name}" if folder == in_use else name, read_measured(folder / "thresholds.json")))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def verdict(folders: Iterable[Path]) -> str:
    """What to do where the best of some searches is no better than an empty submission; empty where one is."""
    found = [read_measured(folder / "thresholds.json") for folder in folders]
    return scoring.verdict(max(found, key=lambda one: one["nested_dice"] or 0))


def _row(name: str, found: dict) -> tuple[str, ...]:
    spread = found.get("spread") or {}
    chosen = [
        f"{key} {found[key]:.4g}" + (f" [{spread[key][0]:.4g}–{spread[key][2]:.4g}]" if key in spread else "")
        for key in ("top", "binarization", "gate", "removal")
        if key in found
    ]
    interval = "–" if found["interval"] is None else "–".join(f"{bound:.4f}" for bound in found["interval"])
    measures = [found[key] for key in ("dice_all_empty", "dice_positives", "negatives_empty", "apparent_dice")]
    return (
        name,
        ", ".join(chosen) or "an image at a time",
        _or_dash(found["nested_dice"]),
        interval,
        *map(_or_dash, measures),
    )


def draw(folder: Path) -> list[Path]:
    """Draws the surface of a search as SVG and CSV files beside its thresholds.json, and returns the pictures."""
    drawn = heat_maps(folder)
    for figure in drawn:
        figure.write(folder)
    return [folder / f"{figure.name}.svg" for figure in drawn]


def heat_maps(folder: Path, prefix: str = "") -> list[Figure]:
    """The mean Dice over a rule's thresholds: a heat map with the optimum, and around it the plateau.

    The `triplet` has two: binarization against removal at the best top, and against top at the best removal.

    Args:
        folder: With thresholds.json and surface.npz.
        prefix: Of the figures' names.

    Returns:
        None of them for a rule without a surface.
    """
    if not (folder / "surface.npz").is_file():
        return []
    found = read_measured(folder / "thresholds.json")
    surface = read_arrays(folder / "surface.npz", "levels", "removal", "dice")
    levels, removal, dice = surface["levels"], surface["removal"], surface["dice"]
    level, size = np.searchsorted(levels, found["binarization"]), np.searchsorted(removal, found["removal"])
    if dice.ndim == 2:
        return [_heat_map(f"{prefix}surface", found, dice, ("removal", removal, size), (levels, level))]
    top = np.searchsorted(levels, found["top"])
    return [
        _heat_map(f"{prefix}surface", found, dice[top], ("removal", removal, size), (levels, level)),
        _heat_map(f"{prefix}surface-top", found, dice[:, :, size].T, ("top", levels, top), (levels, level)),
    ]


@figures.styled
def _heat_map(name: str, found: dict, dice: np.ndarray, across: tuple, up: tuple) -> Figure:
    """One panel: Dice (256 levels, values across), its optimum at the places that both axes name."""
    (label, values, best), (levels, level) = across, up
    high = dice.max()
    figure, axes = figures.draw(height=3.6)
    image = axes.imshow(
        dice, origin="lower", aspect="auto", interpolation="nearest", vmin=max(dice.min(), high - SHOWN), vmax=high
    )
    bar = figure.colorbar(image, ax=axes, label="mean Dice on the images that it was chosen on")
    bar.outline.set_visible(False)
    if dice.shape[1] > 1 and dice.min() < high - FLAT:
        axes.contour(dice, levels=[high - FLAT], colors="white", linewidths=1)
    axes.plot(best, level, "+", color="#e11d2e", markersize=13, markeredgewidth=2.4)
    for axis, marks in ((axes.xaxis, values), (axes.yaxis, levels)):
        places = figures.marks(marks)
        axis.set_ticks(places, [np.format_float_positional(marks[place], 2, trim="-") for place in places])
    axes.grid(visible=False)
    axes.set(xlabel=AXES[label], ylabel=AXES["binarization"])
    axes.set_title(f"{found['rule']}: apparent Dice {found['apparent_dice']:.4f}")
    alt = f"Mean Dice is highest, {dice[level, best]:.4f}, at binarization {found['binarization']:.3f}"
    alt += f" and {label} {found[label]:.4g}; within the white line no more than {FLAT} is lost."
    grid = np.meshgrid(values, levels)
    data = pd.DataFrame({label: grid[0].ravel(), "binarization": grid[1].ravel(), "dice": dice.ravel()})
    return figures.finish(figure, name, f"Dice over {label} and binarization", alt, data)


def slices(folder: Path, prefix: str = "") -> list[Figure]:
    """The Dice along each threshold, the others at the optimum, with the plateau shaded; none without a surface."""
    if not (folder / "surface.npz").is_file():
        return []
    found = read_measured(folder / "thresholds.json")
    axes = read_arrays(folder / "surface.npz", "levels", "removal", "dice")
    dice = axes.pop("dice")
    names = [name for name in ("top", "binarization", "removal") if name in found]
    values = {"top": axes["levels"], "binarization": axes["levels"], "removal": axes["removal"]}
    best = [int(np.searchsorted(values[name], found[name])) for name in names]
    return [
        _slice(f"{prefix}along-{name}", found, name, values[name], np.moveaxis(dice, place, -1)[*_without(best, place)])
        for place, name in enumerate(names)
    ]


@figures.styled
def _slice(file: str, found: dict, name: str, values: np.ndarray, dice: np.ndarray) -> Figure:
    figure, axes = figures.draw()
    low, high = found["plateau"][name]
    axes.axvspan(low, high, color=figures.colour(2), alpha=0.18, linewidth=0, label=f"plateau (within {FLAT})")
    axes.plot(values, dice, color=figures.colour(0), drawstyle="default" if name != "removal" else "steps-mid")
    axes.plot(
        found[name],
        dice[np.searchsorted(values, found[name])],
        "o",
        color=figures.colour(1),
        markersize=7,
        label=f"optimum {found[name]:.4g}",
    )
    if name == "removal":
        axes.set_xscale("symlog", linthresh=64)
        axes.set_xticks([0, 64, 1024, 16384, 2**18], ["0", "64", "1024", "16k", "256k"])
        axes.minorticks_off()
    axes.set_ylim(max(0, dice.max() - 3 * SHOWN), dice.max() + 0.02)
    axes.set(xlabel=AXES[name], ylabel="mean Dice")
    axes.set_title(f"Along {name}")
    axes.legend(loc="lower center")
    alt = f"The Dice stays within {FLAT} of the optimum from {low:.4g} to {high:.4g}."
    return figures.finish(figure, file, f"Dice along {name}", alt, pd.DataFrame({name: values, "dice": dice}))


def _without(places: list[int], left_out: int) -> tuple[int, ...]:
    return tuple(place for number, place in enumerate(places) if number != left_out)


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
