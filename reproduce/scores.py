"""Mean Dice and IoU of runs under the paper's readings of its thresholds, as cells of tables."""

import re
from collections.abc import Callable
from functools import cache, cached_property, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from kit import lineage
from kit.competition import rle, scoring, shapes
from kit.competition.labels import Labels
from kit.competition.layout import Competition
from kit.competition.shapes import Shape
from kit.core.errors import KitError
from kit.core.progress import progress
from kit.data import patients
from kit.inference import thresholds_file
from kit.inference.maps import read_ids
from kit.inference.masks import stored_masks
from kit.inference.rules import ComponentRule, ImageRule, Rule
from kit.recipes.magnitudes import PAPER
from kit.recipes.schema import Recipe
from kit.run import Run
from reproduce import mean_precision

READINGS = ("none", "image", "component")
"""Readings of the paper's R-TH: not applied, to the whole mask (section 5.1), to each component (section 4.3)."""


class Variant(NamedTuple):
    """A run, and how its maps become masks."""

    name: str
    tta: bool = True
    reading: str = "image"
    """One of `READINGS`, by the thresholds of the recipe, or `chosen` for the run's own rule."""


def score(
    rule: Rule,
    maps_path: Path,
    image_probabilities_path: Path,
    shape: Shape,
    truth: Callable[[str], np.ndarray],
) -> pd.Series:
    """Computes the Dice of each image in a file of maps under a rule, by id, at full size.

    Args:
        maps_path: Path to the maps, uint8 levels.
        image_probabilities_path: Path to P(the image has any pneumothorax), for a gated rule.
        shape: (H, W) of all images or of each image.
        truth: Returns the true mask of an image, bool (H, W).
    """
    masks = stored_masks(rule, maps_path, image_probabilities_path, shape)
    dice = {image_id: scoring.dice(mask, truth(image_id)) for image_id, mask in progress(masks, "scoring")}
    return pd.Series(dice, dtype=float)


NO_RUN = "no run"
FOLD = re.compile(r"fold\d+(-plain)?\.npy")
"""File name of a fold's out-of-fold maps."""


