import numpy as np
import pytest

from kit.inference.share import candidate
from kit.thresholds.cross_validation import prevalence_weights
from kit.thresholds.selection import KINDS, choose

COUNT = 24
IDS = [str(index) for index in range(COUNT)]
FOLDS = np.arange(COUNT) % 3


def masked_by(rule, maps, share, weights):
    """The masks of some images: of the order of their evidence, as many as the share of the weights says."""
    found = [candidate(rule, levels) for levels in maps]
    masks, evidence = [mask for mask, _ in found], [value for _, value in found]
    chosen, done = [], 0.0
    for index in sorted(range(len(maps)), key=lambda index: -evidence[index]):
        tied = bool(chosen) and evidence[index] == evidence[chosen[-1]]
        if evidence[index] > 0 and (tied or done + weights[index] / 2 <= share * sum(weights) + 1e-12):
            chosen.append(index)
        done += weights[index]
    return [mask if index in chosen else np.zeros_like(mask) for index, mask in enumerate(masks)]


@pytest.mark.parametrize("kind", KINDS)
def test_each_fold_taken_for_a_test_set_gets_the_share_of_the_others(kind, problem, slow):
    maps, masks = problem(3, count=COUNT)
    weights = prevalence_weights(masks.any(axis=(1, 2)), 0.3)
    dice = np.empty(COUNT)
    for fold in range(3):
        own = fold == FOLDS
        # The others alone have another prevalence, so their weights are given by a search with none of its own.
        found = choose(
            maps[~own], masks[~own], np.array(IDS)[~own], FOLDS[~own], [kind], None, prevalence_of(weights, masks, ~own)
        )[kind]
        fixed = [found.rule.mask(levels) for levels in maps[~own]]
        scored = np.array([slow.dice(mask, truth) for mask, truth in zip(fixed, masks[~own], strict=True)])
        positive = masks[~own].any(axis=(1, 2))
        share = np.average(np.where(positive, scored > 0, scored < 1), weights=weights[~own])
        for index, mask in zip(np.flatnonzero(own), masked_by(found.rule, maps[own], share, weights[own]), strict=True):
            dice[index] = slow.dice(mask, masks[index])
    found = choose(maps, masks, IDS, FOLDS, [kind], None, 0.3, None, "share")[kind]
    assert found.nested_dice == pytest.approx(np.average(dice, weights=weights), abs=1e-9)


def prevalence_of(weights, masks, part):
    """The share of positives among the weights of a part of the images."""
    return float(np.average(masks[part].any(axis=(1, 2)), weights=weights[part]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_promised_is_what_each_fold_gets(kind, problem, slow):
    maps, masks = problem(3, count=COUNT)
    found = choose(maps, masks, IDS, FOLDS, [kind], transfer="share")[kind]
    assert 0 < found.share < 1
    dice = np.empty(COUNT)
    for fold in range(3):
        own = np.flatnonzero(fold == FOLDS)
        for index, mask in zip(own, masked_by(found.rule, maps[own], found.share, np.ones(len(own))), strict=True):
            dice[index] = slow.dice(mask, masks[index])
    assert found.dice == pytest.approx(dice.mean(), abs=1e-9)


def test_without_transfer_there_is_no_share(problem):
    maps, masks = problem(3, count=COUNT)
    assert choose(maps, masks, IDS, FOLDS)["image"].share is None


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
