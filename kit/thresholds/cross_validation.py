"""Nested cross-validation: how well a chosen rule does on images that it was not chosen on.

A choice has two parts: which rule (`image`, `component`, …), and its parameters (thresholds, and perhaps a share of
masks). The apparent Dice scores a choice on the images that it was made on, which is optimistic. The nested Dice takes
the groups of images, usually the folds, one by one: both parts of the choice are made on the other groups, and the
group is scored by the result. To compare rules without a group, each rule needs a nested Dice over the other groups, so
rules are also fitted without two groups: the one that is left out, and each of the others in turn.

A share is the part of a test set's images that get a mask: those with the most evidence (`kit.inference.masks`). A rule
with a share is scored as if the group were a test set, at each share of positives that such a set is likely to have.

The interval is a bootstrap over patients. On each sample of the patients, a rule is chosen again among those that were
fitted. The nested Dice on the sample minus the Dice that the sample's choice has on all images is an error of the
estimate. The interval spans the middle 95 % of these errors, centred on the estimate.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from kit.core.errors import KitError
from kit.inference.masks import rank_quantiles
from kit.inference.rules import Rule
from kit.thresholds.exact import Search

GROUPS = 5
"""Number of patient groups for the nested estimate when there are no folds."""
RESAMPLES = 1000
"""Number of bootstrap samples behind an interval."""
SHARES = np.arange(201) / 200
"""Shares of images with a mask to choose from."""
BLUR = 0.03
"""Standard deviation, from one test set to another, of an image's rank among the images with the most evidence."""
QUANTILES = ndtri((np.arange(9) + 0.5) / 9)
"""Normal quantiles: likely deviations of a test set's share of positives, in standard deviations."""
NONE: frozenset[int] = frozenset()
"""No group is excluded."""


def prevalence_weights(positive: np.ndarray, prevalence: float | None) -> np.ndarray:
    """Returns image weights (N,) of mean 1 that give the positives this share; all 1 if `prevalence` is None.

    Raises:
        KitError: the share is not between 0 and 1, or there are no positives or no negatives.

    >>> prevalence_weights(np.array([True, True, True, False]), 0.25)
    array([0.33333333, 0.33333333, 0.33333333, 3.        ])
    """
    if prevalence is None:
        return np.ones(len(positive))
    if not 0 < prevalence < 1:
        raise KitError(f"prevalence {prevalence}: give the expected share of positives, between 0 and 1")
    share = positive.mean()
    if share in (0, 1):
        raise KitError(f"prevalence {prevalence}: the masks have {'only' if share else 'no'} positives: leave it out")
    return np.where(positive, prevalence / share, (1 - prevalence) / (1 - share))


def group_numbers(folds: Sequence[int] | None, patients: Sequence[Any] | np.ndarray) -> np.ndarray:
    """Returns the group of each image, (N,): its fold, or one of five groups of patients if there is only one fold."""
    if folds is not None and len(np.unique(folds)) > 1:
        return np.asarray(folds)
    return np.unique(patients, return_inverse=True)[1] % GROUPS


@dataclass(frozen=True)
class ImageSet:
    """Per-image data of a threshold search: ground truth, groups, patients and weights."""

    empty: np.ndarray
    """Dice of an empty mask, float64 (N,): 1 for a negative."""
    groups: np.ndarray
    """Number of each image's group, (N,)."""
    patients: np.ndarray
    """Number of each image's patient, (N,)."""
    prevalence: float | None = None
    """Expected share of positives; None for the share among these images."""

    @cached_property
    def positive(self) -> np.ndarray:
        """Whether each image has foreground, bool (N,)."""
        return self.empty == 0

    @cached_property
    def weights(self) -> np.ndarray:
        """Weight of each image, (N,)."""
        return prevalence_weights(self.positive, self.prevalence)

    def groups_except(self, excluded: frozenset[int]) -> list[int]:
        """The group numbers that are not excluded, ascending."""
        return [group for group in np.unique(self.groups).tolist() if group not in excluded]

    def reweighted(self, counts: np.ndarray) -> np.ndarray:
        """Turns image counts of samples, (R, N), into weights that give positives the expected share in each sample."""
        return counts if self.prevalence is None else _reweighted(counts, self.positive, self.prevalence)


