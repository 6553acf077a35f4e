import numpy as np
import pytest

from kit.core.errors import KitError
from kit.thresholds.cross_validation import group_numbers, interval, prevalence_weights
from tests.support.searched import KINDS, choose


@pytest.mark.parametrize("kind", KINDS)
def test_the_nested_estimate_never_sees_what_it_scores(kind, problem, slow):
    maps, masks = problem(8, count=12)
    folds = np.arange(12) % 3
    ids = [str(index) for index in range(12)]
    dice = []
    for fold in range(3):
        others = folds != fold
        chosen = choose(maps[others], masks[others], ids[:8], folds[others], [kind])[kind].rule
        for levels, mask in zip(maps[~others], masks[~others], strict=True):
            dice.append(slow.dice(chosen.mask(levels), mask))
    found = choose(maps, masks, ids, folds, [kind])[kind]
    assert found.nested_dice == pytest.approx(np.mean(dice), abs=1e-12)
    assert found.nested_dice < found.apparent_dice


def test_groups_are_folds_or_else_groups_of_patients():
    patients = list("aabbccddeeff")
    assert group_numbers([0, 1] * 6, patients).tolist() == [0, 1] * 6
    for folds in (None, [0] * 12):
        groups = group_numbers(folds, patients)
        assert len(set(groups)) == 5
        assert (groups[::2] == groups[1::2]).all()


def test_one_patient_has_no_nested_estimate(problem):
    maps, masks = problem(1)
    found = choose(maps, masks, ["same"] * 6)["image"]
    assert (found.nested_dice, found.interval, found.dice_positives) == (None, None, None)
    assert 0 < found.apparent_dice < 1


def test_the_interval_is_reproducible_and_that_of_a_mean():
    dice = np.random.default_rng(0).random(400)
    patients = [f"p{index}" for index in range(400)]
    low, high = interval(dice, patients)
    assert [low, high] == interval(dice, patients)
    spread = 1.96 * dice.std() / np.sqrt(400)
    assert low == pytest.approx(dice.mean() - spread, abs=0.1 * spread)
    assert high == pytest.approx(dice.mean() + spread, abs=0.1 * spread)


def test_images_of_a_patient_are_drawn_together():
    dice = np.random.default_rng(0).random(50)
    patients = [f"p{index:02}" for index in range(50)]
    once = interval(dice, patients)
    assert interval(np.repeat(dice, 4), np.repeat(patients, 4)) == pytest.approx(once, abs=1e-12)


@pytest.mark.parametrize(("prevalence", "positive"), [(0.0, [0, 1]), (1.2, [0, 1]), (0.2, [0, 0]), (0.2, [1, 1])])
def test_an_impossible_prevalence_is_refused(prevalence, positive):
    with pytest.raises(KitError, match="prevalence "):
        prevalence_weights(np.array(positive, bool), prevalence)
