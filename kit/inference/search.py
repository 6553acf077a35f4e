"""The exact search: every level, every `removal` that makes a difference.

What a rule makes of an image changes with `removal` in steps: at removal 0 all that the levels let through stands,
and at each step something (the mask, or some components of it) is taken away. So the mean Dice over any set of
images is a sum over steps, and one sort an each level gives it for all values of `removal` at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, Protocol

import numpy as np

from kit.inference.maps import PROBABILITIES
from kit.inference.rules import FULL_AREA, ComponentRule, ImageRule, Rule, TripletRule, size_of
from kit.inference.tables import Histograms

TIE = 1e-12
"""Mean Dice that differ by less are equal: it is rounding."""
FLAT = 0.001
"""A threshold's plateau reaches as far as this much Dice is lost."""
GRID = np.array([0, *np.rint(2 ** np.arange(3, 18.5, 0.5)).astype(int)])
"""Values of `removal` at which a surface is kept when none are asked for and too many make a difference."""


class Steps(NamedTuple):
    """How the Dice of images falls or rises as `removal` passes the sizes of what their masks are made of."""

    image: np.ndarray  # (K,) whose step it is
    size: np.ndarray  # (K,) whole pixels of a 1024×1024 image: it stands while size >= removal
    gain: np.ndarray  # (K,) float64, Dice with it less Dice without it


class Curve(NamedTuple):
    """Mean Dice as a function of `removal`: constant from `lower` to `upper`, both included."""

    lower: np.ndarray  # (R,) ascending
    upper: np.ndarray  # (R,)
    dice: np.ndarray  # (R,) float64


@dataclass(frozen=True)
class Surface:
    """Mean Dice at each point of a grid, as surface.npz holds it."""

    levels: np.ndarray  # (256,) binarization in [0, 1]
    removal: np.ndarray  # (R,) ascending
    dice: np.ndarray  # (256, R), or (256 top, 256, R)


class Search(Protocol):
    """What the estimate asks of a rule's search. `weights` (N,) say how much each image counts; 0 leaves it out."""

    def best(self, weights: np.ndarray) -> Rule:
        """The rule that is best on these images."""

    def dice(self, rule: Rule) -> np.ndarray:
        """Dice of each image under a rule of this kind, (N,)."""


def curve(steps: Steps, empty: np.ndarray, weights: np.ndarray, removal: np.ndarray | None = None) -> Curve:
    """Mean Dice against `removal`: at the values given, else at all values that make a difference.

    Args:
        steps: Of all images.
        empty: Dice of an empty mask, (N,): 1 for a negative.
        weights: Of the images, (N,).
        removal: Ascending values, or None.
    """
    weights = weights / weights.sum()
    gain = weights[steps.image] * steps.gain
    if removal is None:
        upper, cell = np.unique(steps.size, return_inverse=True)
        upper = np.append(upper, upper[-1] + 1)  # there, nothing stands
        lower = np.append(0, upper[:-1] + 1)
    else:
        lower = upper = removal
        cell = np.searchsorted(removal, steps.size, "right") - 1  # the last value that lets it stand
        gain, cell = gain[cell >= 0], cell[cell >= 0]
    gains = np.bincount(cell, gain, minlength=len(upper))
    return Curve(lower, upper, weights @ empty + np.cumsum(gains[::-1])[::-1])


def middle(good: np.ndarray) -> int:
    """The middle of the longest run of True (the first such run, and its lower middle).

    >>> middle(np.array([True, False, True, True, True, False]))
    3
    """
    start, stop = longest_run(good)
    return (start + stop) // 2


