"""How good a choice of thresholds is on images that it was not made on: nested estimate, interval, prevalence."""

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
"""Groups of patients for the nested estimate where there are no folds to leave out."""
RESAMPLES = 1000
"""Bootstrap samples of patients that an interval is made of."""
SHARES = np.arange(201) / 200
"""The shares of images with a mask to choose from."""
BLUR = 0.03
"""Standard deviation of a share on another set: of positives among some hundred images, and of their order."""
DEVIATIONS = ndtri((np.arange(9) + 0.5) / 9)
"""Normal quantiles: the shares of positives, in standard deviations, that a test set is expected to have."""


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
        raise KitError(f"prevalence {prevalence}: give the expected share of positives, between 0 and 1")
    share = positive.mean()
    if share in (0, 1):
        raise KitError(f"prevalence {prevalence}: the masks have {'only' if share else 'no'} positives: leave it out")
    return np.where(positive, prevalence / share, (1 - prevalence) / (1 - share))


def group_numbers(folds: Sequence[int] | None, patients: Sequence[Any] | np.ndarray) -> np.ndarray:
    """The number of each image's group, (N,): its fold; where all are of one fold, one of five groups of patients."""
    if folds is not None and len(np.unique(folds)) > 1:
        return np.asarray(folds)
    return np.unique(patients, return_inverse=True)[1] % GROUPS


@dataclass(frozen=True)
class Images:
    """What is known of the images that a choice is made on and measured on."""

    empty: np.ndarray
    """Dice of an empty mask, float64 (N,): 1 for a negative."""
    groups: np.ndarray
    """Number of each image's group, (N,): left out one after the other, and each by itself a test set."""
    patients: np.ndarray
    """Number of each image's patient, (N,)."""
    prevalence: float | None = None
    """Expected share of positives, if it is not that of these images."""

    @cached_property
    def positive(self) -> np.ndarray:
        """Whether each image has foreground, bool (N,)."""
        return self.empty == 0

    @cached_property
    def weights(self) -> np.ndarray:
        """How much each image counts, (N,)."""
        return prevalence_weights(self.positive, self.prevalence)

    def balanced(self, counts: np.ndarray) -> np.ndarray:
        """How much the images of samples (R, N) count, in each of which positives have the expected share."""
        return counts if self.prevalence is None else _balanced(counts, self.positive, self.prevalence)


class Choice(NamedTuple):
    """A rule that was chosen, and what it makes of all images."""

    rule: Rule
    share: float | None
    """Share of a test set's images that get a mask; None: the rule's own cut says which do."""
    dice: np.ndarray
    """Dice of each image's mask, (N,); with a share, of the mask that it has if it gets any."""
    masked: np.ndarray
    """Whether that mask is one, bool (N,)."""
    evidence: np.ndarray
    """What decides, with a share, which images get a mask, (N,)."""


@dataclass(frozen=True)
class Outcome:
    """Scores of all images, each group by the rule that was chosen for it.

    A group whose choice has a share of masks is treated as a test set of its own. Folds all have the training set's
    share of positives, so a share of masks that was best on some folds would fit the others better than it fits a test
    set drawn at random. The group is therefore scored at each share of positives that a test set of as many patients
    is likely to have.
    """

    images: Images
    choices: dict[int, Choice]
    """By the group's number; images of other groups do not count."""

    @property
    def mean_dice(self) -> float:
        """The mean Dice at the expected share of positives."""
        return self._mean(lambda choice: choice.dice, self.images.empty)

    @property
    def masked_share(self) -> float:
        """The share of the images that get a mask."""
        return self._mean(lambda choice: choice.masked, np.zeros(len(self.images.empty)))

    @cached_property
    def dice(self) -> np.ndarray:
        """Dice of each image, (N,); with a share, the Dice to expect in such test sets."""
        total, weight = np.zeros((2, len(self.images.empty)))
        for choice, own, weights, masked in self._weighed():
            total[own] += weights * np.where(masked, choice.dice[own], self.images.empty[own])
            weight[own] += weights
        return np.divide(total, weight, out=np.zeros_like(total), where=weight > 0)

    def _mean(self, values: Callable[[Choice], np.ndarray], without: np.ndarray) -> float:
        """The mean of a choice's values, (N,), where an image gets its mask, and of those `without` it, (N,)."""
        total = weight = 0.0
        for choice, own, weights, masked in self._weighed():
            total += float(weights @ np.where(masked, values(choice)[own], without[own]))
            weight += float(weights.sum())
        return min(1.0, total / weight)  # sums of weights are rounded

    def _weighed(self) -> Iterator[tuple[Choice, np.ndarray, np.ndarray, np.ndarray]]:
        """Each group's choice, its images, how much they count, and which of them get a mask, (n,) each.

        With a share, a group comes once for each likely share of positives.
        """
        images = self.images
        known = np.isin(images.groups, list(self.choices))
        prevalence = images.positive[known].mean() if images.prevalence is None else images.prevalence
        plain = np.zeros(len(known))
        plain[known] = images.balanced(known.astype(float)[None])[0, known]
        for number, choice in self.choices.items():
            own = np.flatnonzero(images.groups == number)
            if choice.share is None:
                yield choice, own, plain[own], np.ones(len(own), bool)
                continue
            deviation = np.sqrt(prevalence * (1 - prevalence) / len(np.unique(images.patients[own])))
            deviation = min(deviation, min(prevalence, 1 - prevalence) / DEVIATIONS[-1])  # so that their mean stays
            for factor in DEVIATIONS:
                wanted = np.clip(prevalence + factor * deviation, 1e-9, 1 - 1e-9)
                weights = _balanced(np.ones((1, len(own))), images.positive[own], wanted)[0]
                masked = rank_quantiles(choice.evidence[own], weights) <= choice.share
                yield choice, own, weights / len(DEVIATIONS), masked


