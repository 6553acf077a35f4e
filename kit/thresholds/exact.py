"""The exact search for one rule's thresholds: every level, and every `removal` that makes a difference."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from kit.competition.scoring import FULL_AREA
from kit.core.compiled import compiled
from kit.inference.maps import PROBABILITIES
from kit.inference.rules import ComponentRule, ImageRule, Rule, TripletRule, level_of
from kit.thresholds.curves import TIE, curve, middle, middle_removal, run_around
from kit.thresholds.tables import Components, Histograms

R = TypeVar("R", bound=Rule)
L = TypeVar("L", bound=ImageRule | ComponentRule | TripletRule)

FLAT = 0.001
"""Loss of Dice that bounds a threshold's plateau."""
GRID = np.array([0, *np.rint(2 ** np.arange(3, 18.5, 0.5)).astype(int)])
"""Values of `removal` in a stored surface if none are given and too many make a difference."""


@dataclass(frozen=True)
class Surface:
    """Mean Dice at each point of a grid of thresholds, as stored in surface.npz."""

    levels: np.ndarray  # (256,) binarization in [0, 1]
    removal: np.ndarray  # (R,) ascending
    dice: np.ndarray  # (256, R), or (256 top, 256, R)


class Search(Protocol[R]):
    """The search for one rule over a set of images. `weights` (N,) are those of the images; 0 leaves an image out."""

    empty: np.ndarray
    """Dice of an empty mask for each image, (N,)."""

    def best(self, weights: np.ndarray) -> R:
        """Returns the rule with the best mean Dice."""

    def dice(self, rule: R) -> np.ndarray:
        """Dice of each image under a rule of this kind, (N,)."""

    def masked(self, rule: R) -> np.ndarray:
        """Whether each image gets a mask under a rule of this kind, bool (N,)."""

    def candidates(self, rule: R) -> tuple[np.ndarray, np.ndarray]:
        """Evidence of each image and Dice of its candidate mask, (N,) each, as by `candidate` of the rule."""

    def surface(self, rule: R, weights: np.ndarray) -> Surface | None:
        """Mean Dice over a grid of thresholds that includes the rule's own; None if the rule has no thresholds."""

    def plateau(self, rule: R, weights: np.ndarray) -> dict[str, list[float]]:
        """Range of each threshold, the others fixed, within which at most `FLAT` of the mean Dice is lost."""


