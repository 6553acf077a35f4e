"""Which images of a whole test set get a mask: those with the most evidence, a share that was chosen out of fold.

Thresholds that are best on the out-of-fold maps of single networks do not fit the mean of several networks, which may
be calibrated differently, nor a test set on which the networks are less certain: fixed areas then keep too few masks
or too many. The order of the images survives both. So the thresholds say what the mask of an image
is, and the share says how many images of the set have one.

It is allowed where a whole test set is given and its prevalence is expected to be the recipe's, as in a competition.
It is not for a clinic, where a mask must depend on its own image alone.
"""

from functools import singledispatch

import cv2
import numpy as np

from kit.competition import rle
from kit.inference.rules import (
    CleanedRule,
    ComponentRule,
    ExpectedRule,
    GatedRule,
    ImageRule,
    Rule,
    TripletRule,
    level_of,
    size_of,
)

Candidate = tuple[np.ndarray, float]
"""A mask, bool (H, W), and the evidence for it."""


@singledispatch
def candidate(rule: Rule, levels: np.ndarray, image_probability: float | None = None) -> Candidate:
    """The mask of an image if it gets any, and how much speaks for it, to be compared with other images.

    Args:
        rule: Its levels count; whether its own cut is reached does not.
        levels: uint8 (H, W).
        image_probability: P(the image has any pneumothorax) by a classifier; only a gated rule asks for it.

    Returns:
        bool (H, W), and the evidence, 0 for none. Where the evidence reaches the cut of the rule, `rule.mask` is the
        same mask; elsewhere it is empty. A cleaned candidate may be empty in spite of its evidence.
    """
    raise TypeError(f"{type(rule).__name__} has no candidates")


@candidate.register
def _image(rule: ImageRule, levels: np.ndarray, image_probability: float | None = None) -> Candidate:
    mask = levels >= level_of(rule.binarization)
    return mask, float(size_of(int(np.count_nonzero(mask)), levels.size))


@candidate.register
def _triplet(rule: TripletRule, levels: np.ndarray, image_probability: float | None = None) -> Candidate:
    sure = int(np.count_nonzero(levels >= level_of(rule.top)))
    return levels >= level_of(rule.binarization), float(size_of(sure, levels.size))


@candidate.register
def _component(rule: ComponentRule, levels: np.ndarray, image_probability: float | None = None) -> Candidate:
    # The evidence is the largest component, which is kept even where it is smaller than `removal`.
    mask = (levels >= level_of(rule.binarization)).view(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(mask, 8, cv2.CV_32S, cv2.CCL_BBDT)
    largest = int(size_of(stats[1:, cv2.CC_STAT_AREA].astype(np.int64), levels.size).max(initial=0))
    kept = ComponentRule(rule.binarization, min(rule.removal, largest)).mask(levels)
    return kept, float(largest)


@candidate.register
def _expected(rule: ExpectedRule, levels: np.ndarray, image_probability: float | None = None) -> Candidate:
    histogram = cv2.calcHist([levels], [0], None, [256], [0, 256])  # (256, 1)
    area = np.cumsum(histogram[::-1].astype(np.int64), axis=0)[::-1]
    cut, worth = rule.weigh(area, levels.size)
    return levels >= cut[0], float(worth[0])


@candidate.register
def _cleaned(rule: CleanedRule, levels: np.ndarray, image_probability: float | None = None) -> Candidate:
    # Cleaning comes last, as in the rule: the evidence is that of the mask before.
    mask, evidence = candidate(rule.rule, levels)
    return rule.clean(mask), evidence


@candidate.register
def _gated(rule: GatedRule, levels: np.ndarray, image_probability: float | None = None) -> Candidate:
    mask, evidence = candidate(rule.rule, levels)
    return mask, evidence if rule.opens(image_probability) else 0.0


def places(evidence: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """The smallest share of masks with which each image gets one, (N,) in (0, 1), infinite without evidence.

    Images with equal evidence have the same place. An image is in as soon as most of it is, so that a share of N
    images means so many of them, rounded.

    Args:
        evidence: Of each image, (N,).
        weights: How much each image counts, (N,); None: all the same.

    >>> places(np.array([5.0, 0.0, 9.0, 1.0]))
    array([0.375,   inf, 0.125, 0.625])
    """
    weights = np.ones(len(evidence)) if weights is None else weights
    values, which = np.unique(-evidence, return_inverse=True)  # the most evidence first
    order = np.argsort(which, kind="stable")
    middle = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    first = np.full(len(values), np.inf)
    np.minimum.at(first, which[order], middle)
    return np.where(evidence > 0, first[which], np.inf)


class MaskTexts:
    """The masks of a set of images as RLE text, decided one by one or, with a share, when all are there.

    Args:
        rule: From levels to mask.
        share: Share of the images that get a mask; None: the rule's own cut says which do.
    """

    def __init__(self, rule: Rule, share: float | None = None) -> None:
        self._rule, self._share = rule, share
        self._texts: dict[str, str] = {}
        self._evidence: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._texts

    def add(self, image_id: str, levels: np.ndarray, image_probability: float | None = None) -> None:
        """Takes an image, from any thread: levels uint8 (H, W), for a gated rule P(the image has any pneumothorax)."""
        if self._share is None:
            mask = self._rule.mask(levels, image_probability)
        else:
            mask, self._evidence[image_id] = candidate(self._rule, levels, image_probability)
        self._texts[image_id] = rle.encode(mask)

    def decided(self) -> dict[str, str]:
        """RLE text of each image so far, by its id; "-1" for an empty mask. Other threads may add images meanwhile."""
        texts = dict(self._texts)
        if self._share is None:
            return texts
        evidence = np.array([self._evidence[image_id] for image_id in texts])
        chosen = places(evidence) <= self._share
        return {image_id: text if get else "-1" for (image_id, text), get in zip(texts.items(), chosen, strict=True)}
