"""The verb `figures`: the paper's figures, from the images of a data set and a run of a recipe."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from kit.competition import dicom, rle, shapes
from kit.competition.layout import Competition
from kit.core.errors import KitError
from kit.inference import maps, rules
from kit.inference.masks import stored_masks
from kit.inference.rules import Rule
from kit.recipes.schema import Recipe
from kit.report import blocks, gallery, paper_figures
from kit.run import Run
from kit.workflows.workspace import Workspace

SHOWN = 4
"""Images of Figures 5 and 8."""


def draw(workspace: Workspace, data: Path | str, recipe: Recipe, out: Path | str | None = None) -> list[Path]:
    """Draws Figures 3 to 7, and Figure 8 where the recipe has a run with out-of-fold maps.

    Args:
        workspace: Where things lie.
        data: The competition's folder.
        recipe: Whose method is drawn.
        out: Folder of the figures; None: figures/ of the run.

    Returns:
        The pictures: SVG with their numbers as CSV beside them, and PNG.

    Raises:
        KitError: there are no training images, or none is positive.
    """
    competition = workspace.open_data(data)
    run = workspace.run(competition, recipe)
    target = Path(out) if out else run.folder / "figures"
    chosen = _spread(competition, [image for image, rows in competition.labels.items() if rows])
    if not chosen:
        raise KitError(f"{competition.labels_path}: has no image with pneumothorax: there is nothing to draw")
    drawn = [
        paper_figures.header(competition.train[chosen[0]]),
        paper_figures.run_lengths(),
        paper_figures.method(recipe),
        blocks.draw(recipe),
    ]
    for figure in drawn:
        figure.write(target)
    pictures = {"figure-5": paper_figures.positives((_pixels(competition, i), _truth(competition, i)) for i in chosen)}
    if run.thresholds.is_file():
        pictures["figure-8"] = paper_figures.results(_results(competition, run), rules.read(run.thresholds).name)
    for name, picture in pictures.items():
        gallery.write(target / f"{name}.png", picture)
    return sorted([target / f"{figure.name}.svg" for figure in drawn] + [target / f"{name}.png" for name in pictures])


def _results(competition: Competition, run: Run) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Pixels, truth, and the out-of-fold masks by the recipe's rule and by that in use, of some positives."""
    recipe = run.read_recipe()
    own, in_use = rules.fixed(recipe.threshold, recipe.is_gated), rules.read(run.thresholds)
    folds = {i: fold for fold in run.predicted_folds() for i in maps.read_ids(run.oof(fold, recipe.tta))}
    for image in _spread(competition, [image for image in folds if competition.labels[image]]):
        fixed, chosen = (_mask(competition, run, recipe, rule, folds[image], image) for rule in (own, in_use))
        yield _pixels(competition, image), _truth(competition, image), fixed, chosen


def _mask(competition: Competition, run: Run, recipe: Recipe, rule: Rule, fold: int, image: str) -> np.ndarray:
    paths = run.oof(fold, recipe.tta), run.oof(fold, recipe.tta, "classify")
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
    return rle.union(competition.labels[image], shapes.of(competition.shapes, image), image)