class FittedRule(NamedTuple):
    """A rule fitted to some groups, and its result on every image."""

    rule: Rule
    share: float | None
    """Share of a test set's images that get a mask; None if the rule's own cut decides."""
    dice: np.ndarray
    """Dice of each image's mask, (N,); with a share, of the candidate mask."""
    masked: np.ndarray
    """Whether that mask has any pixels, bool (N,)."""
    evidence: np.ndarray
    """Evidence by which a share ranks the images, (N,)."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of all images, each group by the rule that was fitted for that group.

    A group whose rule has a share is scored as if it were a test set. All folds have the training set's share of
    positives, but a test set is drawn at random, so the share of masks that is best on some folds suits the other folds
    better than it would suit a test set. The group is therefore scored at each share of positives that a test set of as
    many patients is likely to have.
    """

    images: ImageSet
    fitted: dict[int, FittedRule]
    """Fitted rule of each group; images of other groups do not count."""

    @property
    def mean_dice(self) -> float:
        """Mean Dice at the expected share of positives."""
        return self._mean(lambda fitted: fitted.dice, self.images.empty)

    @property
    def masked_share(self) -> float:
        """Share of the images that get a mask."""
        return self._mean(lambda fitted: fitted.masked, np.zeros(len(self.images.empty)))

    @cached_property
    def dice(self) -> np.ndarray:
        """Dice of each image, (N,); with a share, the expected Dice over the likely test sets."""
        total, weight = np.zeros((2, len(self.images.empty)))
        for fitted, rows, weights, masked in self._test_sets():
            total[rows] += weights * np.where(masked, fitted.dice[rows], self.images.empty[rows])
            weight[rows] += weights
        return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)

    def _mean(self, with_mask: Callable[[FittedRule], np.ndarray], without_mask: np.ndarray) -> float:
        """Weighted mean over the images: of `with_mask`, (N,), for those that get a mask, else of `without_mask`."""
        total = weight = 0.0
        for fitted, rows, weights, masked in self._test_sets():
            total += float(weights @ np.where(masked, with_mask(fitted)[rows], without_mask[rows]))
            weight += float(weights.sum())
        return min(1.0, total / weight)  # sums of weights are rounded

    def _test_sets(self) -> Iterator[tuple[FittedRule, np.ndarray, np.ndarray, np.ndarray]]:
        """Yields each group's rule, its rows, their weights, and which of them get their mask, (n,) each.

        With a share, a group comes once for each likely share of positives.
        """
        images = self.images
        scored = np.isin(images.groups, list(self.fitted))
        prevalence = images.positive[scored].mean() if images.prevalence is None else images.prevalence
        plain = np.zeros(len(scored))
        plain[scored] = images.reweighted(scored.astype(float)[None])[0, scored]
        for group, fitted in self.fitted.items():
            rows = np.flatnonzero(images.groups == group)
            if fitted.share is None:
                yield fitted, rows, plain[rows], np.ones(len(rows), bool)
                continue
            deviation = np.sqrt(prevalence * (1 - prevalence) / len(np.unique(images.patients[rows])))
            # So small that no quantile lies outside [0, 1]: clipping one would move their mean from the prevalence.
            deviation = min(deviation, min(prevalence, 1 - prevalence) / QUANTILES[-1])
            for quantile in QUANTILES:
                likely = np.clip(prevalence + quantile * deviation, 1e-9, 1 - 1e-9)
                weights = _reweighted(np.ones((1, len(rows))), images.positive[rows], likely)[0]
                masked = rank_quantiles(fitted.evidence[rows], weights) <= fitted.share
                yield fitted, rows, weights / len(QUANTILES), masked


