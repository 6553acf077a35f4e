"""The paper's Figures 3 to 8 from one's own data: DICOM header, RLE example, positives, method, blocks and results."""

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
"""Number of images in Figures 5 and 8."""
SIDE = 360
"""Size of each radiograph in pixels."""
LINE = 0.135
"""Height of a line of text in a box, in inches."""
EXAMPLE = np.array([[0, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 1, 1, 0, 1], [0, 0, 0, 0, 1]], bool)
"""The mask of Figure 4."""


def draw(workspace: Workspace, data: Path | str, recipe: Recipe, out: Path | str | None = None) -> list[Path]:
    """Draws Figures 3 to 7, and Figure 8 if the recipe has a run with thresholds.

    Args:
        recipe: The recipe whose method is drawn.
        out: Folder of the figures; default: figures/ of the run.

    Returns:
        Paths of the figures: drawings as SVG, radiographs as PNG.

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
    """Yields pixels, truth, and out-of-fold masks by the recipe's rule and by the rule in use, of a few positives."""
    recipe = run.read_recipe()
    fixed_rule, in_use = rules.fixed(recipe.threshold, gated=recipe.is_gated), thresholds_file.read(run.thresholds).rule
    folds = {i: fold for fold in run.predicted_folds() for i in maps.read_ids(run.oof(fold, tta=recipe.tta))}
    for image in _spread(competition, [image for image in folds if competition.labels[image]]):
        fixed, chosen = (_mask(competition, run, recipe, rule, folds[image], image) for rule in (fixed_rule, in_use))
        yield _pixels(competition, image), _truth(competition, image), fixed, chosen


def _mask(competition: Competition, run: Run, recipe: Recipe, rule: Rule, fold: int, image: str) -> np.ndarray:
    paths = run.oof(fold, tta=recipe.tta), run.oof(fold, tta=recipe.tta, role="classify")
    return dict(stored_masks(rule, *paths, competition.shapes, [image]))[image]


def _spread(competition: Competition, images: list[str]) -> list[str]:
    """Chooses a few images from the largest pneumothorax to the smallest, evenly spaced by rank."""
    if not images:
        return []
    ordered = sorted(images, key=lambda image: (-_truth(competition, image).sum(), image))
    return [ordered[rank] for rank in sorted({round(n * (len(ordered) - 1) / (SHOWN - 1)) for n in range(SHOWN)})]


def _pixels(competition: Competition, image: str) -> np.ndarray:
    return dicom.read(competition.train[image]).pixels


def _truth(competition: Competition, image: str) -> np.ndarray:
    return rle.union(competition.labels[image], shapes.shape_of(competition.shapes, image), image)


def elements(path: Path | str) -> list[tuple[str, str, str]]:
    """Lists tag, name and value of the data elements of a header, in the file's order.

    Names, dates and free text are left out, since they could identify a person.

    Raises:
        KitError: the file is missing or is not DICOM.
    """
    dicom.read_metadata(path)  # raises if the file is not DICOM
    rows = []
    with dicom.ignore_invalid_values():
        for element in pydicom.dcmread(path, stop_before_pixels=True):
            private = element.VR in ("PN", "LO", "SH", "ST", "LT", "UT", "DA", "TM", "DT", "SQ", "OB", "OW", "UN")
            rows.append((str(element.tag), element.name, "left out" if private else str(element.value)))
    return rows


@figures.figure
def header(axes: Axes, path: Path) -> Drawn:
    """Draws Figure 3: the data elements of an image's DICOM file."""
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
    """Draws Figure 4: a small mask with its pixels numbered down the columns, and its run-length encoding."""
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
    lines = [
        f"{gap} {end - start}:  skip {gap}, then {end - start} pixels, {start} to {end - 1}"
        for gap, start, end in zip(gaps, starts, ends, strict=True)
    ]
    axes.set_xlabel("\n".join(lines), loc="left", family="monospace", fontsize=8.5, color=INK)
    data = pd.DataFrame({"start": starts, "length": ends - starts})
    runs = ", ".join(f"{length} from pixel {start}" for start, length in data.itertuples(index=False))
    alt = f"Pixels are counted down the columns from 0. Runs: {runs}. Each gap counts from the end of the run before."
    return Drawn("figure-4", f"EncodedPixels: {text}", alt, data, size=(4.7, 4.5))


