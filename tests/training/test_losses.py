import math

import numpy as np
import pytest
import torch

from kit.recipes.schema import Loss
from kit.training import losses


def batch(seed=0, size=16, empty=()):
    random = np.random.default_rng(seed)
    logits = torch.tensor(random.normal(0, 2, (4, 1, size, size)), dtype=torch.float32, requires_grad=True)
    masks = torch.tensor(random.random((4, 1, size, size)) > 0.8, dtype=torch.float32)
    for index in empty:
        masks[index] = 0
    return logits, masks


def slow(logits, masks):
    """Equations (1) and (2) of the paper, pixel by pixel and image by image."""
    entropy, dice = [], []
    for image, truth in zip(logits.detach().numpy(), masks.numpy(), strict=True):
        overlap = area = true_area = 0.0
        for z, y in zip(image.ravel().tolist(), truth.ravel().tolist(), strict=True):
            p = 1 / (1 + math.exp(-z))
            entropy.append(-(y * math.log(p) + (1 - y) * math.log(1 - p)))
            overlap, area, true_area = overlap + p * y, area + p, true_area + y
        dice.append(1 - 2 * overlap / (area + true_area))
    return sum(entropy) / len(entropy), sum(dice) / len(dice)


def test_bce_and_dice_are_the_papers_equations():
    logits, masks = batch()
    entropy, dice = slow(logits, masks)
    assert losses.bce(logits, masks).item() == pytest.approx(entropy, rel=1e-5)
    assert losses.dice(logits, masks).item() == pytest.approx(dice, rel=1e-5)
    assert losses.total(Loss(), logits, None, masks).item() == pytest.approx(entropy + dice, rel=1e-5)


def test_a_batch_of_negatives_teaches_against_false_positives():
    logits, masks = batch(empty=range(4))
    losses.dice(logits, masks).backward()
    assert (logits.grad > 0).all()
    low, high = torch.full((1, 1, 16, 16), -9.0), torch.full((1, 1, 16, 16), 9.0)
    assert losses.dice(low, masks[:1]).item() < 0.02
    assert losses.dice(high, masks[:1]).item() > 0.98


def test_without_a_mask_the_loss_is_the_share_that_is_predicted():
    logits, _ = batch()
    expected = logits.detach().double().sigmoid().mean().item()
    assert losses.dice(logits, torch.zeros_like(logits)).item() == pytest.approx(expected, rel=1e-5)


def test_each_image_counts_the_same():
    logits, masks = batch(empty=(1,))
    alone = [losses.dice(logits[i : i + 1], masks[i : i + 1]).item() for i in range(4)]
    assert losses.dice(logits, masks).item() == pytest.approx(np.mean(alone), rel=1e-5)


def test_focal_is_entropy_weighted_by_what_is_wrong():
    logits, masks = batch()
    p = logits.detach().double().sigmoid()
    right = torch.where(masks > 0, p, 1 - p)
    expected = (-((1 - right) ** 2) * right.log()).mean()
    assert losses.focal(logits, masks).item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_image_head_learns_whether_any_pixel_is_positive():
    logits, masks = batch(empty=(0, 2))
    image_logits = torch.tensor([0.3, -0.2, 1.0, 2.0])
    total = losses.total(Loss(bce=0, dice=0, image=2), logits, image_logits, masks)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(image_logits, torch.tensor([0.0, 1, 0, 1]))
    assert total.item() == pytest.approx(2 * expected.item(), rel=1e-6)


@pytest.mark.parametrize("term", [losses.bce, losses.dice, losses.focal])
def test_extreme_logits_stay_finite(term):
    for value in (-1e4, 1e4):
        for truth in (0.0, 1.0):
            logits = torch.full((2, 1, 8, 8), value, requires_grad=True)
            loss = term(logits, torch.full((2, 1, 8, 8), truth))
            loss.backward()
            assert torch.isfinite(loss)
            assert torch.isfinite(logits.grad).all()
