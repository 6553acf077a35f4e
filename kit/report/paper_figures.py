"""The paper's Figures 3 to 6 and 8 from one's own data: a header, RLE by example, positives, the method, results."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kit.competition import dicom, rle, scoring
from kit.recipes.schema import Recipe
from kit.recipes.stage import Stage
from kit.report import figures, gallery
from kit.report.figures import GRID, INK, MUTED, PAPER, Figure
from kit.report.gallery import FOUND, OTHER, TRUTH

SIDE = 360
"""Pixels a side of each radiograph."""
COLUMN, ROW, LINE = 1.9, 1.0, 0.135
"""Inches of a member, of a step, and of a line of its text in Figure 6."""
End = tuple[float, float]
EXAMPLE = np.array([[0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 1]], bool)
"""The mask of Figure 4."""


@figures.styled
def header(path: Path) -> Figure:
    """Figure 3: the data elements of an image's DICOM file."""
    data = pd.DataFrame(dicom.elements(path), columns=["tag", "name", "value"])
    figure, axes = figures.draw(7.5, 0.6 + 0.2 * len(data))
    axes.set_axis_off()
    for row, (tag, name, value) in enumerate(data.itertuples(index=False)):
        for x, text in ((0, tag), (0.2, name[:40]), (0.62, value[:44])):
            axes.text(x, -row, text, family="monospace", fontsize=7.5, color=MUTED if value == "left out" else INK)
    axes.set(ylim=(-len(data), 1), xlim=(0, 1))
    alt = f"{len(data)} elements, from {data.name.iloc[0]} to {data.name.iloc[-1]}."
    return figures.finish(figure, "figure-3", "Data elements of a DICOM file", alt, data)


@figures.styled
def run_lengths(mask: np.ndarray = EXAMPLE) -> Figure:
    """Figure 4: a small mask, its pixels numbered down the columns, and its run-length encoding.

    Args:
        mask: bool (H, W), small enough to be read.
    """
    text = rle.encode(mask)
    starts, ends = rle.runs(text, mask.size)
    figure, axes = figures.draw(4.7, 4.5)
    axes.imshow(mask, cmap="Blues", vmin=0, vmax=1.6)
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            axes.text(column, row, str(column * mask.shape[0] + row), ha="center", va="center")
    for line in range(1, mask.shape[1]):
        axes.axvline(line - 0.5, color=GRID, linewidth=0.8)
    for line in range(1, mask.shape[0]):
        axes.axhline(line - 0.5, color=GRID, linewidth=0.8)
    axes.grid(visible=False)
    data = pd.DataFrame({"start": starts, "length": ends - starts})
    gaps = starts - np.append(0, ends[:-1])
    told = [
        f"{gap} {end - start}:  pass over {gap}, then {end - start} pixels, {start} to {end - 1}"
        for gap, start, end in zip(gaps, starts, ends, strict=True)
    ]
    axes.set(xticks=[], yticks=[], title=f"EncodedPixels: {text}")
    axes.set_xlabel("\n".join(told), loc="left", family="monospace", fontsize=8.5, color=INK)
    spoken = ", ".join(f"{length} from pixel {start}" for start, length in data.itertuples(index=False))
    alt = f"Pixels are counted down the columns from 0. Runs: {spoken}. Each gap counts from the end of the run before."
    return figures.finish(figure, "figure-4", "Run-length encoding of a mask", alt, data)


