"""What a threshold search found: rules side by side, and the Dice over their thresholds as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit.core.files import read_json, replacing
from kit.thresholds.search import FLAT

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 0.1
"""Dice below the best by more than this has one colour."""


def table(folders: dict[str, Path]) -> str:
    """The searches side by side, one a line.

    Args:
        folders: Each with a thresholds.json, by what to call it.
    """
    head = ("rule", "best thresholds", "OOF Dice", "95 % interval", "nested", "positives", "negatives empty")
    rows = [head, *(_row(name, read_json(folder / "thresholds.json")) for name, folder in folders.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _row(name: str, found: dict) -> tuple[str, ...]:
    chosen = [f"{key} {found[key]:.4g}" for key in ("top", "binarization", "gate") if key in found]
    chosen += [f"removal {found['removal']}"] if "removal" in found else []
    low, high = found["interval"]
    measures = [found[key] for key in ("nested_dice", "dice_positives", "negatives_empty")]
    return (
        name,
        ", ".join(chosen) or "an image at a time",
        f"{found['dice']:.4f}",
        f"{low:.4f}–{high:.4f}",
        *map(_or_dash, measures),
    )


def draw(folder: Path) -> Path | None:
    """Draws the surface of a search as surface.png: a heat map, the best thresholds and their plateau.

    The `triplet` has two panels: binarization against removal at the best top, and against top at the best removal.

    Args:
        folder: With thresholds.json and surface.npz.

    Returns:
        The picture; None for a rule without a surface.
    """
    if not (folder / "surface.npz").is_file():
        return None
    from matplotlib.figure import Figure

    found = read_json(folder / "thresholds.json")
    with np.load(folder / "surface.npz") as surface:
        levels, removal, dice = surface["levels"], surface["removal"], surface["dice"]
    level, size = np.searchsorted(levels, found["binarization"]), np.searchsorted(removal, found["removal"])
    by_removal = ("removal (pixels of 1024×1024)", removal, size)
    panels = [(dice, *by_removal)]
    if dice.ndim == 3:
        top = np.searchsorted(levels, found["top"])
        panels = [(dice[top], *by_removal), (dice[:, :, size].T, "top", levels, top)]
    figure = Figure(figsize=(6.4 * len(panels), 4.8), layout="constrained")
    figure.suptitle(f"{found['rule']}: OOF Dice {found['dice']:.4f}, nested {_or_dash(found['nested_dice'])}")
    for axes, panel in zip(np.atleast_1d(figure.subplots(1, len(panels))), panels, strict=True):
        _heat_map(axes, *panel, levels, level)
    path = folder / "surface.png"
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)
    return path


def _heat_map(
    axes: "Axes", dice: np.ndarray, label: str, values: np.ndarray, best: float, levels: np.ndarray, level: float
) -> None:
    """One panel: Dice (256 levels, `values`), its optimum at (`level`, `best`)."""
    high = dice.max()
    image = axes.imshow(
        dice, origin="lower", aspect="auto", interpolation="nearest", vmin=max(dice.min(), high - SHOWN), vmax=high
    )
    axes.figure.colorbar(image, ax=axes, label="mean Dice")
    if dice.shape[1] > 1 and dice.min() < high - FLAT:
        axes.contour(dice, levels=[high - FLAT], colors="white", linewidths=1)
    axes.plot(best, level, "r+", markersize=12, markeredgewidth=2)
    for axis, marks in ((axes.xaxis, values), (axes.yaxis, levels)):
        places = np.unique(np.linspace(0, len(marks) - 1, 9).astype(int))
        axis.set_ticks(places, [np.format_float_positional(marks[place], 3, trim="-") for place in places])
    axes.set(xlabel=label, ylabel="binarization")
    axes.tick_params(axis="x", rotation=45)


def _or_dash(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
