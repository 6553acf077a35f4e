"""The paper's Figures 3 to 8 from one's own data: a header, RLE by example, positives, the method, blocks, results."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
from matplotlib.axes import Axes

from kit.competition import dicom, rle, scoring, shapes
from kit.competition.layout import Competition
from kit.core.errors import KitError
from kit.core.progress import progress
from kit.inference import maps, rules, thresholds_file
from kit.inference.masks import stored_masks
from kit.inference.rules import Rule
from kit.recipes.schema import Recipe
from kit.recipes.stage import Stage
from kit.report import figures, gallery
from kit.report.figures import GRID, INK, MUTED, PAPER, Drawn
from kit.report.gallery import FOUND, OTHER, TRUTH
from kit.run import Run
from kit.workflows.workspace import Workspace
from reproduce import network

SHOWN = 4
"""Images of Figures 5 and 8."""
SIDE = 360
"""Pixels a side of each radiograph."""
LINE = 0.135
"""Inches of a line of text in a box."""
EXAMPLE = np.array([[0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 1]], bool)
"""The mask of Figure 4."""


def draw(workspace: Workspace, data: Path | str, recipe: Recipe, out: Path | str | None = None) -> list[Path]:
    """Draws Figures 3 to 7, and Figure 8 where the recipe has a run with out-of-fold maps.

    Args:
        recipe: Whose method is drawn.
        out: Folder of the figures; None: figures/ of the run.

    Returns:
        The pictures: drawings as SVG, radiographs as PNG.

    Raises:
        KitError: there are no training images, or none is positive.
    """
    competition = workspace.open_data(data)
    run = workspace.run(competition, recipe)
    target = Path(out) if out else run.folder / "figures"
    chosen = _spread(competition, [image for image, rows in competition.labels.items() if rows])
    if not chosen:
        raise KitError(
            f"{competition.labels_path}: has no image with {competition.finding.name}: there is nothing to draw"
        )
    drawers = (
        lambda: header(competition.train[chosen[0]]),
        run_lengths,
        lambda: method(recipe),
        lambda: blocks(recipe),
    )
    written = [draw().write(target) for draw in progress(drawers, "drawing", unit="figure")]
    pictures = {"figure-5": positives((_pixels(competition, i), _truth(competition, i)) for i in chosen)}
    if run.thresholds.is_file():
        pictures["figure-8"] = results(_results(competition, run), thresholds_file.read(run.thresholds).rule.name)
    for name, picture in pictures.items():
        gallery.write(target / f"{name}.png", picture)
    return sorted(written + [target / f"{name}.png" for name in pictures])


def _results(competition: Competition, run: Run) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Pixels, truth, and the out-of-fold masks by the recipe's rule and by that in use, of some positives."""
    recipe = run.read_recipe()
    own, in_use = rules.fixed(recipe.threshold, gated=recipe.is_gated), thresholds_file.read(run.thresholds).rule
    folds = {i: fold for fold in run.predicted_folds() for i in maps.read_ids(run.oof(fold, tta=recipe.tta))}
    for image in _spread(competition, [image for image in folds if competition.labels[image]]):
        fixed, chosen = (_mask(competition, run, recipe, rule, folds[image], image) for rule in (own, in_use))
        yield _pixels(competition, image), _truth(competition, image), fixed, chosen


def _mask(competition: Competition, run: Run, recipe: Recipe, rule: Rule, fold: int, image: str) -> np.ndarray:
    paths = run.oof(fold, tta=recipe.tta), run.oof(fold, tta=recipe.tta, role="classify")
    return dict(stored_masks(rule, *paths, competition.shapes, [image]))[image]


def _spread(competition: Competition, images: list[str]) -> list[str]:
    """A few images, from the largest pneumothorax to the smallest, whatever a run makes of them."""
    if not images:
        return []
    ordered = sorted(images, key=lambda image: (-_truth(competition, image).sum(), image))
    return [ordered[place] for place in sorted({round(at * (len(ordered) - 1) / (SHOWN - 1)) for at in range(SHOWN)})]