class LevelSearch(Generic[L]):
    """The search for one rule with fixed levels and a `removal`.

    Args:
        kind: The rule; all its parameters but `removal` are levels, each an axis of the surface.
        tables: Components for the rule `component`, histograms for the others.
        removal: Values to choose from, ascending; if None, all that make a difference.
    """

    def __init__(self, kind: type[L], tables: Histograms | Components, removal: Sequence[int] | None = None) -> None:
        self.kind, self.tables, self.empty = kind, tables, tables.empty
        self.axes = [field.name for field in fields(kind) if field.name in ("top", "binarization")]
        self.removal = None if removal is None else np.unique(removal)

    def best(self, weights: np.ndarray) -> L:
        """Returns the rule with the best mean Dice; of equal ones the middle of the widest plateau, axis by axis."""
        peaks = self.peaks(weights)
        levels: list[int] = []
        while peaks.ndim:
            heights = peaks.reshape(256, -1).max(axis=1)
            levels.append(middle(heights >= heights.max() - TIE))
            peaks = peaks[levels[-1]]
        at_levels = curve(self.tables.steps(*levels), self.empty, weights, self.removal)
        thresholds: dict[str, Any] = dict(zip(self.axes, PROBABILITIES[levels].tolist(), strict=True))
        return self.kind(removal=middle_removal(at_levels), **thresholds)

    def dice(self, rule: L) -> np.ndarray:
        """Dice of each image under a rule of this kind, (N,)."""
        steps = self.tables.steps(*self.levels_of(rule))
        stands = steps.size >= rule.removal
        return self.empty + np.bincount(steps.image[stands], steps.gain[stands], minlength=len(self.empty))

    def masked(self, rule: L) -> np.ndarray:
        """Whether each image gets a mask under a rule of this kind, bool (N,)."""
        steps = self.tables.steps(*self.levels_of(rule))
        masked = np.bincount(steps.image[steps.size >= rule.removal], minlength=len(self.empty)) > 0
        if not isinstance(self.tables, Histograms):
            return masked
        # The mask is empty, too, if a `binarization` above `top` or the cleaning leaves nothing of it.
        return masked & self.tables.is_filled(self.levels_of(rule)[-1])

    def candidates(self, rule: L) -> tuple[np.ndarray, np.ndarray]:
        """Size of each image's largest step, and its Dice with all steps that reach `removal`, or else the largest."""
        steps = self.tables.steps(*self.levels_of(rule))
        largest = np.zeros(len(self.empty), np.int64)
        np.maximum.at(largest, steps.image, steps.size)
        stands = steps.size >= np.minimum(rule.removal, largest)[steps.image]
        gains = np.bincount(steps.image[stands], steps.gain[stands], minlength=len(self.empty))
        return largest.astype(np.float64), self.empty + gains

    def levels_of(self, rule: L) -> list[int]:
        """The rule's level on each axis."""
        return [level_of(getattr(rule, axis)) for axis in self.axes]

    def peaks(self, weights: np.ndarray) -> np.ndarray:
        """The best mean Dice at each point of the axes, (256,) or (256 top, 256)."""
        if self.removal is not None:
            return self.mean_dice(weights, self.removal).max(axis=-1)
        weights = weights / weights.sum()
        return weights @ self.empty + _highest_sums(*self._sorted, weights)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The steps of all levels, sorted by level and then by descending size; sorted once for all weights.

        Returns:
            Where each level ends among the steps, (256,); and image, size and gain of each step, (K,) each.
        """
        by_level = [self.tables.steps(level) for level in range(256)]
        orders = [np.argsort(-steps.size, kind="stable") for steps in by_level]
        columns = [[column[order] for column in steps] for steps, order in zip(by_level, orders, strict=True)]
        image, size, gain = (np.concatenate(column) for column in zip(*columns, strict=True))
        ends = np.cumsum([len(order) for order in orders])
        return ends, image.astype(np.int32), size.astype(np.int64), gain

    def mean_dice(self, weights: np.ndarray, removal: np.ndarray) -> np.ndarray:
        """Mean Dice at each point of the axes and each value of `removal`, (..., 256, R)."""
        return np.stack([curve(self.tables.steps(v), self.empty, weights, removal).dice for v in range(256)])

    def surface(self, rule: L, weights: np.ndarray) -> Surface:
        """Mean Dice over all levels, and over values of `removal` that include the rule's own.

        The values are the given ones; if none are given, all that make a difference, or `GRID` if they are many.
        """
        removal = self.removal
        if removal is None:
            steps = (self.tables.steps(*[level] * len(self.axes)) for level in range(256))
            sizes = np.unique(np.concatenate([np.unique(level_steps.size) for level_steps in steps]))
            removal = np.array([0, *sizes, FULL_AREA + 1]) if len(sizes) < len(GRID) else GRID
            removal = np.union1d(removal, [rule.removal])
        return Surface(PROBABILITIES, removal, self.mean_dice(weights, removal))

    def plateau(self, rule: L, weights: np.ndarray) -> dict[str, list[float]]:
        """Range of each threshold, the others fixed, within which at most `FLAT` of the mean Dice is lost."""
        ranges = {}
        for name, level in zip(self.axes, self.levels_of(rule), strict=True):
            values: list[dict[str, Any]] = [{name: probability} for probability in PROBABILITIES.tolist()]
            dice = np.array([weights @ self.dice(replace(rule, **value)) for value in values]) / weights.sum()
            start, stop = run_around(dice >= dice[level] - FLAT, level)
            ranges[name] = [float(PROBABILITIES[start]), float(PROBABILITIES[stop])]
        lower, upper, dice = curve(self.tables.steps(*self.levels_of(rule)), self.empty, weights, self.removal)
        index = int(np.searchsorted(lower, rule.removal, "right")) - 1
        start, stop = run_around(dice >= dice[index] - FLAT, index)
        return {**ranges, "removal": [int(lower[start]), int(upper[stop])]}


@compiled(nogil=True)
def _highest_sums(
    ends: np.ndarray, image: np.ndarray, size: np.ndarray, gain: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """For each level, the highest weighted sum of gains of the steps above any size, or 0 for no steps, (256,)."""
    highest = np.zeros(len(ends))
    first = 0
    for level in range(len(ends)):
        total = 0.0
        for place in range(first, ends[level]):
            total += weights[image[place]] * gain[place]
            if place + 1 == ends[level] or size[place + 1] < size[place]:
                highest[level] = max(highest[level], total)
        first = ends[level]
    return highest
