"""How good a rule will be on images that it was not chosen on: nested estimate, interval, prevalence."""

from collections.abc import Sequence

import numpy as np

from kit.core.errors import KitError
from kit.thresholds.search import Search

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


def nested_dice(search: Search, groups: np.ndarray, weights: np.ndarray) -> np.ndarray | None:
    """Dice of each image (N,) under the rule that is best on all other groups; None if there is but one group."""
    if len(np.unique(groups)) == 1:
        return None
    dice = np.empty(len(groups))
    for group in np.unique(groups):
        left_out = groups == group
        dice[left_out] = search.dice(search.best(np.where(left_out, 0.0, weights)))[left_out]
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
        means[draw] = total / weight
    return [float(bound) for bound in np.percentile(means, [2.5, 97.5])]


def is_unlikely(count: int, images: int, share: float) -> bool:
    """Whether so many of some images are hardly a draw from a share: less than once in a thousand times.

    >>> is_unlikely(4, 450, 0.046), is_unlikely(19, 450, 0.046)
    (True, False)
    """
    from scipy.stats import binomtest

    return bool(binomtest(count, images, min(max(share, 0.0), 1.0)).pvalue < 1e-3)