def longest_run(good: np.ndarray, length: np.ndarray | None = None) -> tuple[int, int]:
    """First and last index of the longest run of True; each index counts for its `length` (default 1)."""
    edges = np.diff(np.concatenate(([False], good, [False])).astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    ends = np.cumsum(np.ones(len(good)) if length is None else length)
    longest = np.argmax(ends[stops] - np.where(starts > 0, ends[starts - 1], 0))
    return int(starts[longest]), int(stops[longest])


def middle_removal(curve: Curve) -> int:
    """The middle of the widest plateau of the best values."""
    start, stop = longest_run(curve.dice >= curve.dice.max() - TIE, curve.upper - curve.lower + 1)
    center = (curve.lower[start] + curve.upper[stop]) // 2
    cell = np.searchsorted(curve.lower, center, "right") - 1
    return int(min(center, curve.upper[cell]))  # at or below the middle where only listed values will do


class LevelSearch:
    """The search of one rule with fixed levels and a `removal`.

    Args:
        kind: The rule; all its parameters but `removal` are levels, each an axis of the surface.
        empty: Dice of an empty mask for each image, (N,).
        removal: The values to choose from, ascending; None: all that make a difference.
    """

    def __init__(self, kind: type[Rule], empty: np.ndarray, removal: Sequence[int] | None = None):
        self.kind = kind
        self.axes = [field.name for field in fields(kind) if field.name != "removal"]
        self.empty = empty
        self.removal = None if removal is None else np.unique(removal)

    def steps(self, *levels: int) -> Steps:
        """Steps of all images at a level of each axis."""
        raise NotImplementedError

    def best(self, weights: np.ndarray) -> Rule:
        """The best rule on these images; of equal ones the middle of the widest plateau, axis after axis."""
        peaks = self.peaks(weights)  # (256,) or (256 top, 256)
        levels: list[int] = []
        while peaks.ndim:
            heights = peaks.reshape(256, -1).max(axis=1)
            levels.append(middle(heights >= heights.max() - TIE))
            peaks = peaks[levels[-1]]
        at_levels = curve(self.steps(*levels), self.empty, weights, self.removal)
        return self.kind(*(float(PROBABILITIES[level]) for level in levels), removal=middle_removal(at_levels))

    def dice(self, rule: Rule) -> np.ndarray:
        """Dice of each image under a rule of this kind, (N,)."""
        steps = self.steps(*self.levels_of(rule))
        stands = steps.size >= rule.removal
        return self.empty + np.bincount(steps.image[stands], steps.gain[stands], minlength=len(self.empty))

    def levels_of(self, rule: Rule) -> list[int]:
        """Where on the axes a rule lies."""
        return [int(np.searchsorted(PROBABILITIES, getattr(rule, axis))) for axis in self.axes]

    def peaks(self, weights: np.ndarray) -> np.ndarray:
        """The best mean Dice at each point of the axes, (256,) or (256 top, 256)."""
        return np.array([curve(self.steps(v), self.empty, weights, self.removal).dice.max() for v in range(256)])

    def at(self, weights: np.ndarray, removal: np.ndarray) -> np.ndarray:
        """Mean Dice at each point of the axes and each of these values of `removal`, (..., 256, R)."""
        return np.stack([curve(self.steps(v), self.empty, weights, removal).dice for v in range(256)])

    def surface(self, rule: Rule, weights: np.ndarray) -> Surface:
        """Mean Dice over the given values of `removal`; else over all that make a difference where they are few,
        or over `GRID` where they are many, and in both cases at the rule's own."""
        removal = self.removal
        if removal is None:
            sizes = np.unique(np.concatenate([np.unique(self.steps(*[v] * len(self.axes)).size) for v in range(256)]))
            removal = np.array([0, *sizes, sizes[-1] + 1]) if len(sizes) < len(GRID) else GRID
            removal = np.union1d(removal, [rule.removal])
        return Surface(PROBABILITIES, removal, self.at(weights, removal))

    def plateau(self, rule: Rule, weights: np.ndarray) -> dict[str, list[float]]:
        """How far each threshold can move, the others held, before more than `FLAT` of the mean Dice is lost."""
        levels = self.levels_of(rule)
        ranges = {}
        for axis, name in enumerate(self.axes):
            heights = np.array(
                [
                    curve(
                        self.steps(*levels[:axis], v, *levels[axis + 1 :]),
                        self.empty,
                        weights,
                        np.array([rule.removal]),
                    ).dice[0]
                    for v in range(256)
                ]
            )
            start, stop = _run_around(heights >= heights[levels[axis]] - FLAT, levels[axis])
            ranges[name] = [float(PROBABILITIES[start]), float(PROBABILITIES[stop])]
        along = curve(self.steps(*levels), self.empty, weights, self.removal)
        here = int(np.searchsorted(along.lower, rule.removal, "right")) - 1
        start, stop = _run_around(along.dice >= along.dice[here] - FLAT, here)
        return {**ranges, "removal": [int(along.lower[start]), int(along.upper[stop])]}


class ImageSearch(LevelSearch):
    """The search of the `image` rule."""

    def __init__(self, tables: Histograms, removal: Sequence[int] | None = None):
        super().__init__(ImageRule, empty_dice(tables), removal)
        self.size = size_of(tables.area.astype(np.int64), tables.pixels)  # (N, 256)
        self.gain = tables.dice() - self.empty[:, None]  # (N, 256)
        self.images = np.arange(len(self.empty))

    def steps(self, level: int) -> Steps:
        """Each image has one step: its whole mask."""
        return Steps(self.images, self.size[:, level], self.gain[:, level])


def empty_dice(tables: Histograms) -> np.ndarray:
    """Dice of an empty mask for each image: 1 for a negative, (N,)."""
    return (tables.truth == 0).astype(np.float64)


def _run_around(good: np.ndarray, index: int) -> tuple[int, int]:
    """First and last index of the run of True that holds `index`."""
    bad = np.flatnonzero(~good)
    where = np.searchsorted(bad, index)
    return int(bad[where - 1]) + 1 if where else 0, int(bad[where]) - 1 if where < len(bad) else len(good) - 1
