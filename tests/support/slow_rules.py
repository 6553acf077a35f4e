"""Slow reference implementations for the search, and maps with difficult cases."""

import math
from statistics import NormalDist
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import ndimage


def _dice(predicted, truth):
    total = predicted.sum() + truth.sum()
    return 1.0 if total == 0 else 2 * (predicted & truth).sum() / total


def _mask(kind, levels, removal, level, top=None):
    """The reference implementation of a rule, with levels instead of probabilities."""
    full = 1024 * 1024 / levels.size
    mask = levels >= level
    if kind == "component":
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        for label in range(1, count + 1):
            if (labels == label).sum() * full < removal:
                mask = mask & (labels != label)
        return mask
    judged = levels >= top if kind == "triplet" else mask
    return mask & (judged.sum() * full >= removal)


def _mean_dice(kind, maps, masks, removal, level, top=None, weights=None):
    dice = [_dice(_mask(kind, levels, removal, level, top), mask) for levels, mask in zip(maps, masks, strict=True)]
    return np.average(dice, weights=weights)


def _places(evidence, weights):
    """Rank of each image: the share of the total weight before the middle of the first of its equals."""
    found = []
    for value in evidence:
        before = sum(weight for other, weight in zip(evidence, weights, strict=True) if other > value)
        first = next(weight for other, weight in zip(evidence, weights, strict=True) if other == value)
        found.append((before + first / 2) / sum(weights) if value > 0 else math.inf)
    return found


def _matched(share, evidence, dice, empty, prevalence, patients=None):
    """Scores images as a test set in which a share gets a mask: mean Dice, and Dice of each image.

    `patients` is how many there are: as many as images unless it is said.

    Test sets of that size are likely to have a ninth each of nine shares of positives, none of them beyond 0 or 1.
    """
    count = len(dice)
    patients = patients or count
    positives = sum(value == 0 for value in empty)
    total, sums, weights = 0.0, np.zeros(count), np.zeros(count)
    for part in range(9):
        widest = min(prevalence, 1 - prevalence) / NormalDist().inv_cdf(8.5 / 9)
        deviation = min(math.sqrt(prevalence * (1 - prevalence) / patients), widest)
        wanted = min(max(prevalence + NormalDist().inv_cdf((part + 0.5) / 9) * deviation, 1e-9), 1 - 1e-9)
        each = [1.0] * count
        if 0 < positives < count:
            each = [
                (wanted / positives if not value else (1 - wanted) / (count - positives)) * count for value in empty
            ]
        for index, place in enumerate(_places(evidence, each)):
            scored = dice[index] if place <= share else empty[index]
            total += each[index] * scored / 9
            sums[index] += each[index] * scored
            weights[index] += each[index]
    return total / count, sums / weights


def _problem(seed, count=6, shape=(8, 8)):
    """Maps of few levels, in blobs that nest and touch at corners, including flat, empty and full maps; and masks."""
    rng = np.random.default_rng(seed)
    levels = np.sort(rng.choice(256, rng.integers(2, 7), replace=False)).astype(np.uint8)
    maps, masks = np.zeros((2, count, *shape), np.uint8)
    for drawn, mask in zip(maps, masks, strict=True):
        drawn[:] = levels[0] if rng.random() < 0.5 else 0
        if rng.random() < 0.8:
            for level in levels[1:]:
                row, column = rng.integers(0, shape)
                drawn[row : row + rng.integers(1, 5), column : column + rng.integers(1, 5)] = level
            drawn[rng.random(shape) < 0.2] = rng.choice(levels)
        if rng.random() < 0.6:
            mask[:] = (drawn >= rng.choice(levels)) ^ (rng.random(shape) < 0.1)
    return maps, masks.astype(bool)


@pytest.fixture(scope="session")
def slow():
    return SimpleNamespace(dice=_dice, mask=_mask, mean_dice=_mean_dice, places=_places, matched=_matched)


@pytest.fixture(scope="session")
def problem():
    return _problem
