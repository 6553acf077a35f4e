"""What a run reaches: the mean Dice and IoU of its maps under a rule, as the cells of tables need them."""

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


class Score(NamedTuple):
    """Means over some images, each in [0, 1]."""

    dice: float
    iou: float


def score(
    rule: Rule,
    maps_path: Path,
    image_probabilities_path: Path,
    shape: Shape,
    truth: Callable[[str], np.ndarray],
) -> pd.Series:
    """Dice of each image of some maps under a rule, by id, at full size.

    Args:
        maps_path: Levels.
        image_probabilities_path: For a gated rule, P(the image has any pneumothorax).
        shape: (H, W) of the images, or of each.
        truth: The mask of an image, bool (H, W).
    """
    found = stored_masks(rule, maps_path, image_probabilities_path, shape)
    dice = {image_id: scoring.dice(mask, truth(image_id)) for image_id, mask in progress(found, "scoring")}
    return pd.Series(dice, dtype=float)


NO_RUN = "no run"
FOLD = re.compile(r"fold\d+(-plain)?\.npy")
"""Name of a fold's OOF maps."""


class RunScores:
    """The runs of a data set, scored cell by cell; what cannot be scored has a word that says why instead.

    Args:
        runs: Folder of its runs.
    """

    def __init__(self, competition: Competition, runs: Path) -> None:
        self.competition, self.runs = competition, runs
        self.dice = cache(self.dice)  # type: ignore[method-assign]

    def recipes(self) -> dict[str, Recipe]:
        """The recipe of each run, by the run's name."""
        return {path.parent.name: Run(path.parent).read_recipe() for path in sorted(self.runs.glob("*/recipe.yaml"))}

    def studies(self) -> dict[tuple[str, ...], str]:
        """The runs of the augmentation study, by their groups as the paper calls them."""
        called = {name: group for group, name in PAPER.items()}
        return {
            tuple(sorted(called.get(group, group) for group in recipe.augmentation)): name
            for name, recipe in self.recipes().items()
            if name.startswith("augmentation")
        }

    def trained_on(self, name: str) -> dict[str, str]:
        """Runs of a recipe that have predicted these test images, by name: on which data set each was trained."""
        others = {path.parent.name for path in self.runs.glob(f"{name}@*/recipe.yaml")}
        return {other: other.partition("@")[2] for other in sorted(others)} | {name: self.competition.name}

    def rule(self, name: str) -> str:
        """The rule in use of a run, in words: how it came to be, and its name."""
        found = thresholds_file.read(self.run(name).thresholds)
        return f"{'fixed' if found.asked == 'fixed' else 'searched'} rule {found.rule.name}"

    def splits(self) -> list[list[str]]:
        """The runs, those that were made on the same folds together."""
        found: dict[str, list[str]] = {}
        for name in self.recipes():
            run = self.run(name)
            if run.inputs_path.is_file():
                found.setdefault(lineage.read_inputs(run).folds, []).append(name)
        return list(found.values())

    def run(self, name: str) -> Run:
        """The run of that name, whether it is there or not."""
        return Run(self.runs / name)

    @cached_property
    def patients(self) -> dict[str, str]:
        """The patient of each training image."""
        return dict(zip(self.competition.train, patients.patient_ids(self.competition), strict=True))

    def validation(self, name: str, tta: bool, reading: str) -> Score | str:
        """Mean scores of a run's OOF maps, by the thresholds of its recipe."""
        return _mean(self.dice(name, tta, reading, test=False))

    def test(self, name: str, tta: bool, reading: str, usage: str | None = None) -> Score | str:
        """Mean scores of a run's test maps; of one part of the leaderboard only where `usage` names it.

        Args:
            name: Of the run.
            tta: With the mirrored images.
            reading: One of `READINGS`, by the thresholds of its recipe; `chosen`: the run's own rule.
            usage: `public`, `private` or None.
        """
        dice = self.dice(name, tta, reading, test=True)
        if isinstance(dice, str):
            return dice
        usages = (usage,) if usage else (scoring.PUBLIC, scoring.PRIVATE)
        usage_of = self._solution.usage if self._solution else {}
        counted = dice[[usage_of[image_id] in usages for image_id in dice.index]]
        return _mean(counted if len(counted) else f"no {usage or 'public or private'} images")

    @property
    def all_public(self) -> bool:
        """Whether the leaderboard shows the score of all test images, as in round 1."""
        return self._solution is not None and scoring.PRIVATE not in self._solution.usage.values()

    def dice(self, name: str, tta: bool, reading: str, test: bool) -> pd.Series | str:
        """Dice of each image that a run has predicted, by id; of the test images, or else of its OOF maps.

        Raises:
            KitError: the maps are of other images than the labels or the solution.
        """
        files = self._maps(name, tta, test)
        if isinstance(files, str):
            return files
        run, solution = self.run(name), self._solution if test else None
        rule = thresholds_file.read(run.thresholds).rule if reading == "chosen" else _rule(run.read_recipe(), reading)
        labels = solution.masks if solution else self.competition.labels
        shape = self.competition.shapes
        truth_of = partial(_truth, labels, shape)
        places = [run.test] if test else [partial(run.oof, fold) for fold in run.predicted_folds()]
        answers = [place(tta=tta, role="classify") for place in places]
        pairs = zip(files, answers, strict=True)
        return pd.concat([score(rule, file, answer, shape, truth_of) for file, answer in pairs])

    def mean_precision(self, name: str, tta: bool, reading: str) -> float | str:
        """What the paper calls IoU, of a run's OOF maps, by the thresholds of its recipe.

        Args:
            name: Of the run.
            tta: With the mirrored images.
            reading: `none` or `image`, with R-TH in pixels of the network.
        """
        files = self._maps(name, tta, test=False)
        if isinstance(files, str):
            return files
        recipe, labels, shape = self.run(name).read_recipe(), self.competition.labels, self.competition.shapes
        removal = 0 if reading == "none" else recipe.threshold.removal
        return float(pd.concat([mean_precision.of_maps(file, labels, shape, recipe, removal) for file in files]).mean())

    def _maps(self, name: str, tta: bool, test: bool) -> list[Path] | str:
        """The files of a run's test maps, or else of its OOF maps, all of images with a known truth."""
        run = self.run(name)
        if not name or not run.recipe_path.is_file():
            return NO_RUN
        # The thresholds are chosen when the last fold has its maps.
        if not run.thresholds.is_file():
            return "not trained to the end"
        solution = self._solution if test else None
        if test and solution is None:
            return "no solution.csv"
        files = [run.test(tta=tta)] if test else [run.oof(fold, tta=tta) for fold in run.predicted_folds()]
        chosen_on = [name for name in thresholds_file.read(run.thresholds).hashes if FOLD.fullmatch(name)]
        if not all(file.is_file() for file in files) or len(files) < (1 if test else max(1, len(chosen_on))):
            return "not predicted"
        labels = solution.masks if solution else self.competition.labels
        truth = self.competition.solution_path if test else self.competition.labels_path
        for file in files:
            strange = [image_id for image_id in read_ids(file) if image_id not in labels]
            if strange:
                raise KitError(f"{file}: image {strange[0]} is not in {truth}: run `make train predict` again")
        return files

    @cached_property
    def _solution(self) -> scoring.Solution | None:
        path = self.competition.solution_path
        return scoring.read_solution(path) if path is not None else None


def _truth(labels: Labels, shape: Shape, image_id: str) -> np.ndarray:
    return rle.union(labels[image_id], shapes.shape_of(shape, image_id), image_id)


def _rule(recipe: Recipe, reading: str) -> Rule:
    """The rule of a recipe's thresholds."""
    kind = ComponentRule if reading == "component" else ImageRule
    return kind(recipe.threshold.binarization, 0 if reading == "none" else recipe.threshold.removal)


def _mean(dice: pd.Series | str) -> Score | str:
    """Means over images; for each image IoU = Dice / (2 - Dice)."""
    return dice if isinstance(dice, str) else Score(float(dice.mean()), float((dice / (2 - dice)).mean()))
