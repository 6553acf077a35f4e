import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.inference.rules import FULL_AREA, level_of
from kit.thresholds.curves import Steps, curve, longest_run, middle, middle_removal, run_around
from kit.thresholds.exact import GRID
from tests.support.searched import choose

KINDS = ("image", "component", "triplet")
SOME_LEVELS = [0, 1, 2, 13, 77, 127, 128, 200, 254, 255]


def searched(maps, masks, kind, removal=None, prevalence=None):
    return choose(
        maps, masks, [str(i) for i in range(len(maps))], None, [kind], removal=removal, prevalence=prevalence
    )[kind]


def every_removal(maps):
    """All values of `removal` that make a difference."""
    return [count * FULL_AREA // maps[0].size for count in range(maps[0].size + 1)] + [FULL_AREA + 1]


@pytest.mark.parametrize("kind", KINDS)
class TestEverySurface:
    """Properties of the surface of every rule with thresholds."""

    def test_the_whole_surface_equals_brute_force(self, kind, problem, slow):
        for seed in range(3):
            maps, masks = problem(seed, count=4, shape=(5, 6))
            surface = searched(maps, masks, kind, [0, 40000, 69905, 69906, 300000, FULL_AREA, FULL_AREA + 1]).surface
            assert surface.levels.tolist() == [level / 255 for level in range(256)]
            distinct = sorted(
                {0, 255} | {int(v) for v in np.unique(maps)} | {int(v) + 1 for v in np.unique(maps[maps < 255])}
            )
            for top in distinct if kind == "triplet" else [None]:
                for level in distinct:
                    want = [slow.mean_dice(kind, maps, masks, removal, level, top) for removal in surface.removal]
                    got = surface.dice[level] if top is None else surface.dice[top, level]
                    np.testing.assert_allclose(got, want, atol=1e-12)
            # Between two values that occur, all levels are alike.
            next_value = np.array([next(v for v in distinct if v >= level) for level in range(256)])
            alike = surface.dice[next_value] if kind != "triplet" else surface.dice[next_value][:, next_value]
            np.testing.assert_allclose(surface.dice, alike, atol=1e-12)

    def test_the_best_of_all_thresholds_is_found(self, kind, problem, slow):
        for seed in range(3):
            maps, masks = problem(seed + 10, count=4, shape=(4, 4))
            values = np.unique(maps)
            found = searched(maps, masks, kind)
            highest = max(
                slow.mean_dice(kind, maps, masks, removal, level, top)
                for removal in every_removal(maps)
                for level in [0, *values, 255]
                for top in ([0, *values, 255] if kind == "triplet" else [None])
            )
            assert found.apparent_dice == pytest.approx(highest, abs=1e-12)
            assert found.surface.dice.max() == pytest.approx(highest, abs=1e-12)

    def test_the_apparent_dice_is_the_score_of_the_masks(self, kind, problem, slow):
        for removal in (None, [0, 5000, 100000]):
            maps, masks = problem(20)
            found = searched(maps, masks, kind, removal)
            scored = [slow.dice(found.rule.mask(levels), mask) for levels, mask in zip(maps, masks, strict=True)]
            assert found.apparent_dice == pytest.approx(np.mean(scored), abs=1e-12)
            np.testing.assert_allclose(found.images, scored, atol=1e-12)
            assert removal is None or found.rule.removal in removal

    def test_prevalence_weights_positives_and_negatives(self, kind, problem, slow):
        maps, masks = problem(22, count=8)
        positive = masks.any(axis=(1, 2))
        assert 0 < positive.sum() < 8
        weights = np.where(positive, 0.22 / positive.sum(), 0.78 / (~positive).sum())
        surface = searched(maps, masks, kind, [0, 50000, 200000], 0.22).surface
        for level in SOME_LEVELS:
            cell = (level,) if kind != "triplet" else (128, level)
            top = None if kind != "triplet" else 128
            want = [slow.mean_dice(kind, maps, masks, removal, level, top, weights) for removal in surface.removal]
            np.testing.assert_allclose(surface.dice[cell], want, atol=1e-12)

    def test_ties_are_broken_toward_the_middle_of_the_plateau(self, kind):
        levels = np.zeros((1, 32, 32), np.uint8)
        levels[0, 8:16, 8:16] = 200
        found = searched(levels, levels > 0, kind)
        area = 64 * 1024
        assert found.apparent_dice == 1
        assert level_of(found.rule.binarization) == (1 + 200) // 2
        assert found.rule.removal == area // 2
        assert found.plateau["binarization"] == [1 / 255, 200 / 255]
        assert found.plateau["removal"] == [0, area]
        if kind == "triplet":  # with a removal of 0 no top makes a difference
            assert level_of(found.rule.top) == 127

    def test_only_negatives(self, kind, problem):
        maps, _ = problem(23)
        found = searched(maps, np.zeros(maps.shape, bool), kind)
        assert found.apparent_dice == found.negatives_empty == found.nested_dice == 1
        assert found.dice_positives is None
        assert not any(found.rule.mask(levels).any() for levels in maps)

    def test_many_values_of_removal_leave_a_grid_that_holds_the_best(self, kind):
        rng = np.random.default_rng(0)
        maps = rng.integers(0, 256, (3, 40, 40), np.uint8)
        found = searched(maps, maps > 200, kind)
        assert set(found.surface.removal) == {*GRID, found.rule.removal}
        assert found.surface.dice.max() == pytest.approx(found.apparent_dice, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12), st.integers(-4, 4)), max_size=12), st.booleans())
def test_a_curve_is_the_sum_of_its_steps(steps, listed):
    image, size, gain = np.array(steps, int).reshape(-1, 3).T
    empty, weights = np.array([1.0, 0.0, 1.0, 0.0]), np.array([1.0, 2.0, 0.0, 0.5])
    removal = np.array([0, 3, 4, 11]) if listed else None
    found = curve(Steps(image, size, gain.astype(float)), empty, weights, removal)
    for lower, upper, dice in zip(*found, strict=True):
        for value in {lower, upper}:
            images = empty + np.bincount(image[size >= value], gain[size >= value], minlength=4)
            assert dice == pytest.approx(np.average(images, weights=weights), abs=1e-12)
    if not listed:  # no value is left out
        assert found.lower[0] == 0
        assert found.upper[-1] > FULL_AREA
        assert (found.lower[1:] == found.upper[:-1] + 1).all()


def test_the_middle_of_runs():
    good = np.array([True, False, True, True, False, True, True])
    assert longest_run(good) == (2, 3)
    assert longest_run(good, np.array([9, 1, 1, 1, 1, 1, 1])) == (0, 0)
    assert middle(good) == 2
    assert run_around(good, 5) == (5, 6)
    assert run_around(good, 0) == (0, 0)
    assert run_around(np.array([True, True]), 1) == (0, 1)


def test_only_listed_values_of_removal_are_chosen():
    steps = Steps(np.array([0]), np.array([700]), np.array([0.5]))
    values = np.array([0, 100, 600, 1000])
    assert middle_removal(curve(steps, np.zeros(1), np.ones(1), values)) == 100
    assert middle_removal(curve(steps, np.zeros(1), np.ones(1))) == 350
