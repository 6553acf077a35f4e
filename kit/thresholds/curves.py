"""Mean Dice as a function of `removal`, and the plateau of its best values.

A rule's mask of an image changes with `removal` in steps: at `removal` 0 everything above the levels is kept, and each
step takes something away (the whole mask, or some of its components). The mean Dice over any set of images is therefore
a sum over steps, and one sort gives it for all values of `removal` at once.
"""

from typing import NamedTuple

import numpy as np

from kit.competition.scoring import FULL_AREA

TIE = 1e-12
"""Means of Dice that differ by less are equal but for rounding."""


class Steps(NamedTuple):
    """Changes of each image's Dice as `removal` passes the size of its mask, or of the mask's components."""

    image: np.ndarray  # (K,) number of the image
    size: np.ndarray  # (K,) whole pixels of a 1024×1024 image; the step is kept while size >= removal
    gain: np.ndarray  # (K,) float64, Dice with the step minus Dice without it


class Curve(NamedTuple):
    """Mean Dice as a function of `removal`: constant from `lower` to `upper`, both included."""

    lower: np.ndarray  # (R,) ascending
    upper: np.ndarray  # (R,)
    dice: np.ndarray  # (R,) float64


def curve(steps: Steps, empty: np.ndarray, weights: np.ndarray, removal: np.ndarray | None = None) -> Curve:
    """Computes mean Dice against `removal`: at the given values, or at all values that make a difference.

    Args:
        empty: Dice of an empty mask, (N,): 1 for a negative.
        weights: Weights of the images, (N,).
        removal: Ascending values, optional.
    """
    weights = weights / weights.sum()
    gain = weights[steps.image] * steps.gain
    if removal is None:
        upper, cell = np.unique(np.append(steps.size, 0), return_inverse=True)
        cell = cell[:-1]
        upper = np.append(upper, FULL_AREA + 1)  # where nothing is kept
        lower = np.append(0, upper[:-1] + 1)
    else:
        lower = upper = removal
        cell = np.searchsorted(removal, steps.size, "right") - 1  # the last value that keeps the step
        gain, cell = gain[cell >= 0], cell[cell >= 0]
    gains = np.bincount(cell, gain, minlength=len(upper))
    return Curve(lower, upper, weights @ empty + np.cumsum(gains[::-1])[::-1])


def middle(good: np.ndarray) -> int:
    """Returns the middle index of the longest run of True: of the first such run, and rounded down.

    >>> middle(np.array([True, False, True, True, True, False]))
    3
    """
    start, stop = longest_run(good)
    return (start + stop) // 2


def longest_run(good: np.ndarray, length: np.ndarray | None = None) -> tuple[int, int]:
    """Returns first and last index of the longest run of True; each index counts by its `length` (default 1)."""
    edges = np.diff(np.concatenate(([False], good, [False])).astype(np.int8))
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    ends = np.cumsum(np.ones(len(good)) if length is None else length)
    longest = np.argmax(ends[stops] - np.where(starts > 0, ends[starts - 1], 0))
    return int(starts[longest]), int(stops[longest])


def middle_removal(curve: Curve) -> int:
    """Returns the middle of the widest plateau of the best values."""
    start, stop = longest_run(curve.dice >= curve.dice.max() - TIE, curve.upper - curve.lower + 1)
    center = (curve.lower[start] + curve.upper[stop]) // 2
    cell = np.searchsorted(curve.lower, center, "right") - 1
    return int(min(center, curve.upper[cell]))  # if only listed values are allowed, the next one below the middle


def run_around(good: np.ndarray, index: int) -> tuple[int, int]:
    """Returns first and last index of the run of True that contains `index`."""
    bad = np.flatnonzero(~good)
    where = np.searchsorted(bad, index)
    return int(bad[where - 1]) + 1 if where else 0, int(bad[where]) - 1 if where < len(bad) else len(good) - 1
