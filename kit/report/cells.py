"""What a run reaches: the mean Dice and IoU of its maps under a rule, as the cells of tables need them."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from kit.competition import rle, scoring
from kit.competition.layout import Competition
from kit.data import folds
from kit.inference import rules
from kit.inference.maps import Maps, open_maps, upsample
from kit.inference.rules import ComponentRule, GatedRule, ImageRule, Rule
from kit.progress import progress
from kit.recipe import Recipe
from kit.run import Run

READINGS = ("none", "image", "component")
"""Of the paper's R-TH: not applied, to the whole mask (section 5.1), to each component (section 4.3)."""


class Cell(NamedTuple):
    """Means over some images, each in [0, 1]."""

    dice: float
    iou: float


def score(
    maps: Maps, truth: Callable[[str], np.ndarray], rule: Rule | GatedRule, presence: np.ndarray | None = None
) -> pd.Series:
    """Dice of each image of some maps under a rule, by id, at the size of the truth.

    Args:
        maps: Levels.
        truth: The mask of an image, bool (H, W).
        rule: From map to mask.
        presence: For a gated rule, P(the image has any pneumothorax), (N,).
    """

    def one(index: int) -> float:
        mask = truth(maps.ids[index])
        given = () if presence is None else (presence[index],)
        return scoring.dice(rule.mask(upsample(maps[index], mask.shape), *given), mask)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        dice = list(progress(pool.map(one, range(len(maps))), "scoring", len(maps)))
    return pd.Series(dice, maps.ids)


class Scored:
    """The runs of a data set, scored cell by cell; a cell whose maps or truth are not there is None.

    Args:
        competition: The data set.
        runs: Folder of its runs.
    """

    def __init__(self, competition: Competition, runs: Path):
        self.competition, self.runs = competition, runs
        self.dice = cache(self.dice)

    def recipes(self) -> dict[str, Recipe]:
        """The recipe of each run, by the run's name."""
        return {path.parent.name: Run(path.parent).read_recipe() for path in sorted(self.runs.glob("*/recipe.yaml"))}

    def studies(self) -> dict[tuple[str, ...], str]:
        """The runs of the augmentation study, by their groups."""
        return {
            tuple(sorted(recipe.augmentation)): name
            for name, recipe in self.recipes().items()
            if name.startswith("augmentation")
        }

    def run(self, name: str) -> Run:
        """The run of that name, whether it is there or not."""
        return Run(self.runs / name)

    @cached_property
    def patients(self) -> dict[str, str]:
        """The patient of each training image."""
        return dict(zip(self.competition.train, folds.patients(self.competition), strict=True))

    def validation(self, name: str, tta: bool, reading: str) -> Cell | None:
        """Of the OOF maps of a run, by the thresholds of its recipe."""
        return _mean(self.dice(name, tta, reading, test=False))

    def test(self, name: str, tta: bool, reading: str, usage: str | None = None) -> Cell | None:
        """Of the test maps of a run; of one part of the leaderboard only where `usage` names it.

        Args:
            name: Of the run.
            tta: With the mirrored images.
            reading: One of `READINGS`, by the thresholds of its recipe; `chosen`: the run's own rule.
            usage: `public`, `private` or None.
        """
        dice = self.dice(name, tta, reading, test=True)
        if dice is None:
            return None
        usages = (usage,) if usage else (scoring.PUBLIC, scoring.PRIVATE)
        return _mean(dice[[self._solution.usage[id] in usages for id in dice.index]])

    def dice(self, name: str, tta: bool, reading: str, test: bool) -> pd.Series | None:
        """Dice of each image that a run has predicted, by id; of the test images, or else of its OOF maps."""
        run = self.run(name)
        files = [run.test(tta)] if test else [run.oof(fold, tta) for fold in run.predicted_folds()]
        files = [file for file in files if file.is_file()]
        if not files or (test and self._solution is None):
            return None
        rule = rules.read(run.thresholds) if reading == "chosen" else _rule(run.read_recipe(), reading)
        shape = self.competition.shape
        labels = self._solution.masks if test else self.competition.labels
        presence = np.load(run.test(tta, "classify")) if isinstance(rule, GatedRule) else None
        dice = [score(open_maps(file), lambda id: rle.union(labels[id], shape, id), rule, presence) for file in files]
        return pd.concat(dice)

    @cached_property
    def _solution(self) -> scoring.Solution | None:
        path = self.competition.solution_path
        return scoring.read_solution(path) if path is not None else None


def _rule(recipe: Recipe, reading: str) -> Rule:
    """The rule of a recipe's thresholds."""
    kind = ComponentRule if reading == "component" else ImageRule
    return kind(recipe.threshold.binarization, 0 if reading == "none" else recipe.threshold.removal)


def _mean(dice: pd.Series | None) -> Cell | None:
    """Means over images; for each image IoU = Dice / (2 - Dice)."""
    return None if dice is None or dice.empty else Cell(float(dice.mean()), float((dice / (2 - dice)).mean()))
