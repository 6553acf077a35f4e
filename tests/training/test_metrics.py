"""Fast implementations of Dice, IoU and the rules, compared with one simple reference."""

import numpy as np
import pytest
import torch

from kit.competition import scoring
from kit.inference.rules import ImageRule, TripletRule
from kit.thresholds import tables
from kit.training.validation import binarize, dice_and_iou


def slow_dice(predicted, truth):
    x, y = set(np.flatnonzero(predicted)), set(np.flatnonzero(truth))
    return 2 * len(x & y) / (len(x) + len(y)) if x | y else 1


def slow_iou(predicted, truth):
    x, y = set(np.flatnonzero(predicted)), set(np.flatnonzero(truth))
    return len(x & y) / len(x | y) if x | y else 1


def test_all_implementations_of_dice_agree():
    random = np.random.default_rng(0)
    predicted, truth = random.random((6, 1, 8, 8)) > 0.6, random.random((6, 1, 8, 8)) > 0.6
    predicted[0] = truth[0] = False
    truth[1] = False
    predicted[2] = False
    expected = [slow_dice(*pair) for pair in zip(predicted, truth, strict=True)]
    dice, iou = dice_and_iou(torch.tensor(predicted), torch.tensor(truth))
    areas = [part.sum(axis=(1, 2, 3)) for part in (predicted, predicted & truth, truth)]
    np.testing.assert_allclose(dice, expected, rtol=1e-6)
    np.testing.assert_allclose([scoring.dice(p[0], t[0]) for p, t in zip(predicted, truth, strict=True)], expected)
    np.testing.assert_allclose(tables.dice(*areas), expected)
    np.testing.assert_allclose(iou, [slow_iou(*pair) for pair in zip(predicted, truth, strict=True)], rtol=1e-6)


def test_batches_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        dice_and_iou(torch.ones((2, 1, 4, 4), dtype=torch.bool), torch.ones((2, 4, 4), dtype=torch.bool))


@pytest.mark.parametrize("side", [32, 96, 1024])
@pytest.mark.parametrize("rule", [ImageRule(0.5, 2048), ImageRule(0.0, 0), TripletRule(0.7, 0.3, 2048)])
def test_binarize_equals_the_rules(side, rule):
    """Levels v stand for v / 255; the first two areas are just below and exactly at `removal`."""
    random = np.random.default_rng(side)
    levels = random.integers(0, 256, (4, side, side), np.uint8)
    enough = -(-2048 * side * side // 1024**2)
    for image, count in enumerate((enough - 1, enough)):
        levels[image] = 0
        levels[image].flat[:count] = 255
    probabilities = torch.from_numpy(levels / 255)[:, None]
    found = binarize(probabilities, rule.binarization, rule.removal, getattr(rule, "top", None))
    for mask, image in zip(found[:, 0].numpy(), levels, strict=True):
        assert (mask == rule.mask(image)).all()
