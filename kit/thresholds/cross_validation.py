"""How good a rule will be on images that it was not chosen on: nested estimate, interval, prevalence."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kit.core.errors import KitError
from kit.inference.rules import Rule
from kit.thresholds.search import Search
from kit.thresholds.transfer import best_share, matched, matched_dice

GROUPS = 5
"""Groups of patients for the nested estimate where there are no folds to leave out."""


def prevalence_weights(positive: np.ndarray, prevalence: float | None) -> np.ndarray:
    """Weights (N,) of mean 1 under which positives have this share; all 1 without one.

    Raises:
        KitError: the share is not between 0 and 1, or there are no positives or no negatives.

    >>> prevalence_weights(np.array([True, True, True, False]), 0.25)
    array([0.33333333, 0.33333333, 0.33333333, 3.        ])
    """
    if prevalence is None:
        return np.ones(len(positive))
    if not 0 < prevalence < 1:
        raise KitError(f"--prevalence {prevalence}: give the expected share of positives, between 0 and 1")
    share = positive.mean()
    if share in (0, 1):
        raise KitError(f"--prevalence {prevalence}: the masks have {'only' if share else 'no'} positives: leave it out")
    return np.where(positive, prevalence / share, (1 - prevalence) / (1 - share))


def leave_out(folds: Sequence[int] | None, patients: Sequence[str]) -> np.ndarray:
    """The groups to leave out one after the other, (N,): the folds, or patients in turn where there is but one fold."""
    if folds is not None and len(np.unique(folds)) > 1:
        return np.asarray(folds)
    return np.unique(patients, return_inverse=True)[1] % GROUPS


class Carried:
    """What a search's best rule scores on images that it was not chosen on. Each choice is made once.

    Args:
        search: Of some kind of rule.
        groups: Number of each image's group, (N,).
        weights: How much each image counts, (N,).
        match: Carry the share of images with a mask over to each group, instead of the rule's own cut.
    """

    def __init__(self, search: Search[Any], groups: np.ndarray, weights: np.ndarray, match: bool = False) -> None:
        self._search, self._groups, self._weights, self._match = search, groups, weights, match
        self._dice: dict[frozenset[int], np.ndarray] = {}

    def without(self, *left_out: int) -> np.ndarray:
        """Dice of all images, (N,), under the rule that is best without some groups."""
        key = frozenset(left_out)
        if key not in self._dice:
            weights = np.where(np.isin(self._groups, left_out), 0.0, self._weights)
            rule = self._search.best(weights)
            self._dice[key] = self.dice(rule, weights)
        return self._dice[key]

    def dice(self, rule: Rule, weights: np.ndarray) -> np.ndarray:
        """Dice of all images, (N,), under a rule that was chosen on the images with a weight."""
        if not self._match:
            return self._search.dice(rule)
        share = best_share(self._search, rule, self._groups, weights)
        return matched_dice(self._search, rule, share, self._groups, self._weights)

    def masked(self, rule: Rule, weights: np.ndarray) -> np.ndarray:
        """Whether each image gets a mask, bool (N,), as `dice`."""
        if not self._match:
            return self._search.masked(rule)
        share = best_share(self._search, rule, self._groups, weights)
        return matched(self._search.candidates(rule)[0], share, self._groups, self._weights)

    def nested(self) -> np.ndarray | None:
        """Dice of each image, (N,), under the rule that is best on all other groups; None if there is but one."""
        return _each(self._groups, self.without)


def nested_choice(carried: Sequence[Carried], groups: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    """As `Carried.nested`, where the kind of rule, too, is the one that is best on all other groups.

    It is chosen there as it is for good: by its nested Dice, or where one other group is left by its Dice.

    Args:
        carried: One a kind of rule.
        groups: Number of each image's group, (N,).
        weights: How much each image counts, (N,).

    Returns:
        Dice of each image, (N,); None if there is but one group.
    """

    def best_without(left_out: int) -> np.ndarray:
        others = [number for number in np.unique(groups) if number != left_out]
        nested = others if len(others) > 1 else []

        def promise(kind: Carried) -> float:
            dice = kind.without(left_out).copy()
            for number in nested:
                own = groups == number
                dice[own] = kind.without(left_out, number)[own]
            return float(np.where(groups == left_out, 0.0, weights) @ dice)

        return max(carried, key=promise).without(left_out)

    return _each(groups, best_without)


def _each(groups: np.ndarray, without: Callable[[int], np.ndarray]) -> np.ndarray | None:
    """The Dice of each group's images by what is chosen without that group."""
    numbers = np.unique(groups)
    if len(numbers) == 1:
        return None
    dice = np.empty(len(groups))
    for number in numbers:
        own = groups == number
        dice[own] = without(number)[own]
    return dice


def interval(
    dice: np.ndarray, weights: np.ndarray, patients: Sequence[str], resamples: int = 2000, seed: int = 0
) -> list[float]:
    """Bootstrap 95 % interval of the weighted mean Dice, drawing patients with all their images.

    Args:
        dice: Of each image, (N,).
        weights: Of each image, (N,).
        patients: Of each image, (N,).
        resamples: Number of draws.
        seed: The same seed gives the same interval.
    """
    patient = np.unique(patients, return_inverse=True)[1]
    sums = np.stack([np.bincount(patient, weights * dice), np.bincount(patient, weights)])  # (2, P)
    rng = np.random.default_rng(seed)
    count = sums.shape[1]
    means = np.empty(resamples)
    for draw in range(resamples):
        total, weight = sums @ np.bincount(rng.integers(count, size=count), minlength=count)
        means[draw] = min(1.0, total / weight)  # sums of weights are rounded
    return [float(bound) for bound in np.percentile(means, [2.5, 97.5])]


def is_unlikely(count: int, images: int, share: float) -> bool:
    """Whether so many of some images are hardly a draw from a share: less than once in a thousand times.

    >>> is_unlikely(4, 450, 0.046), is_unlikely(19, 450, 0.046)
    (True, False)
    """
    from scipy.stats import binomtest

    return bool(binomtest(count, images, min(max(share, 0.0), 1.0)).pvalue < 1e-3)
