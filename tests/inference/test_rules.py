import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from hypothesis.extra.numpy import array_shapes, arrays

from kit.core.errors import KitError
from kit.inference import rules, thresholds_file
from kit.inference.rules import ComponentRule, ExpectedRule, ImageRule, TripletRule, level_of
from kit.recipes.schema import Threshold

EXAMPLES = [
    ImageRule(0.5, 2048),
    ImageRule(100 / 255, 0),
    ComponentRule(0.5, 60000),
    ComponentRule(0.2, 200000),
    TripletRule(0.7, 0.3, 100000),
    TripletRule(0.3, 0.7, 300000),
    ExpectedRule(np.linspace(0, 1, 256).tolist(), 0.9, [51, 153], [0.4, 0.5], -6.0),
]


def every_rule(but: str = ""):
    """Parametrises a test over all examples, without those of one rule."""
    return pytest.mark.parametrize(
        "rule",
        [example for example in EXAMPLES if example.name != but],
        ids=lambda rule: f"{rule.name}-{EXAMPLES.index(rule)}",
    )


@every_rule()
class TestEveryRule:
    """Properties of every rule."""

    def test_every_rule_has_an_example(self, rule):
        assert {example.name for example in EXAMPLES} == set(rules.RULES)
        assert type(rule) is rules.RULES[rule.name]

    def test_a_mask_is_bool_of_the_maps_shape_and_leaves_the_map_alone(self, rule, problem):
        levels = problem(0, shape=(9, 5))[0][1]
        before = levels.copy()
        mask = rule.mask(levels)
        assert mask.dtype == np.bool_
        assert mask.shape == (9, 5)
        assert (levels == before).all()

    def test_a_map_without_a_finding_gives_an_empty_mask(self, rule):
        assert not rule.mask(np.zeros((16, 16), np.uint8)).any()

    def test_removal_means_the_same_at_every_size(self, rule, problem):
        for levels in problem(4)[0]:
            larger = np.kron(levels, np.ones((2, 2), np.uint8))
            assert (rule.mask(larger) == np.kron(rule.mask(levels), np.ones((2, 2), bool))).all()


@every_rule(but="expected")  # it has no words: see test_calibration
def test_every_rule_equals_its_reference(rule, problem, slow):
    thresholds = {"level": level_of(rule.binarization)}
    if rule.name == "triplet":
        thresholds["top"] = level_of(rule.top)
    outcomes = set()
    for seed in range(20):
        for levels in problem(seed)[0]:
            want = slow.mask(rule.name, levels, rule.removal, **thresholds)
            assert (rule.mask(levels) == want).all()
            outcomes.add(bool(want.any()))
    assert outcomes == {True, False}


@every_rule(but="component")  # a small component may be surer than a large one
def test_masks_hold_the_pixels_of_highest_probability(rule, problem):
    for levels in problem(3)[0]:
        mask = rule.mask(levels)
        assert not mask.any() or mask.all() or levels[mask].min() > levels[~mask].max()


SHARES, AREAS = some.floats(0, 1), some.integers(0, 2**20)
MAPS = arrays(
    np.uint8, array_shapes(min_dims=2, max_dims=2, max_side=12), elements=some.sampled_from((0, 60, 128, 255))
)
LEVEL_RULES = some.one_of(
    some.builds(ImageRule, SHARES, AREAS),
    some.builds(ComponentRule, SHARES, AREAS),
    # Below its binarization, `top` counts pixels that are not in the mask.
    some.tuples(SHARES, SHARES, AREAS).map(lambda drawn: TripletRule(max(drawn[:2]), min(drawn[:2]), drawn[2])),
)
IDEMPOTENT = some.one_of(
    LEVEL_RULES,
    some.builds(lambda rule, gate: dataclasses.replace(rule, gate=gate), LEVEL_RULES, SHARES),
    some.builds(lambda rule, area: dataclasses.replace(rule, smallest_contour=area), LEVEL_RULES, AREAS),
)


@given(IDEMPOTENT, MAPS, SHARES)
def test_a_mask_taken_for_a_map_gives_the_mask(rule, levels, probability):
    mask = rule.mask(levels, probability)
    assert (rule.mask(np.where(mask, 255, 0).astype(np.uint8), probability) == mask).all()


def test_an_area_equal_to_removal_stays():
    levels = np.zeros((32, 32), np.uint8)
    levels[4, 4:7] = 255  # 3 pixels are 3072 of a 1024×1024 image
    for rule in (ImageRule, ComponentRule):
        assert rule(0.5, 3072).mask(levels).sum() == 3
        assert not rule(0.5, 3073).mask(levels).any()
    assert TripletRule(1.0, 0.5, 3072).mask(levels).any()
    assert not TripletRule(1.0, 0.5, 3073).mask(levels).any()


def test_components_touch_at_corners():
    levels = np.eye(32, dtype=np.uint8) * 255
    assert ComponentRule(0.5, 32 * 1024).mask(levels).sum() == 32


def test_small_contours_are_dropped_and_small_holes_filled():
    mask = np.zeros((100, 100), np.uint8)
    mask[10:60, 10:60] = 255  # a region
    mask[20:40, 20:40] = 0  # with a large hole, whose contour runs through the pixels around it
    mask[45:50, 45:50] = 0  # and a small one
    mask[25:30, 25:30] = 255  # with a small region inside the large hole
    mask[80:85, 80:85] = 255  # and a small region elsewhere
    expected = mask > 0
    expected[45:50, 45:50] = True
    expected[25:30, 25:30] = expected[80:85, 80:85] = False
    area = 100 * 1024 * 1024 // 100**2  # 100 pixels of this image
    found = ImageRule(0.5, 0, smallest_contour=area).mask(mask)
    assert (found == expected).all()
    assert ImageRule(0.5, 0).mask(mask)[80:85, 80:85].all()


def test_a_recipes_own_rule_survives_its_file(tmp_path):
    threshold = Threshold(top=0.7, removal=800, binarization=0.3, smallest_contour=100, gate=0.65)
    for gated in (False, True):
        rule = rules.fixed(threshold, gated=gated)
        path = tmp_path / "thresholds.json"
        path.write_text(json.dumps(rules.parameters(rule)))
        assert thresholds_file.read(path).rule == rule
        assert (rule.gate is not None) == gated


@every_rule()
def test_probabilities_are_no_levels(rule):
    with pytest.raises(KitError, match="levels are float64: give uint8"):
        rule.mask(np.full((16, 16), 0.9))