def _pixels(competition: Competition, image: str) -> np.ndarray:
    return dicom.read(competition.train[image]).pixels


def _truth(competition: Competition, image: str) -> np.ndarray:
    return rle.union(competition.labels[image], shapes.shape_of(competition.shapes, image), image)


def elements(path: Path | str) -> list[tuple[str, str, str]]:
    """The data elements of a header in the file's order: tag, name and value.

    Names, dates and free text, which could tell who somebody is, are left out.

    Raises:
        KitError: the file is missing or is not DICOM.
    """
    dicom.read_metadata(path)  # refuses what is none
    found = []
    with dicom.ignore_invalid_values():
        for element in pydicom.dcmread(path, stop_before_pixels=True):
            told = element.VR not in ("PN", "LO", "SH", "ST", "LT", "UT", "DA", "TM", "DT", "SQ", "OB", "OW", "UN")
            found.append((str(element.tag), element.name, str(element.value) if told else "left out"))
    return found


@figures.figure
def header(axes: Axes, path: Path) -> Drawn:
    """Figure 3: the data elements of an image's DICOM file."""
    data = pd.DataFrame(elements(path), columns=["tag", "name", "value"])
    axes.set_axis_off()
    for row, (tag, name, value) in enumerate(data.itertuples(index=False)):
        for x, text in ((0, tag), (0.2, name[:40]), (0.62, value[:44])):
            axes.text(x, -row, text, family="monospace", fontsize=7.5, color=MUTED if value == "left out" else INK)
    axes.set(ylim=(-len(data), 1), xlim=(0, 1))
    alt = f"{len(data)} elements, from {data.name.iloc[0]} to {data.name.iloc[-1]}."
    return Drawn("figure-3", "Data elements of a DICOM file", alt, data, size=(7.5, 0.6 + 0.2 * len(data)))


@figures.figure
def run_lengths(axes: Axes) -> Drawn:
    """Figure 4: a small mask, its pixels numbered down the columns, and its run-length encoding."""
    text = rle.encode(EXAMPLE)
    starts, ends = rle.runs(text, EXAMPLE.size)
    axes.imshow(EXAMPLE, cmap="Blues", vmin=0, vmax=1.6)
    for pixel in range(EXAMPLE.size):
        axes.text(*divmod(pixel, len(EXAMPLE)), str(pixel), ha="center", va="center")
    axes.set_xticks(np.arange(1, EXAMPLE.shape[1]) - 0.5, [])
    axes.set_yticks(np.arange(1, EXAMPLE.shape[0]) - 0.5, [])
    axes.tick_params(length=0)
    axes.grid(color=GRID)
    axes.set_axisbelow(False)
    gaps = starts - np.append(0, ends[:-1])
    told = [
        f"{gap} {end - start}:  pass over {gap}, then {end - start} pixels, {start} to {end - 1}"
        for gap, start, end in zip(gaps, starts, ends, strict=True)
    ]
    axes.set_xlabel("\n".join(told), loc="left", family="monospace", fontsize=8.5, color=INK)
    data = pd.DataFrame({"start": starts, "length": ends - starts})
    spoken = ", ".join(f"{length} from pixel {start}" for start, length in data.itertuples(index=False))
    alt = f"Pixels are counted down the columns from 0. Runs: {spoken}. Each gap counts from the end of the run before."
    return Drawn("figure-4", f"EncodedPixels: {text}", alt, data, size=(4.7, 4.5))