class RunScores:
    """Scores of a data set's runs, cell by cell; a cell that cannot be scored is a text with the reason.

    Args:
        runs: Folder of the runs.
    """

    def __init__(self, competition: Competition, runs: Path) -> None:
        self.competition, self.runs = competition, runs
        self.dice = cache(self.dice)  # type: ignore[method-assign]

    def recipes(self) -> dict[str, Recipe]:
        """Reads the recipe of each run, by the run's name."""
        return {path.parent.name: Run(path.parent).read_recipe() for path in sorted(self.runs.glob("*/recipe.yaml"))}

    def studies(self) -> dict[tuple[str, ...], str]:
        """Returns the run of each set of augmentation groups, by the paper's names of the groups."""
        paper_names = {name: group for group, name in PAPER.items()}
        return {
            tuple(sorted(paper_names.get(group, group) for group in recipe.augmentation)): name
            for name, recipe in self.recipes().items()
            if name.startswith("augmentation")
        }

    def trained_on(self, name: str) -> dict[str, str]:
        """Returns the training data set of each run of a recipe that predicted these test images, by the run's name."""
        others = {path.parent.name for path in self.runs.glob(f"{name}@*/recipe.yaml")}
        return {other: other.partition("@")[2] for other in sorted(others)} | {name: self.competition.name}

    def rule(self, name: str) -> str:
        """Describes the rule that a run uses: searched or fixed, and its name."""
        thresholds = thresholds_file.read(self.run(name).thresholds)
        return f"{'fixed' if thresholds.asked == 'fixed' else 'searched'} rule {thresholds.rule.name}"

    def splits(self) -> list[list[str]]:
        """Groups the names of the runs by the folds that they were trained on."""
        by_folds: dict[str, list[str]] = {}
        for name in self.recipes():
            run = self.run(name)
            if run.inputs_path.is_file():
                by_folds.setdefault(lineage.read_inputs(run).folds, []).append(name)
        return list(by_folds.values())

    def run(self, name: str) -> Run:
        """Returns the run of a name, whether it exists or not."""
        return Run(self.runs / name)

    @cached_property
    def patients(self) -> dict[str, str]:
        """The patient of each training image."""
        return dict(zip(self.competition.train, patients.patient_ids(self.competition), strict=True))

    def validation_iou(self, variant: Variant) -> float | str:
        """Returns the mean IoU of a run's out-of-fold maps; the IoU of an image is Dice / (2 - Dice)."""
        dice = self.dice(variant, test=False)
        return dice if isinstance(dice, str) else float((dice / (2 - dice)).mean())

    def test_dice(self, variant: Variant, usage: str | None = None) -> float | str:
        """Returns the mean Dice of a run's test maps.

        Args:
            usage: `public` or `private` for one part of the leaderboard; None for both.
        """
        dice = self.dice(variant, test=True)
        if isinstance(dice, str):
            return dice
        usages = (usage,) if usage else (scoring.PUBLIC, scoring.PRIVATE)
        usage_of = self._solution.usage if self._solution else {}
        counted = dice[[usage_of[image_id] in usages for image_id in dice.index]]
        return float(counted.mean()) if len(counted) else f"no {usage or 'public or private'} images"

    @property
    def all_public(self) -> bool:
        """Whether all test images are on the public leaderboard, as in round 1."""
        return self._solution is not None and scoring.PRIVATE not in self._solution.usage.values()

    def dice(self, variant: Variant, *, test: bool) -> pd.Series | str:
        """Computes the Dice of each predicted image, by id: of the test maps, or of the out-of-fold maps.

        Raises:
            KitError: a map's image is not in the labels or the solution.
        """
        files = self._files(variant, test=test)
        if isinstance(files, str):
            return files
        run, solution = self.run(variant.name), self._solution if test else None
        chosen = variant.reading == "chosen"
        rule = thresholds_file.read(run.thresholds).rule if chosen else _rule(run.read_recipe(), variant.reading)
        labels, shape = solution.masks if solution else self.competition.labels, self.competition.shapes
        truth = partial(_truth, labels, shape)
        return pd.concat([score(rule, maps, probabilities, shape, truth) for maps, probabilities in files])

    def mean_precision(self, variant: Variant) -> float | str:
        """Computes what the paper calls IoU on a run's out-of-fold maps, with R-TH in pixels of the network.

        Args:
            variant: Its reading is `none` or `image`.
        """
        files = self._files(variant, test=False)
        if isinstance(files, str):
            return files
        recipe, labels, shape = self.run(variant.name).read_recipe(), self.competition.labels, self.competition.shapes
        removal = 0 if variant.reading == "none" else recipe.threshold.removal
        parts = [mean_precision.of_maps(maps, labels, shape, recipe, removal) for maps, _ in files]
        return float(pd.concat(parts).mean())

    def _files(self, variant: Variant, *, test: bool) -> list[tuple[Path, Path]] | str:
        """Lists the files of maps to score, each with its classifiers' probabilities; all images have a known truth."""
        run = self.run(variant.name)
        if not variant.name or not run.recipe_path.is_file():
            return NO_RUN
        # The thresholds are chosen once the last fold has its maps.
        if not run.thresholds.is_file():
            return "not trained to the end"
        solution = self._solution if test else None
        if test and solution is None:
            return "no solution.csv"
        paths = [run.test] if test else [partial(run.oof, fold) for fold in run.predicted_folds()]
        files = [(path(tta=variant.tta), path(tta=variant.tta, role="classify")) for path in paths]
        chosen_on = [name for name in thresholds_file.read(run.thresholds).hashes if FOLD.fullmatch(name)]
        if not all(maps.is_file() for maps, _ in files) or len(files) < (1 if test else max(1, len(chosen_on))):
            return "not predicted"
        labels = solution.masks if solution else self.competition.labels
        truth = self.competition.solution_path if test else self.competition.labels_path
        for maps, _ in files:
            unknown = [image_id for image_id in read_ids(maps) if image_id not in labels]
            if unknown:
                raise KitError(f"{maps}: image {unknown[0]} is not in {truth}: run `make train predict` again")
        return files

    @cached_property
    def _solution(self) -> scoring.Solution | None:
        path = self.competition.solution_path
        return scoring.read_solution(path) if path is not None else None


def _truth(labels: Labels, shape: Shape, image_id: str) -> np.ndarray:
    return rle.union(labels[image_id], shapes.shape_of(shape, image_id), image_id)


def _rule(recipe: Recipe, reading: str) -> Rule:
    """Returns a recipe's own thresholds as a rule."""
    kind = ComponentRule if reading == "component" else ImageRule
    return kind(recipe.threshold.binarization, 0 if reading == "none" else recipe.threshold.removal)