@figures.figure
def method(axes: Axes, recipe: Recipe) -> Drawn:
    """Draws Figure 6: the steps of a recipe from an image to a mask, with members of an ensemble side by side."""
    columns = []
    for part in recipe.parts():
        name = f"{part.label}: " if recipe.members else ""
        network_name = f"{part.network.architecture} with {part.network.encoder}"
        column = [f"{name}{network_name}" + (", classifies" if part.role == "classify" else "")]
        for number, stage in enumerate(part.stages, 1):
            column.append(f"stage {number}: {stage.size}×{stage.size}, {stage.epochs} epochs" + _kept_weights(stage))
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


def _kept_weights(stage: Stage) -> str:
    """Describes the weights that a stage keeps; empty for those of the last epoch."""
    if stage.swa:
        return f", SWA of {len(stage.swa)}"
    if stage.keep.ema is not None:
        return ", EMA"
    best = stage.keep.best
    return f", {best.average} of the best {best.epochs}" if best is not None else ""


@figures.figure
def blocks(axes: Axes, recipe: Recipe) -> Drawn:
    """Draws Figure 7: the blocks of a recipe's network, with the output shape of each step.

    Args:
        recipe: For an ensemble, the first segmenting member is drawn.
    """
    part = next(part for part in recipe.parts() if part.role == "segment")
    network_blocks = network.blocks(part)
    columns, summaries = [], []
    for title, steps in network_blocks:
        columns.append([title, steps[0].input_shape, *(f"{step.text}\n{step.output_shape}" for step in steps)])
        summaries.append(f"{title}: {steps[0].input_shape} to {steps[-1].output_shape}")
    size = _flow(axes, [columns], 3.4, 0.6)
    rows = [[title, step.text, step.output_shape] for title, steps in network_blocks for step in steps]
    data = pd.DataFrame(rows, columns=["block", "step", "shape"])
    return Drawn("figure-7", f"The blocks of {part.network.encoder}", f"{'; '.join(summaries)}.", data, size=size)


def _flow(axes: Axes, rows: Sequence[Sequence[Sequence[str]]], width: float, height: float) -> tuple[float, float]:
    """Draws a flow chart of boxes with arrows between them.

    Args:
        rows: Rows of columns of texts; every column of a row leads to every column of the next row.
        width: Width of a column in inches.
        height: Distance from one box to the next in inches.

    Returns:
        Width and height that the figure needs.
    """
    middle = max(2.6, width * max(map(len, rows)) / 2)
    ends: list[tuple[float, float]] = []
    y = 0.0
    for columns in rows:
        above, ends = ends, []
        for index, column in enumerate(columns):
            x = middle + width * (index - (len(columns) - 1) / 2)
            last = above
            for number, step in enumerate(column):
                text = re.sub(": | with |, ", "\n", step, count=3) if re.search(r" with |stage \d", step) else step
                half = LINE * (text.count("\n") + 1) / 2 + 0.09
                centre = y - number * height
                for end in last:
                    arrow = {"arrowstyle": "->", "color": MUTED, "shrinkA": 0, "shrinkB": 0}
                    axes.annotate("", (x, centre + half), end, arrowprops=arrow)
                box = {"boxstyle": "round,pad=0.45", "facecolor": PAPER, "edgecolor": MUTED}
                axes.text(x, centre, text, ha="center", va="center", fontsize=8, bbox=box)
                last = [(x, centre - half)]
            ends += last
        y -= height * max(map(len, columns))
    axes.set_axis_off()
    axes.set(xlim=(0, 2 * middle), ylim=(y + height / 2, height / 2))
    return 2 * middle, 0.3 - y


def positives(images: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Draws Figure 5: radiographs beside copies with the outlined pneumothorax, one below the other.

    Args:
        images: Pixels, uint8 (H, W), and truth, bool (H, W).

    Returns:
        uint8 (h, w, 3).
    """
    tiles = [gallery.picture(pixels, [(truth, TRUTH, "truth")], "", SIDE) for pixels, truth in images]
    return _stacked(tiles)


def results(images: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]], searched: str) -> np.ndarray:
    """Draws Figure 8, per row a radiograph: plain, with the truth, with masks by the recipe's rule and the rule in use.

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
    """Stacks pictures vertically, padding narrower ones with black."""
    width = max(tile.shape[1] for tile in tiles)
    return np.vstack([np.pad(tile, ((0, 0), (0, width - tile.shape[1]), (0, 0))) for tile in tiles])
