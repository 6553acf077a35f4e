"""Mean Dice as a function of `removal`, and where its best values lie.

What a rule makes of an image changes with `removal` in steps: at removal 0 all that the levels let through stands,
and at each step something (the mask, or some components of it) is taken away. So the mean Dice over any set of
images is a sum over steps, and one sort gives it for all values of `removal` at once.
"""

from typing import NamedTuple

import numpy as np

from kit.competition.scoring import FULL_AREA

TIE = 1e-12
"""Mean Dice that differ by less are equal: it is rounding."""


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


def curve(steps: Steps, empty: np.ndarray, weights: np.ndarray, removal: np.ndarray | None = None) -> Curve:
    """Mean Dice against `removal`: at the values given, else at all values that make a difference.

    Args:
        empty: Dice of an empty mask, (N,): 1 for a negative.
        weights: Of the images, (N,).
        removal: Ascending values, or None.
    """
    weights = weights / weights.sum()
    gain = weights[steps.image] * steps.gain
    if removal is None:
        upper, cell = np.unique(np.append(steps.size, 0), return_inverse=True)
        cell = cell[:-1]
        upper = np.append(upper, FULL_AREA + 1)  # there, nothing stands
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


def run_around(good: np.ndarray, index: int) -> tuple[int, int]:
    """First and last index of the run of True that holds `index`."""
    bad = np.flatnonzero(~good)
    where = np.searchsorted(bad, index)
    return int(bad[where - 1]) + 1 if where else 0, int(bad[where]) - 1 if where < len(bad) else len(good) - 1
