import math

import numpy as np
import pytest

from kit.inference.share import candidate
from kit.thresholds.cross_validation import prevalence_weights
from kit.thresholds.selection import KINDS, choose
from kit.thresholds.transfer import BLUR, SHARES

COUNT = 24
IDS = [str(index) for index in range(COUNT)]
FOLDS = np.arange(COUNT) % 3


def evidence_of(rule, maps):
    found = [candidate(rule, levels) for levels in maps]
    return [mask for mask, _ in found], [value for _, value in found]


def places_of(evidence, weights):
    """Of each image: the share of the weights that lies before the middle of the first of its equals."""
    found = []
    for value in evidence:
        before = sum(weight for other, weight in zip(evidence, weights, strict=True) if other > value)
        first = next(weight for other, weight in zip(evidence, weights, strict=True) if other == value)
        found.append((before + first / 2) / sum(weights) if value > 0 else math.inf)
    return found


def slow_share(rule, maps, masks, folds, weights, slow):
    """The share whose blurred mean Dice is best, image by image."""
    gains = []
    for fold in sorted(set(folds)):
        own = np.flatnonzero(folds == fold)
        candidates, evidence = evidence_of(rule, maps[own])
        for index, mask, place in zip(own, candidates, places_of(evidence, weights[own]), strict=True):
            gain = slow.dice(mask, masks[index]) - slow.dice(np.zeros_like(mask), masks[index])
            gains.append((place, weights[index] * gain))

    def worth(share):
        return sum(gain * (1 + math.erf((share - place) / BLUR / math.sqrt(2))) / 2 for place, gain in gains)

    return max(SHARES, key=worth)


def slow_matched(rule, share, maps, masks, weights, slow):
    """Dice of the images of one fold of which a share gets masks."""
    candidates, evidence = evidence_of(rule, maps)
    places = places_of(evidence, weights)
    return [
        slow.dice(mask if place <= share else np.zeros_like(mask), truth)
        for mask, place, truth in zip(candidates, places, masks, strict=True)
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_each_fold_taken_for_a_test_set_gets_the_share_of_the_others(kind, problem, slow):
    maps, masks = problem(3, count=COUNT)
    dice = np.empty(COUNT)
    for fold in range(3):
        own = fold == FOLDS
        rule = choose(maps[~own], masks[~own], np.array(IDS)[~own], FOLDS[~own], [kind])[kind].rule
        share = slow_share(rule, maps[~own], masks[~own], FOLDS[~own], np.ones((~own).sum()), slow)
        dice[own] = slow_matched(rule, share, maps[own], masks[own], np.ones(own.sum()), slow)
    found = choose(maps, masks, IDS, FOLDS, [kind], transfer="share")[kind]
    assert found.nested_images == pytest.approx(dice, abs=1e-9)
    assert found.nested_dice == pytest.approx(dice.mean(), abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_promised_is_what_each_fold_gets_at_the_prevalence(kind, problem, slow):
    maps, masks = problem(3, count=COUNT)
    weights = prevalence_weights(masks.any(axis=(1, 2)), 0.3)
    found = choose(maps, masks, IDS, FOLDS, [kind], prevalence=0.3, transfer="share")[kind]
    assert found.share == pytest.approx(slow_share(found.rule, maps, masks, FOLDS, weights, slow))
    dice = np.empty(COUNT)
    for fold in range(3):
        own = fold == FOLDS
        dice[own] = slow_matched(found.rule, found.share, maps[own], masks[own], weights[own], slow)
    assert found.dice == pytest.approx(np.average(dice, weights=weights), abs=1e-9)


def test_without_transfer_there_is_no_share(problem):
    maps, masks = problem(3, count=COUNT)
    assert choose(maps, masks, IDS, FOLDS)["image"].share is None


def test_where_every_mask_is_wrong_none_is_given():
    maps, masks = np.full((6, 8, 8), 200, np.uint8), np.zeros((6, 8, 8), bool)
    masks[0, 0, 0] = True
    found = choose(maps, masks, IDS[:6], [0, 1] * 3, ["image"], transfer="share")["image"]
    assert found.share == 0
    assert found.dice == pytest.approx(5 / 6)


@pytest.mark.parametrize("transfer", ["none", "share"])
def test_the_nested_choice_takes_the_kind_that_the_other_folds_promise(transfer, problem):
    maps, masks = problem(5, count=COUNT)
    dice = np.empty(COUNT)
    for fold in range(3):
        own = fold == FOLDS
        others = choose(maps[~own], masks[~own], np.array(IDS)[~own], FOLDS[~own], KINDS, transfer=transfer)
        kind = max(KINDS, key=lambda name: others[name].nested_dice)
        alone = choose(maps, masks, IDS, FOLDS, [kind], transfer=transfer)[kind]
        dice[own] = alone.nested_images[own]
    found = choose(maps, masks, IDS, FOLDS, KINDS, transfer=transfer)
    for result in found.values():
        assert result.nested_choice == pytest.approx(dice.mean(), abs=1e-12)


def test_of_one_kind_the_choice_is_no_choice(problem):
    maps, masks = problem(5, count=COUNT)
    found = choose(maps, masks, IDS, FOLDS, ["triplet"])["triplet"]
    assert found.nested_choice == found.nested_dice
