"""The paper's Figures 3 to 6 and 8 from one's own data: a header, RLE by example, positives, the method, results."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from kit.competition import dicom, rle, scoring
from kit.recipes.schema import Recipe
from kit.report import figures, gallery
from kit.report.figures import INK, MUTED, Figure
from kit.report.gallery import FOUND, OTHER, TRUTH

SIDE = 360
"""Pixels a side of each radiograph."""
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
    figure, axes = figures.draw(4.7, 4.2)
    axes.imshow(mask, cmap="Blues", vmin=0, vmax=1.6)
    for column in range(mask.shape[1]):
        for row in range(mask.shape[0]):
            axes.text(column, row, str(column * mask.shape[0] + row), ha="center", va="center")
    axes.grid(visible=False)
    axes.set(xticks=[], yticks=[], title=f"EncodedPixels: {text}")
    data = pd.DataFrame({"start": starts, "length": ends - starts})
    spoken = ", ".join(f"{length} from pixel {start}" for start, length in data.itertuples(index=False))
    alt = f"Pixels are counted down the columns from 0. Runs: {spoken}. Each gap counts from the end of the run before."
    return figures.finish(figure, "figure-4", "Run-length encoding of a mask", alt, data)


@figures.styled
def method(recipe: Recipe) -> Figure:
    """Figure 6: the way from an image to a mask, as a recipe goes it."""
    parts = recipe.parts()
    steps = ["DICOM image", "augmentation: " + (", ".join(recipe.augmentation) or "none")]
    for part in parts:
        name = f"{part.label}: " if recipe.members else ""
        network = f"{part.network.architecture} with {part.network.encoder}"
        steps.append(f"{name}{network}" + (", classifies" if part.role == "classify" else ""))
        steps += [f"stage {n}: {s.size}×{s.size}, {s.epochs} epochs" for n, s in enumerate(part.stages, 1)]
    steps.append("mean of the folds" + (" and members" if recipe.members else "") + (", TTA" if recipe.tta else ""))
    steps.append(f"threshold.rule={recipe.threshold.rule}")
    steps.append("mask, EncodedPixels")
    figure, axes = figures.draw(5.2, 0.62 * len(steps))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(-len(steps) + 0.4, 0.6))
    for row, step in enumerate(steps):
        box = {"boxstyle": "round,pad=0.45", "facecolor": "none", "edgecolor": MUTED}
        arrow = {"arrowstyle": "<-", "color": MUTED, "shrinkA": 9, "shrinkB": 9}
        axes.text(0.5, -row, step, ha="center", va="center", fontsize=9, bbox=box)
        if row:
            axes.annotate("", (0.5, 1 - row), (0.5, -row), arrowprops=arrow)
    alt = "Steps: " + "; ".join(steps) + "."
    return figures.finish(figure, "figure-6", f"The method of {recipe.name}", alt, pd.DataFrame({"step": steps}))


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
    """Figure 8: each radiograph, and on it the truth, the mask by the recipe's own rule and by the rule in use.

    Args:
        images: Pixels, uint8 (H, W), then truth and both masks, bool (H, W).
        searched: Name of the rule in use.

    Returns:
        uint8 (h, w, 3).
    """
    tiles = []
    for pixels, truth, fixed, chosen in images:
        layers = [(truth, TRUTH, "truth"), (fixed, OTHER, "recipe's rule"), (chosen, FOUND, f"rule {searched}")]
        caption = f"Dice {scoring.dice(fixed, truth):.3f} and {scoring.dice(chosen, truth):.3f}"
        tiles.append(gallery.picture(pixels, layers, caption, SIDE))
    return _stacked(tiles)


def _stacked(tiles: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures below each other, the narrower ones filled up with black."""
    width = max(tile.shape[1] for tile in tiles)
    return np.vstack([np.pad(tile, ((0, 0), (0, width - tile.shape[1]), (0, 0))) for tile in tiles])
