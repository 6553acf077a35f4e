"""Validation metrics of a network with known outputs."""

from types import SimpleNamespace

import numpy as np
import torch

from kit import recipes
from kit.data.cache import Cache
from kit.data.dataset import FoldData
from kit.training.validation import validate


class Answers(torch.nn.Module):
    """Predicts 0.88 for every pixel, and a pneumothorax in the first of two images."""

    def forward(self, images):
        return torch.full(images.shape, 2.0), torch.tensor([5.0, -5.0])


def measured(evidence):
    masks = np.zeros((2, 32, 32), np.uint8)
    masks[0] = 1
    cache = Cache(np.zeros_like(masks), masks, (b"", b""), np.zeros(2, bool))
    data = FoldData(cache, np.arange(0), np.arange(2), np.zeros(0, bool))
    recipe = recipes.load("small", f"image_evidence={evidence} threshold.binarization=0.5 threshold.removal=0")
    fabric = SimpleNamespace(world_size=1, global_rank=0, device=torch.device("cpu"), all_reduce=lambda x, **_: x)
    return validate(fabric, [Answers()], recipe, recipe.stages[0], data)


def test_validation_uses_image_evidence_as_the_maps_do():
    """As in predicted maps, √(0.88 · 0.993) is above 0.5, and √(0.88 · 0.007) is not."""
    alone, both = measured("false"), measured("true")
    assert (alone["dice"], alone["dice_positives"]) == (0.5, 1.0)
    assert (both["dice"], both["dice_positives"], both["iou"]) == (1.0, 1.0, 1.0)
    assert alone["dice_all_empty"] == both["dice_all_empty"] == 0.5