@figures.styled
def method(recipe: Recipe) -> Figure:
    """Figure 6: the way from an image to a mask, as a recipe goes it; members of an ensemble side by side."""
    before = ["DICOM image", "augmentation: " + (", ".join(recipe.augmentation) or "none")]
    columns = []
    for part in recipe.parts():
        name = f"{part.label}: " if recipe.members else ""
        network = f"{part.network.architecture} with {part.network.encoder}"
        column = [f"{name}{network}" + (", classifies" if part.role == "classify" else "")]
        for number, stage in enumerate(part.stages, 1):
            column.append(f"stage {number}: {stage.size}×{stage.size}, {stage.epochs} epochs" + _left(stage))
        columns.append(column)
    after = [
        "mean of the folds" + (" and members" if recipe.members else "") + (", TTA" if recipe.tta else ""),
        f"threshold.rule={recipe.threshold.rule}",
        "mask, EncodedPixels",
    ]
    longest, middle = max(map(len, columns)), max(2.6, COLUMN * len(columns) / 2)
    height = ROW * (len(before) + longest + len(after))
    figure, axes = figures.draw(2 * middle, height)
    axes.set_axis_off()
    axes.set(xlim=(0, 2 * middle), ylim=(-height + ROW / 2, ROW / 2))
    last = _chain(axes, before, (middle, 0), [])
    ends: list[End] = []
    for at, column in enumerate(columns):
        x = middle + COLUMN * (at - (len(columns) - 1) / 2)
        ends.append(_chain(axes, column, (x, len(before)), [last]))
    _chain(axes, after, (middle, len(before) + longest), ends)
    steps = [*before, *(step for column in columns for step in column), *after]
    alt = "Steps: " + "; ".join(steps) + "."
    return figures.finish(figure, "figure-6", f"The method of {recipe.name}", alt, pd.DataFrame({"step": steps}))


def _left(stage: Stage) -> str:
    """What a stage leaves, where it is not the last epoch."""
    if stage.swa_epochs:
        return f", SWA of {len(stage.swa)}"
    return f", {stage.averaged} of the best {stage.best_checkpoints}" if stage.best_checkpoints else ""


def _chain(axes: Axes, steps: list[str], first: tuple[float, int], above: list[End]) -> End:
    """Steps below each other, the first at x inches in a row, below the ends of others; gives the last one's end."""
    x, row = first
    for step in steps:
        text = re.sub(": | with |, ", "\n", step, count=3) if re.search(r" with |stage \d", step) else step
        half = LINE * (text.count("\n") + 1) / 2 + 0.09
        y = -row * ROW
        for end in above:
            arrow = {"arrowstyle": "->", "color": MUTED, "shrinkA": 0, "shrinkB": 0}
            axes.annotate("", (x, y + half), end, arrowprops=arrow)
        box = {"boxstyle": "round,pad=0.45", "facecolor": PAPER, "edgecolor": MUTED}
        axes.text(x, y, text, ha="center", va="center", fontsize=8, bbox=box)
        above, row = [(x, y - half)], row + 1
    return above[0]


def positives(images: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Figure 5: radiographs with pneumothorax, outlined, two a row.

    Args:
        images: Pixels, uint8 (H, W), and truth, bool (H, W).

    Returns:
        uint8 (h, w, 3).
    """
    tiles = [gallery.picture(pixels, [(truth, TRUTH, "truth")], "", SIDE) for pixels, truth in images]
    return _stacked(tiles)


def results(images: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], searched: str) -> np.ndarray:
    """Figure 8: a radiograph a row: plain, with the truth, with the masks by the recipe's own rule and by that in use.

    Args:
        images: Pixels, uint8 (H, W), then truth and both masks, bool (H, W).
        searched: Name of the rule in use.

    Returns:
        uint8 (h, w, 3).
    """
    rows = []
    for pixels, truth, fixed, chosen in images:
        plain = gallery.reduced(pixels, SIDE)
        panels = [gallery.with_text(plain, [], "radiograph")]
        masks = (truth, TRUTH, "truth"), (fixed, OTHER, "recipe's rule"), (chosen, FOUND, f"rule {searched}")
        for layer in masks:
            caption = "" if layer[0] is truth else f"Dice {scoring.dice(layer[0], truth):.3f}"
            panels.append(gallery.with_text(gallery.outlined(plain, [layer]), [layer], caption))
        rows.append(np.hstack(panels))
    return _stacked(rows)


def _stacked(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures below each other, the narrower ones filled up with black."""
    width = max(tile.shape[1] for tile in tiles)
    return np.vstack([np.pad(tile, ((0, 0), (0, width - tile.shape[1]), (0, 0))) for tile in tiles])
