"""How a rule is carried over to other images: by its own cut, or by the share of images that get a mask."""

import numpy as np

from kit.inference.rules import Rule
from kit.inference.share import has_mask
from kit.thresholds.search import Search


def share_of(search: Search, rule: Rule, weights: np.ndarray) -> float:
    """Share of the images with a weight that get a mask by the rule's own cut.

    A mask that misses the truth of a positive altogether counts as none: it scores the same.
    """
    masked = search.dice(rule) != search.empty
    return float(weights @ masked / weights.sum())


def matched_dice(search: Search, rule: Rule, share: float, groups: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Dice of each image, (N,), where in each group this share of the images gets a mask.

    Args:
        search: Of the rule's kind.
        rule: Says what the masks are.
        share: In [0, 1].
        groups: Number of each image's group, (N,): images whose evidence can be compared.
        weights: How much each image counts, (N,).
    """
    evidence, dice = search.candidates(rule)
    masked = np.zeros(len(groups), bool)
    for group in np.unique(groups):
        own = groups == group
        masked[own] = has_mask(evidence[own], share, weights[own])
    return np.where(masked, dice, search.empty)