def _reweighted(counts: np.ndarray, positive: np.ndarray, prevalence: float) -> np.ndarray:
    """Turns counts, (R, N), into weights of the same sum that give positives this share.

    A sample that lacks one of the classes stays as it is.
    """
    positives, everything = counts[:, positive].sum(axis=1), counts.sum(axis=1)
    lacking = (positives == 0) | (positives == everything)
    factors = (
        prevalence * everything / np.maximum(positives, 1),
        (1 - prevalence) * everything / np.maximum(everything - positives, 1),
    )
    of_positives, of_negatives = (np.where(lacking, 1.0, factor)[:, None] for factor in factors)
    return counts * np.where(positive, of_positives, of_negatives)


class RuleFitter:
    """Fits one kind of rule to all groups of images but some; each fit is made once.

    Args:
        search_without: Returns the search of this kind of rule for a set of excluded groups.
        match_positive_rate: Fit a share of masks, too.
        rule: Rule to use instead of searching for the best.
    """

    def __init__(
        self,
        search_without: Callable[[frozenset[int]], Search[Any]],
        images: ImageSet,
        *,
        match_positive_rate: bool = False,
        rule: Rule | None = None,
    ) -> None:
        self.search_without, self.images, self.match_positive_rate = search_without, images, match_positive_rate
        self.rule = rule
        self._fits: dict[frozenset[int], FittedRule] = {}

    def fit(self, excluded: frozenset[int] = NONE) -> FittedRule:
        """Fits the rule to all groups that are not excluded."""
        if excluded not in self._fits:
            self._fits[excluded] = self._fit(excluded)
        return self._fits[excluded]

    def _fit(self, excluded: frozenset[int]) -> FittedRule:
        search, images = self.search_without(excluded), self.images
        weights = np.where(np.isin(images.groups, list(excluded)), 0.0, images.weights)
        rule = search.best(weights) if self.rule is None else self.rule
        if not self.match_positive_rate:
            return FittedRule(rule, None, search.dice(rule), search.masked(rule), np.zeros(len(weights)))
        evidence, dice = search.candidates(rule)
        share = best_share(evidence, dice - search.empty, images.groups, weights)
        return FittedRule(rule, share, dice, evidence > 0, evidence)

    @property
    def dice_of_fits(self) -> list[np.ndarray]:
        """Dice of each image, (N,), by every rule fitted so far."""
        groups = self.images.groups_except(NONE)
        return [Evaluation(self.images, dict.fromkeys(groups, fitted)).dice for fitted in self._fits.values()]

    def apparent(self, excluded: frozenset[int] = NONE) -> Evaluation:
        """Scores the groups that the rule was fitted to."""
        return Evaluation(self.images, dict.fromkeys(self.images.groups_except(excluded), self.fit(excluded)))


def nested(fitters: Sequence[RuleFitter], excluded: frozenset[int] = NONE) -> Evaluation | None:
    """Scores each group by the rule that is selected and fitted on the others; None if there is only one group."""
    images = fitters[0].images
    groups = images.groups_except(excluded)
    if len(groups) < 2:
        return None
    without = {group: excluded | {group} for group in groups}
    return Evaluation(images, {group: select(fitters, others).fit(others) for group, others in without.items()})


def select(fitters: Sequence[RuleFitter], excluded: frozenset[int] = NONE) -> RuleFitter:
    """The fitter with the best nested Dice over the groups that are not excluded; apparent Dice for a single group."""

    def score(fitter: RuleFitter) -> float:
        return (nested([fitter], excluded) or fitter.apparent(excluded)).mean_dice

    return fitters[0] if len(fitters) == 1 else max(fitters, key=score)


