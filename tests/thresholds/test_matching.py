import math

import numpy as np
import pytest

from kit.thresholds.cross_validation import BLUR, SHARES, prevalence_weights
from tests.support.searched import KINDS, choose, searched

COUNT = 24
IDS = [str(index) for index in range(COUNT)]
FOLDS = np.arange(COUNT) % 3


def judged(rule, maps, masks, slow):
    """For each image, its evidence, the Dice of its candidate mask, and the Dice of an empty mask."""
    found = [rule.candidate(levels) for levels in maps]
    dice = [slow.dice(mask, truth) for (mask, _), truth in zip(found, masks, strict=True)]
    return [value for _, value in found], dice, [slow.dice(np.zeros_like(truth), truth) for truth in masks]


def slow_share(rule, maps, masks, folds, weights, slow):
    """The share with the best smoothed mean Dice, computed image by image."""
    gains = []
    for fold in sorted(set(folds)):
        own = np.flatnonzero(folds == fold)
        evidence, dice, empty = judged(rule, maps[own], masks[own], slow)
        places = slow.places(evidence, weights[own])
        gains += [(place, weights[i] * (d - e)) for i, place, d, e in zip(own, places, dice, empty, strict=True)]

    def worth(share):
        return sum(gain * (1 + math.erf((share - place) / BLUR / math.sqrt(2))) / 2 for place, gain in gains)

    return max(SHARES, key=worth)


@pytest.mark.parametrize("kind", KINDS)
def test_each_fold_is_scored_as_a_test_set_with_the_share_of_the_others(kind, problem, slow):
    maps, masks = problem(3, count=COUNT)
    means, images, prevalence = [], np.empty(COUNT), masks.any(axis=(1, 2)).mean()
    for fold in range(3):
        own = fold == FOLDS
        rule = choose(maps[~own], masks[~own], np.array(IDS)[~own], FOLDS[~own], [kind])[kind].rule
        share = slow_share(rule, maps[~own], masks[~own], FOLDS[~own], np.ones((~own).sum()), slow)
        mean, images[own] = slow.matched(share, *judged(rule, maps[own], masks[own], slow), prevalence)
        means.append(mean)
    found = choose(maps, masks, IDS, FOLDS, [kind], match_positive_rate=True)[kind]
    assert found.nested_images == pytest.approx(images, abs=1e-9)
    assert found.nested_dice == pytest.approx(np.mean(means), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_the_apparent_dice_scores_each_fold_at_the_prevalence(kind, problem, slow):
    maps, masks = problem(3, count=COUNT)
    weights = prevalence_weights(masks.any(axis=(1, 2)), 0.3)
    found = choose(maps, masks, IDS, FOLDS, [kind], prevalence=0.3, match_positive_rate=True)[kind]
    assert found.share == pytest.approx(slow_share(found.rule, maps, masks, FOLDS, weights, slow))
    folds = [judged(found.rule, maps[fold == FOLDS], masks[fold == FOLDS], slow) for fold in range(3)]
    means = [slow.matched(found.share, *fold, 0.3)[0] for fold in folds]
    assert found.apparent_dice == pytest.approx(np.mean(means), abs=1e-9)


def test_without_matching_there_is_no_share(problem):
    maps, masks = problem(3, count=COUNT)
    assert choose(maps, masks, IDS, FOLDS)["image"].share is None


def test_the_share_is_zero_if_every_mask_is_wrong():
    maps, masks = np.full((6, 8, 8), 200, np.uint8), np.zeros((6, 8, 8), bool)
    masks[:2, 0, 0] = True
    found = choose(maps, masks, IDS[:6], [0, 1] * 3, ["image"], match_positive_rate=True)["image"]
    assert found.share == 0
    assert found.masked == 0
    assert found.apparent_dice == pytest.approx(found.dice_all_empty) == pytest.approx(4 / 6)


def test_a_share_of_zero_scores_like_empty_masks():
    """With few positives, some bootstrap samples have none and cannot be weighted to the prevalence."""
    maps, masks = np.zeros((24, 8, 8), np.uint8), np.zeros((24, 8, 8), bool)
    masks[:5, 0, 0] = True
    found = searched(maps, masks, IDS, FOLDS, KINDS, prevalence=0.22, match_positive_rate=True)
    assert found.dice_ == pytest.approx(0.78)
    assert found.interval_ == pytest.approx([0.78, 0.78])


@pytest.mark.parametrize("match", [False, True])
def test_the_nested_estimate_selects_the_rule_on_the_other_folds(match, problem):
    maps, masks = problem(5, count=COUNT)
    dice, kinds = np.empty(COUNT), []
    for fold in range(3):
        own = fold == FOLDS
        others = choose(maps[~own], masks[~own], np.array(IDS)[~own], FOLDS[~own], KINDS, match_positive_rate=match)
        kinds.append(max(KINDS, key=lambda name: others[name].nested_dice))
        dice[own] = choose(maps, masks, IDS, FOLDS, kinds[-1:], match_positive_rate=match)[kinds[-1]].nested_images[own]
    found = searched(maps, masks, IDS, FOLDS, KINDS, match_positive_rate=match)
    assert found.best_.nested_images == pytest.approx(dice, abs=1e-12)
    assert found.best_.rules == KINDS


def test_the_result_of_a_single_rule_is_the_best(problem):
    maps, masks = problem(5, count=COUNT)
    found = searched(maps, masks, IDS, FOLDS, ["triplet"])
    assert found.best_ is found.results_["triplet"]