@figures.figure
def method(axes: Axes, recipe: Recipe) -> Drawn:
    """Figure 6: the way from an image to a mask, as a recipe goes it; members of an ensemble side by side."""
    columns = []
    for part in recipe.parts():
        name = f"{part.label}: " if recipe.members else ""
        built = f"{part.network.architecture} with {part.network.encoder}"
        column = [f"{name}{built}" + (", classifies" if part.role == "classify" else "")]
        for number, stage in enumerate(part.stages, 1):
            column.append(f"stage {number}: {stage.size}×{stage.size}, {stage.epochs} epochs" + _left(stage))
        columns.append(column)
    rows = [
        [["DICOM image", "augmentation: " + (", ".join(recipe.augmentation) or "none")]],
        columns,
        [
            [
                "mean of the folds" + (" and members" if recipe.members else "") + (", TTA" if recipe.tta else ""),
                f"threshold.rule={recipe.threshold.rule}",
                "mask, EncodedPixels",
            ]
        ],
    ]
    size = _flow(axes, rows, 1.9, 1.0)
    steps = [step for columns in rows for column in columns for step in column]
    data, alt = pd.DataFrame({"step": steps}), f"Steps: {'; '.join(steps)}."
    return Drawn("figure-6", f"The method of {recipe.name}", alt, data, size=size)


def _left(stage: Stage) -> str:
    """What a stage leaves, where it is not the last epoch."""
    if stage.swa:
        return f", SWA of {len(stage.swa)}"
    if stage.keep.ema is not None:
        return ", EMA"
    best = stage.keep.best
    return f", {best.average} of the best {best.epochs}" if best is not None else ""


@figures.figure
def blocks(axes: Axes, recipe: Recipe) -> Drawn:
    """Figure 7: the blocks of a recipe's network, with the shape of what each step gives.

    Args:
        recipe: Of an ensemble the first segmenting member is drawn.
    """
    part = next(part for part in recipe.parts() if part.role == "segment")
    found = network.blocks(part)
    columns = [
        [block.title, block.steps[0].given, *(f"{step.text}\n{step.shape}" for step in block.steps)] for block in found
    ]
    size = _flow(axes, [columns], 3.4, 0.6)
    alt = "; ".join(f"{block.title}: {block.steps[0].given} to {block.steps[-1].shape}" for block in found) + "."
    rows = [[block.title, step.text, step.shape] for block in found for step in block.steps]
    data = pd.DataFrame(rows, columns=["block", "step", "shape"])
    return Drawn("figure-7", f"The blocks of {part.network.encoder}", alt, data, size=size)


def _flow(axes: Axes, rows: Sequence[Sequence[Sequence[str]]], width: float, height: float) -> tuple[float, float]:
    """Boxes below each other, arrows between them.

    Args:
        rows: Of columns of texts that stand side by side; all columns of a row lead to all of the next.
        width: Inches of a column.
        height: Inches from one box to the next.

    Returns:
        The size that the figure needs.
    """
    middle = max(2.6, width * max(map(len, rows)) / 2)
    ends: list[tuple[float, float]] = []
    y = 0.0
    for columns in rows:
        above, ends = ends, []
        for place, column in enumerate(columns):
            x = middle + width * (place - (len(columns) - 1) / 2)
            last = above
            for number, step in enumerate(column):
                text = re.sub(": | with |, ", "\n", step, count=3) if re.search(r" with |stage \d", step) else step
                half = LINE * (text.count("\n") + 1) / 2 + 0.09
                here = y - number * height
                for end in last:
                    arrow = {"arrowstyle": "->", "color": MUTED, "shrinkA": 0, "shrinkB": 0}
                    axes.annotate("", (x, here + half), end, arrowprops=arrow)
                box = {"boxstyle": "round,pad=0.45", "facecolor": PAPER, "edgecolor": MUTED}
                axes.text(x, here, text, ha="center", va="center", fontsize=8, bbox=box)
                last = [(x, here - half)]
            ends += last
        y -= height * max(map(len, columns))
    axes.set_axis_off()
    axes.set(xlim=(0, 2 * middle), ylim=(y + height / 2, height / 2))
    return 2 * middle, 0.3 - y


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