def nested_interval(estimate: float, fitters: Sequence[RuleFitter]) -> list[float]:
    """Bootstrap 95 % interval of a nested Dice, as an estimate of the Dice of the selected rule on fresh images.

    The interval covers the luck of the images and the luck of the choice: each bootstrap sample chooses again among all
    fitted rules, on all groups and without each of them.

    Args:
        estimate: `nested(fitters).mean_dice`.
    """
    images = fitters[0].images
    dice = np.unique([dice for fitter in fitters for dice in fitter.dice_of_fits], axis=0)  # (C, N)
    each_once = images.reweighted(np.ones((1, len(images.groups))))[0]
    dice_on_all = dice @ each_once / each_once.sum()  # (C,)
    groups = [images.groups == group for group in images.groups_except(NONE)]

    def errors(counts: np.ndarray) -> np.ndarray:
        if images.prevalence is not None:  # a sample of one class alone cannot be weighted to it
            has_both = np.logical_and(*[counts @ label > 0 for label in (images.positive, ~images.positive)])
            counts = counts[has_both]
        weights = images.reweighted(counts)
        sums = np.stack([weights[:, rows] @ dice[:, rows].T for rows in groups])  # (G, R, C)
        total = sums.sum(axis=0)
        chosen = (total - sums).argmax(axis=-1)  # (G, R): without each group
        nested = np.take_along_axis(sums, chosen[..., None], axis=-1)[..., 0].sum(axis=0) / weights.sum(axis=1)
        return nested - dice_on_all[total.argmax(axis=-1)]

    error = np.concatenate([errors(counts) for counts in bootstrap_counts(images.patients, RESAMPLES)])
    below, above = np.percentile(error - error.mean(), [2.5, 97.5])
    bounds = estimate + np.array([min(below, 0.0), max(above, 0.0)])  # skewed samples may lie on one side of their mean
    return np.clip(bounds, min(0.0, estimate), 1.0).tolist()


def best_share(evidence: np.ndarray, gains: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> float:
    """The share of images with a mask that has the best mean Dice, where each group is ranked separately.

    The mean Dice as a function of the share has a peak for every lucky image. It is therefore smoothed by a normal
    distribution: the expected Dice if an image's rank varies by `BLUR` from one test set to another.

    Args:
        evidence: Evidence of each image, (N,).
        gains: Dice of each image's candidate mask minus Dice of an empty one, (N,).
        groups: Number of each image's group, (N,): images whose evidence can be compared.
        weights: Weight of each image, (N,); 0 leaves the image out.

    Returns:
        In [0, 1]; the lowest of equally good shares.
    """
    rank = np.full(len(evidence), np.inf)
    for group in np.unique(groups[weights > 0]):
        rows = groups == group
        rank[rows] = rank_quantiles(evidence[rows], weights[rows])
    ranked = np.isfinite(rank) & (weights > 0)
    expected_gain = ndtr((SHARES[:, None] - rank[ranked]) / BLUR) @ (weights * gains)[ranked]
    return float(SHARES[expected_gain.argmax()])


def bootstrap_counts(patients: Sequence[Any] | np.ndarray, resamples: int) -> Iterator[np.ndarray]:
    """Yields how often each image is in bootstrap samples of the patients, (R, N), for up to 100 samples at a time."""
    patient = np.unique(patients, return_inverse=True)[1]
    rng, size = np.random.default_rng(0), int(patient.max()) + 1
    for first in range(0, resamples, 100):
        count = min(100, resamples - first)
        drawn = rng.integers(size, size=(count, size)) + size * np.arange(count)[:, None]  # each sample by itself
        times = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
        yield times[:, patient].astype(np.float64)


def interval(values: np.ndarray, patients: Sequence[Any]) -> list[float]:
    """Bootstrap 95 % interval of the mean of per-image values, (N,); patients are drawn with all their images."""
    means = [counts @ values / counts.sum(axis=1) for counts in bootstrap_counts(patients, RESAMPLES)]
    return np.percentile(np.concatenate(means), [2.5, 97.5]).tolist()