def _balanced(counts: np.ndarray, positive: np.ndarray, wanted: float) -> np.ndarray:
    """Counts (R, N) as weights of the same sum under which positives have a wanted share.

    A sample that lacks one of the classes stays as it is.
    """
    positives, everything = counts[:, positive].sum(axis=1), counts.sum(axis=1)
    lacking = (positives == 0) | (positives == everything)
    factors = (
        wanted * everything / np.maximum(positives, 1),
        (1 - wanted) * everything / np.maximum(everything - positives, 1),
    )
    inside, outside = (np.where(lacking, 1.0, factor)[:, None] for factor in factors)
    return counts * np.where(positive, inside, outside)


class Choices:
    """The choices of one kind of rule, on all images or without some groups; each is made once.

    Args:
        search: The search of the kind, given the groups that are left out.
        match: Choose the share of a test set's images that get a mask, too.
        rule: The one to take instead of the best.
    """

    def __init__(
        self,
        search: Callable[[frozenset[int]], Search[Any]],
        images: Images,
        match: bool = False,
        rule: Rule | None = None,
    ) -> None:
        self.search, self.images, self.match, self.rule = search, images, match, rule
        self._made: dict[frozenset[int], Choice] = {}

    def without(self, left_out: frozenset[int] = frozenset()) -> Choice:
        """The choice on all images but those of some groups."""
        if left_out not in self._made:
            self._made[left_out] = self._choose(left_out)
        return self._made[left_out]

    def _choose(self, left_out: frozenset[int]) -> Choice:
        search, images = self.search(left_out), self.images
        weights = np.where(np.isin(images.groups, list(left_out)), 0.0, images.weights)
        rule = search.best(weights) if self.rule is None else self.rule
        if not self.match:
            return Choice(rule, None, search.dice(rule), search.masked(rule), np.zeros(len(weights)))
        evidence, dice = search.candidates(rule)
        share = best_share(evidence, dice - search.empty, images.groups, weights)
        return Choice(rule, share, dice, evidence > 0, evidence)

    @property
    def candidates(self) -> list[np.ndarray]:
        """Dice of each image, (N,), under each choice that was made so far."""
        numbers = _numbers(self.images, frozenset())
        return [Outcome(self.images, dict.fromkeys(numbers, choice)).dice for choice in self._made.values()]

    def apparent(self, left_out: frozenset[int] = frozenset()) -> Outcome:
        """What the images score by the choice that was made on them, some groups left out."""
        choice = self.without(left_out)
        return Outcome(self.images, {number: choice for number in _numbers(self.images, left_out)})


def nested(kinds: Sequence[Choices], left_out: frozenset[int] = frozenset()) -> Outcome | None:
    """What the images of each group score by what is chosen without them: the kind of rule, its thresholds, its share.

    Returns:
        None where there is but one group.
    """
    images = kinds[0].images
    numbers = _numbers(images, left_out)
    if len(numbers) < 2:
        return None
    choices = {}
    for number in numbers:
        others = left_out | {number}
        choices[number] = best(kinds, others).without(others)
    return Outcome(images, choices)


def best(kinds: Sequence[Choices], left_out: frozenset[int] = frozenset()) -> Choices:
    """The kind of rule whose nested Dice is the best; with one group alone, whose Dice is."""

    def score(kind: Choices) -> float:
        return (nested([kind], left_out) or kind.apparent(left_out)).mean_dice

    return kinds[0] if len(kinds) == 1 else max(kinds, key=score)


