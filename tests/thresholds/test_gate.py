"""The gated search, compared with a slow search over all gates and thresholds."""

import numpy as np
import pytest

from kit.inference import ensemble
from kit.inference.rules import ImageRule
from kit.thresholds import gate
from kit.thresholds.search import ThresholdSearch
from tests.support import searched
from tests.support.searched import KINDS

SIZE = 12


def images(count=14, seed=0):
    """Maps, masks, and a weakly informative P(pneumothorax)."""
    random = np.random.default_rng(seed)
    truth = np.zeros((count, SIZE, SIZE), bool)
    truth[::2, 2:8, 3:9] = True
    levels = random.integers(0, 256, (count, SIZE, SIZE)) // 4 + truth * random.integers(0, 190, (count, 1, 1))
    levels[1::4, 6:, 6:] += 150  # false positives
    presence = np.clip(random.random(count) * 0.6 + truth.any(axis=(1, 2)) * 0.3, 0, 1)
    return levels.clip(0, 255).astype(np.uint8), truth, presence


def dice(predicted, truth):
    both = predicted.sum() + truth.sum()
    return 2 * (predicted & truth).sum() / both if both else 1.0


def choose(kind="image", seed=0, **options):
    maps, truth, presence = images(seed=seed)
    ids = [str(i) for i in range(len(maps))]
    folds = np.arange(len(maps)) // 2 % 3
    return searched.choose(maps, truth, ids, folds, [kind], image_probability=presence, **options)[kind]


@pytest.mark.parametrize("seed", range(3))
def test_the_best_of_all_gates_and_thresholds_is_found(seed):
    maps, truth, presence = images(seed=seed)
    removal = [0, 60_000, 200_000]
    empty, best = np.array([dice(mask & False, mask) for mask in truth]), 0
    for level in range(256):
        for least in removal:
            rule = ImageRule(level / 255, least)
            ungated = np.array([dice(rule.mask(levels), mask) for levels, mask in zip(maps, truth, strict=True)])
            best = max(best, *(np.where(presence < opening, empty, ungated).mean() for opening in gate.GATES))
    assert choose(seed=seed, removal=removal).apparent_dice == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_every_gated_rule_scores_its_apparent_dice(kind):
    maps, truth, presence = images()
    result = choose(kind)
    real = [dice(result.rule.mask(levels, p), mask) for levels, mask, p in zip(maps, truth, presence, strict=True)]
    np.testing.assert_allclose(result.images, real, atol=1e-12)
    assert result.apparent_dice == pytest.approx(np.mean(real), abs=1e-12)
    assert result.rule.gate is not None


def test_a_share_of_masks_is_chosen_behind_a_gate_too(slow):
    maps, truth, presence = images()
    result = choose(match_positive_rate=True)
    candidates = [result.rule.candidate(levels, p) for levels, p in zip(maps, presence, strict=True)]
    for fold in range(3):
        own = [i for i in range(len(maps)) if i // 2 % 3 == fold]
        scored = [dice(candidates[i][0], truth[i]) for i in own]
        empty = [float(not truth[i].any()) for i in own]
        evidence = [candidates[i][1] for i in own]
        mean = slow.matched(result.share, evidence, scored, empty, truth.any(axis=(1, 2)).mean())[1]
        np.testing.assert_allclose(result.images[own], mean, atol=1e-12)


def test_labels_of_a_fold_do_not_change_its_own_gate():
    """Classifiers are stacked again without each excluded fold."""
    maps, truth, presence = images(count=30, seed=4)
    members = np.stack([presence, np.roll(presence, 1)], axis=1)
    ids, folds = [str(i) for i in range(30)], np.arange(30) // 2 % 3
    found = searched.choose(maps, truth, ids, folds, ["image"], members)["image"]
    for fold in range(3):
        own = folds == fold
        # Other labels in the fold change the masks of the others, never those that the fold itself is judged by.
        other = truth.copy()
        other[own] = other[own][::-1]
        again = searched.choose(maps, other, ids, folds, ["image"], members)["image"]
        rule, stacked = rule_fitted_without(fold, maps, truth, members, folds)
        masks = [rule.mask(levels, p) for levels, p in zip(maps[own], stacked, strict=True)]
        for judged, known in ((found, truth), (again, other)):
            want = [dice(mask, at) for mask, at in zip(masks, known[own], strict=True)]
            np.testing.assert_allclose(judged.nested_images[own], want, atol=1e-12)


def rule_fitted_without(fold, maps, truth, members, folds):
    """The gated rule chosen on data without a fold, and P(pneumothorax) in the fold by the stack of the other folds."""
    there = folds != fold
    ids = [str(i) for i in np.flatnonzero(there)]
    rule = searched.choose(maps[there], truth[there], ids, folds[there], ["image"], members[there])["image"].rule
    stack = ensemble.fit_stack([], members[there], truth[there].any(axis=(1, 2)))
    return rule, stack.probability(members[~there])


@pytest.mark.parametrize("value", [0.0, 0.32, 0.95, 0.97, 1.0])
def test_the_plateau_of_any_given_gate_contains_that_gate(value):
    maps, truth, _ = images()
    presence = np.where(truth.any(axis=(1, 2)), 1.0, 0.31)  # between 0.31 and 1 every gate scores the same
    search = ThresholdSearch(("image",)).fit(maps, truth, presence)
    low, high = search.measure(ImageRule(0.5, 10, gate=value)).plateau["gate"]
    assert low <= value <= high
    if value > 0.31:
        assert (low, high) == (min(value, 0.35), max(value, 0.95))


def test_surface_and_plateau_contain_the_chosen_thresholds_and_gate():
    result = choose()
    at = (
        np.searchsorted(result.surface.levels, result.rule.binarization),
        np.searchsorted(result.surface.removal, result.rule.removal),
    )
    assert result.surface.dice[at] == pytest.approx(result.apparent_dice, abs=1e-12)
    low, high = result.plateau["gate"]
    assert low <= result.rule.gate <= high
