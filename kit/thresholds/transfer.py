"""How a rule is carried over to other images: by its own cut, or by the share of images that get a mask."""

from typing import Any

import numpy as np
from scipy.special import ndtr

from kit.inference.rules import Rule
from kit.inference.share import places
from kit.thresholds.search import Search

SHARES = np.arange(201) / 200
"""The shares to choose from."""
BLUR = 0.03
"""Standard deviation of a share on another set: of positives among some hundred images, and of their order."""


def best_share(search: Search[Any], rule: Rule, groups: np.ndarray, weights: np.ndarray) -> float:
    """The share of images with a mask that has the best mean Dice, each group matched by itself.

    The mean Dice against the share has a peak for every lucky image. So that of a share is taken over normally
    distributed shares around it, which is the Dice to expect where an image's place is only known that well.

    Args:
        search: Of the rule's kind.
        rule: Says what the masks are.
        groups: Number of each image's group, (N,): images whose evidence can be compared.
        weights: How much each image counts, (N,); 0 leaves it out.

    Returns:
        In [0, 1]; of equal ones the lowest.
    """
    evidence, dice = search.candidates(rule)
    place = places_in_groups(evidence, groups, weights)
    counts = np.isfinite(place) & (weights > 0)
    gains = (weights * (dice - search.empty))[counts]  # (n,)
    return float(SHARES[(ndtr((SHARES[:, None] - place[counts]) / BLUR) @ gains).argmax()])


def matched_dice(search: Search[Any], rule: Rule, share: float, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Dice of each image, (N,), where in each group this share of the images gets a mask."""
    evidence, dice = search.candidates(rule)
    return np.where(matched(evidence, share, groups, weights), dice, search.empty)


def matched(evidence: np.ndarray, share: float, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Which images get a mask, bool (N,), where in each group this share of them does, those with the most evidence."""
    return places_in_groups(evidence, groups, weights) <= share


def places_in_groups(evidence: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The place of each image among those of its group, (N,); groups without any weight have none."""
    place = np.full(len(evidence), np.inf)
    for group in np.unique(groups):
        own = groups == group
        if weights[own].any():
            place[own] = places(evidence[own], weights[own])
    return place