def _numbers(images: Images, left_out: frozenset[int]) -> list[int]:
    return [number for number in np.unique(images.groups).tolist() if number not in left_out]


def nested_interval(estimate: float, kinds: Sequence[Choices]) -> list[float]:
    """Bootstrap 95 % interval of a nested Dice: of what the rule that is chosen on all images scores on fresh ones.

    In each sample of the patients the choice is made anew, for all images and without each group, among the rules that
    were best on some of the groups. How far the nested Dice of a sample lies from what the sample's choice scores on
    all images then says how far the estimate may be off: by the luck of the images, and by the luck of the choice.

    Args:
        estimate: `nested(kinds).mean_dice`.
    """
    images = kinds[0].images
    values = np.unique([dice for kind in kinds for dice in kind.candidates], axis=0)  # (C, N)
    everything = images.balanced(np.ones((1, len(images.groups))))[0]
    whole = values @ everything / everything.sum()  # (C,)
    groups = [images.groups == number for number in np.unique(images.groups)]

    def off(counts: np.ndarray) -> np.ndarray:
        if images.prevalence is not None:  # a sample of one class alone cannot be weighted to it
            classes = [(counts @ kind > 0) for kind in (images.positive, ~images.positive)]
            counts = counts[np.logical_and(*classes)]
        weights = images.balanced(counts)
        sums = np.stack([weights[:, own] @ values[:, own].T for own in groups])  # (G, R, C)
        total = sums.sum(axis=0)
        chosen = (total - sums).argmax(axis=-1)  # (G, R): without each group
        nested = np.take_along_axis(sums, chosen[..., None], axis=-1)[..., 0].sum(axis=0) / weights.sum(axis=1)
        return nested - whole[total.argmax(axis=-1)]

    found = np.concatenate([off(counts) for counts in resampled(images.patients, RESAMPLES)])
    below, above = np.percentile(found - found.mean(), [2.5, 97.5])
    bounds = estimate + np.array([min(below, 0.0), max(above, 0.0)])  # skewed samples may lie on one side of their mean
    return np.clip(bounds, min(0.0, estimate), 1.0).tolist()


def best_share(evidence: np.ndarray, gains: np.ndarray, groups: np.ndarray, weights: np.ndarray) -> float:
    """The share of images with a mask that has the best mean Dice, each group matched by itself.

    The mean Dice against the share has a peak for every lucky image. So that of a share is taken over normally
    distributed shares around it, which is the Dice to expect where an image's place is only known that well.

    Args:
        evidence: Of each image, (N,).
        gains: What its mask adds to the Dice of an empty one, (N,).
        groups: Number of each image's group, (N,): images whose evidence can be compared.
        weights: How much each image counts, (N,); 0 leaves it out.

    Returns:
        In [0, 1]; of equal ones the lowest.
    """
    place = np.full(len(evidence), np.inf)
    for group in np.unique(groups[weights > 0]):
        own = groups == group
        place[own] = rank_quantiles(evidence[own], weights[own])
    counts = np.isfinite(place) & (weights > 0)
    worth = ndtr((SHARES[:, None] - place[counts]) / BLUR) @ (weights * gains)[counts]
    return float(SHARES[worth.argmax()])


def resampled(patients: Sequence[Any] | np.ndarray, resamples: int) -> Iterator[np.ndarray]:
    """How often each image is in bootstrap samples of as many patients as there are, some samples at a time, (R, N)."""
    patient = np.unique(patients, return_inverse=True)[1]
    rng, size = np.random.default_rng(0), int(patient.max()) + 1
    for first in range(0, resamples, 100):
        count = min(100, resamples - first)
        drawn = rng.integers(size, size=(count, size)) + size * np.arange(count)[:, None]  # each sample by itself
        times = np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)
        yield times[:, patient].astype(np.float64)


def interval(values: np.ndarray, patients: Sequence[Any]) -> list[float]:
    """Bootstrap 95 % interval of the mean of some images' values, (N,), patients drawn with all their images."""
    means = [counts @ values / counts.sum(axis=1) for counts in resampled(patients, RESAMPLES)]
    return np.percentile(np.concatenate(means), [2.5, 97.5]).tolist()


def is_unlikely(count: int, images: int, share: float) -> bool:
    """Whether so many of some images are hardly a draw from a share: less than once in a thousand times.

    >>> is_unlikely(4, 450, 0.046), is_unlikely(19, 450, 0.046)
    (True, False)
    """
    from scipy.stats import binomtest

    return bool(binomtest(count, images, min(max(share, 0.0), 1.0)).pvalue < 1e-3)
