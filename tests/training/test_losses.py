import itertools
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


def test_a_batch_of_negatives_has_a_gradient_against_false_positives():
    logits, masks = batch(empty=range(4))
    losses.dice(logits, masks).backward()
    assert (logits.grad > 0).all()
    low, high = torch.full((1, 1, 16, 16), -9.0), torch.full((1, 1, 16, 16), 9.0)
    assert losses.dice(low, masks[:1]).item() < 0.02
    assert losses.dice(high, masks[:1]).item() > 0.98


def test_dice_of_an_empty_mask_is_the_predicted_share():
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


def slow_dice(logits, masks, power):
    """Equation (2) over all pixels, with areas from powers of the probabilities."""
    p = 1 / (1 + np.exp(-logits.detach().double().numpy().ravel()))
    y = masks.double().numpy().ravel()
    return 1 - 2 * (p * y).sum() / ((p**power).sum() + y.sum()) if y.any() else (p**power).sum() / len(y)


@pytest.mark.parametrize(("areas", "power"), [("sums", 1), ("squares", 2)])
@pytest.mark.parametrize("empty", [(), (1,), range(4)])
def test_dice_over_images_and_over_the_batch(areas, power, empty):
    logits, masks = batch(empty=empty)
    each = [slow_dice(logits[i], masks[i], power) for i in range(4)]
    assert losses.dice(logits, masks, "image", areas).item() == pytest.approx(np.mean(each), rel=1e-5)
    assert losses.dice(logits, masks, "batch", areas).item() == pytest.approx(slow_dice(logits, masks, power), rel=1e-5)
    chosen = Loss(bce=0, dice=2, dice_over="batch", dice_areas=areas)
    assert losses.total(chosen, logits, None, masks).item() == pytest.approx(
        2 * slow_dice(logits, masks, power), rel=1e-5
    )


def slow_lovasz_hinge(scores, truth):
    """The Lovász extension by its definition: 1 - IoU of {error ≥ t} wrong, integrated over all t from 0."""
    errors = 1 - scores * (2 * truth - 1)
    levels = np.unique(np.append(errors[errors > 0], 0))
    value = 0.0
    for low, high in itertools.pairwise(levels):
        wrong = errors >= high
        value += (high - low) * (1 - (truth * ~wrong).sum() / ((truth > 0) | wrong).sum())
    return value


@pytest.mark.parametrize("empty", [(), (2,), range(4)])
def test_lovasz_equals_its_definition(empty):
    logits, masks = batch(size=8, empty=empty)
    expected = []
    for scores, truth in zip(logits.detach().double().numpy(), masks.double().numpy(), strict=True):
        both = slow_lovasz_hinge(scores.ravel(), truth.ravel()), slow_lovasz_hinge(-scores.ravel(), 1 - truth.ravel())
        expected.append(np.mean(both))
    assert losses.lovasz(logits, masks).item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_lovasz_without_foreground_is_the_worst_pixel_and_the_mean_one():
    logits, _ = batch()
    hinge = (1 + logits.detach()).relu().flatten(1)
    expected = ((hinge.amax(1) + hinge.mean(1)) / 2).mean()
    assert losses.lovasz(logits, torch.zeros_like(logits)).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_image_head_can_learn_by_focal_loss_too():
    logits, masks = batch(empty=(0, 2))
    image_logits = torch.tensor([0.3, -0.2, 1.0, 2.0])
    total = losses.total(Loss(bce=0, dice=0, image_focal=3), logits, image_logits, masks)
    right = [
        1 / (1 + math.exp(z if empty else -z)) for z, empty in zip(image_logits.tolist(), [1, 0, 1, 0], strict=True)
    ]
    expected = np.mean([-((1 - p) ** 2) * math.log(p) for p in right])
    assert total.item() == pytest.approx(3 * expected, rel=1e-5)


@pytest.mark.parametrize("term", [losses.bce, losses.dice, losses.focal, losses.lovasz])
def test_extreme_logits_stay_finite(term):
    for value in (-1e4, 1e4):
        for truth in (0.0, 1.0):
            logits = torch.full((2, 1, 8, 8), value, requires_grad=True)
            loss = term(logits, torch.full((2, 1, 8, 8), truth))
            loss.backward()
            assert torch.isfinite(loss)
            assert torch.isfinite(logits.grad).all()


MASK_TERMS = [
    {"bce": 1.0, "dice": 0.0},
    {"bce": 0.0, "dice": 1.0},
    {"bce": 0.0, "dice": 0.0, "focal": 2.0},
    {"bce": 0.0, "dice": 0.0, "lovasz": 0.5},
    {"dice_areas": "squares", "lovasz": 1.0},
    {"bce": 0.0, "dice_over": "batch"},
]


class TestUnknownMasks:
    """For some images, only the label is known."""

    @pytest.mark.parametrize("terms", MASK_TERMS)
    @pytest.mark.parametrize("unknown", [(1,), (0, 3), range(4)])
    def test_unknown_masks_add_no_loss_and_no_gradient(self, terms, unknown):
        logits, masks = batch(empty=(2,))
        known = torch.tensor([index not in unknown for index in range(4)])
        count = int(known.sum())
        masks[~known] = 255
        found = losses.total(Loss(**terms), logits, None, masks, known=known)
        found.backward()
        assert logits.grad is not None
        assert (logits.grad[~known] == 0).all()
        assert (logits.grad[known] != 0).any() == (count > 0)
        if not count:
            assert found.item() == 0
            return
        rest = losses.total(Loss(**terms), logits[known], None, masks[known])
        of_all = 1 if terms.get("dice_over") == "batch" else count / 4
        assert found.item() == pytest.approx(of_all * rest.item(), rel=1e-5)

    def test_unknown_masks_are_positive_for_the_image_head(self):
        logits, masks = batch(empty=(0, 2))
        masks[1] = 255
        image_logits = torch.tensor([0.3, -0.2, 1.0, 2.0])
        known = torch.tensor([True, False, True, True])
        total = losses.total(Loss(bce=0, dice=0, image=1), logits, image_logits, masks, known=known)
        expected = torch.nn.functional.binary_cross_entropy_with_logits(image_logits, torch.tensor([0.0, 1, 0, 1]))
        assert total.item() == pytest.approx(expected.item(), rel=1e-6)
