"""The exact search of one rule: every level, every `removal` that makes a difference."""

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
"""A threshold's plateau reaches as far as this much Dice is lost."""
GRID = np.array([0, *np.rint(2 ** np.arange(3, 18.5, 0.5)).astype(int)])
"""Values of `removal` at which a surface is kept when none are asked for and too many make a difference."""


@dataclass(frozen=True)
class Surface:
    """Mean Dice at each point of a grid, as surface.npz holds it."""

    levels: np.ndarray  # (256,) binarization in [0, 1]
    removal: np.ndarray  # (R,) ascending
    dice: np.ndarray  # (256, R), or (256 top, 256, R)


class Search(Protocol[R]):
    """What a rule's search answers. `weights` (N,) say how much each image counts; 0 leaves it out."""

    empty: np.ndarray
    """Dice of an empty mask for each image, (N,)."""

    def best(self, weights: np.ndarray) -> R:
        """The rule that is best on these images."""

    def dice(self, rule: R) -> np.ndarray:
        """Dice of each image under a rule of this kind, (N,)."""

    def masked(self, rule: R) -> np.ndarray:
        """Whether each image gets a mask under a rule of this kind, bool (N,)."""

    def candidates(self, rule: R) -> tuple[np.ndarray, np.ndarray]:
        """Evidence of each image, and the Dice of the mask that it has if it has any, (N,) each.

        As `candidate` of the rule gives them.
        """

    def surface(self, rule: R, weights: np.ndarray) -> Surface | None:
        """Mean Dice over a grid of thresholds that holds the rule's own; None where it has no thresholds."""

    def plateau(self, rule: R, weights: np.ndarray) -> dict[str, list[float]]:
        """How far each threshold can move, the others held, before more than `FLAT` of the mean Dice is lost."""


class LevelSearch(Generic[L]):
    """The search of one rule with fixed levels and a `removal`.

    Args:
        kind: The rule; all its parameters but `removal` are levels, each an axis of the surface.
        tables: Of the rule `component` its components, of others histograms.
        removal: The values to choose from, ascending; None: all that make a difference.
    """

    def __init__(self, kind: type[L], tables: Histograms | Components, removal: Sequence[int] | None = None) -> None:
        self.kind, self.tables, self.empty = kind, tables, tables.empty
        self.axes = [field.name for field in fields(kind) if field.name in ("top", "binarization")]
        self.removal = None if removal is None else np.unique(removal)

    def best(self, weights: np.ndarray) -> L:
        """The best rule on these images; of equal ones the middle of the widest plateau, axis after axis."""
        peaks = self.peaks(weights)  # (256,) or (256 top, 256)
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
        stand = np.bincount(steps.image[steps.size >= rule.removal], minlength=len(self.empty)) > 0
        if not isinstance(self.tables, Histograms):
            return stand
        return stand & self.tables.is_filled(self.levels_of(rule)[-1])  # `top` has more pixels, or all are cleaned away

    def candidates(self, rule: L) -> tuple[np.ndarray, np.ndarray]:
        """The largest size of an image's steps, and its Dice with those of at least `removal` or else the largest."""
        steps = self.tables.steps(*self.levels_of(rule))
        largest = np.zeros(len(self.empty), np.int64)
        np.maximum.at(largest, steps.image, steps.size)
        stands = steps.size >= np.minimum(rule.removal, largest)[steps.image]
        gains = np.bincount(steps.image[stands], steps.gain[stands], minlength=len(self.empty))
        return largest.astype(np.float64), self.empty + gains

    def levels_of(self, rule: L) -> list[int]:
        """Where on the axes a rule lies."""
        return [level_of(getattr(rule, axis)) for axis in self.axes]

    def peaks(self, weights: np.ndarray) -> np.ndarray:
        """The best mean Dice at each point of the axes, (256,) or (256 top, 256)."""
        if self.removal is not None:
            return self.at(weights, self.removal).max(axis=-1)
        weights = weights / weights.sum()
        return weights @ self.empty + _highest_sums(*self._sorted, weights)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Steps of level after level, within a level by falling size, and where each level's end: once for all weights.

        Returns:
            Ends (256,), and of the steps image, size and gain, (K,) each.
        """
        found = [self.tables.steps(level) for level in range(256)]
        orders = [np.argsort(-steps.size, kind="stable") for steps in found]
        columns = [[column[order] for column in steps] for steps, order in zip(found, orders, strict=True)]
        image, size, gain = (np.concatenate(column) for column in zip(*columns, strict=True))
        ends = np.cumsum([len(order) for order in orders])
        return ends, image.astype(np.int32), size.astype(np.int64), gain

    def at(self, weights: np.ndarray, removal: np.ndarray) -> np.ndarray:
        """Mean Dice at each point of the axes and each of these values of `removal`, (..., 256, R)."""
        return np.stack([curve(self.tables.steps(v), self.empty, weights, removal).dice for v in range(256)])

    def surface(self, rule: L, weights: np.ndarray) -> Surface:
        """Mean Dice over values of `removal`, the rule's own included.

        These are the given ones; else all that make a difference where they are few, or `GRID` where they are many.
        """
        removal = self.removal
        if removal is None:
            steps = (self.tables.steps(*[level] * len(self.axes)) for level in range(256))
            sizes = np.unique(np.concatenate([np.unique(each.size) for each in steps]))
            removal = np.array([0, *sizes, FULL_AREA + 1]) if len(sizes) < len(GRID) else GRID
            removal = np.union1d(removal, [rule.removal])
        return Surface(PROBABILITIES, removal, self.at(weights, removal))

    def plateau(self, rule: L, weights: np.ndarray) -> dict[str, list[float]]:
        """How far each threshold can move, the others held, before more than `FLAT` of the mean Dice is lost."""
        ranges = {}
        for name, level in zip(self.axes, self.levels_of(rule), strict=True):
            points: list[dict[str, Any]] = [{name: probability} for probability in PROBABILITIES.tolist()]
            moved = (replace(rule, **point) for point in points)
            heights = np.array([weights @ self.dice(other) for other in moved]) / weights.sum()
            start, stop = run_around(heights >= heights[level] - FLAT, level)
            ranges[name] = [float(PROBABILITIES[start]), float(PROBABILITIES[stop])]
        along = curve(self.tables.steps(*self.levels_of(rule)), self.empty, weights, self.removal)
        here = int(np.searchsorted(along.lower, rule.removal, "right")) - 1
        start, stop = run_around(along.dice >= along.dice[here] - FLAT, here)
        return {**ranges, "removal": [int(along.lower[start]), int(along.upper[stop])]}


@compiled(nogil=True)
def _highest_sums(
    ends: np.ndarray, image: np.ndarray, size: np.ndarray, gain: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The highest weighted sum of the gains of all steps down to some size, or of none, at each level, (256,)."""
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
