import numpy as np
import pytest

from kit.inference.rules import ExpectedRule
from kit.thresholds.calibration import ExpectedSearch
from kit.thresholds.tables import Histograms


def tables_of(maps, masks):
    tables = Histograms(len(maps))
    for index, (levels, mask) in enumerate(zip(maps, masks, strict=True)):
        tables.add(index, levels, mask)
    return tables


@pytest.fixture(scope="module")
def drawn():
    """Maps of two regions whose pixels are foreground with the probability of their level; two thirds are negatives."""
    rng = np.random.default_rng(0)
    maps, masks = np.zeros((60, 32, 32), np.uint8), np.zeros((60, 32, 32), bool)
    for index, (levels, mask) in enumerate(zip(maps, masks, strict=True)):
        if index % 3 == 0:
            levels[4:20, 4:20], levels[8:16, 8:16] = 64, 191
            mask[:] = rng.random((32, 32)) < levels / 255
        else:
            levels[4 : 4 + index % 5, 4:8] = 64
    return maps, masks


def test_foreground_is_as_frequent_as_fitted(drawn):
    rule = ExpectedSearch(tables_of(*drawn)).best(np.ones(60))
    assert rule.foreground[0] == 0
    assert rule.foreground[64] == pytest.approx(0.25, abs=0.02)
    assert rule.foreground[191] == pytest.approx(0.75, abs=0.02)
    assert np.diff(rule.foreground).min() >= 0


def test_positives_and_negatives_are_separated(drawn):
    maps, masks = drawn
    tables = tables_of(maps, masks)
    search = ExpectedSearch(tables)
    rule = search.best(np.ones(60))
    filled = rule.p_nonempty(tables.area, tables.pixels)
    assert filled[::3].min() > 0.9
    assert np.delete(filled, np.s_[::3]).max() < 0.1
    assert [bool(rule.mask(levels).any()) for levels in maps] == [index % 3 == 0 for index in range(60)]


def test_the_mask_has_the_highest_expected_dice(drawn):
    levels = drawn[0][0]
    rule = ExpectedRule((np.arange(256) / 255).tolist(), 1.0, [100], [0.0], 0.0)  # P(empty) = 1 / 2
    p = levels / 255
    best = max(2 * p[levels >= level].sum() / ((levels >= level).sum() + p.sum()) for level in (0, 64, 191))
    area = tables_of([levels], [levels > 0]).area
    assert rule.expected_dice(area).max() == pytest.approx(best, abs=1e-12)
    assert not rule.mask(levels).any()  # best / 2 is less than 1 / 2
    sure = ExpectedRule(rule.foreground, 1.0, [100], [0.0], 3.0)
    mask = sure.mask(levels)
    assert 2 * p[mask].sum() / (mask.sum() + p.sum()) == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("filled", [False, True])
def test_images_of_one_class_alone(filled):
    maps = np.full((3, 16, 16), 10, np.uint8)
    maps[:, 4:8, 4:8] = 200
    masks = (maps > 100) & filled
    rule = ExpectedSearch(tables_of(maps, masks)).best(np.ones(3))
    assert (rule.mask(maps[0]) == masks[0]).all()
