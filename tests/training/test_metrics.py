import numpy as np
import torch

from kit.recipes.schema import Threshold
from kit.training.metrics import binarize, dice_and_iou


def test_dice_and_iou_against_sets():
    random = np.random.default_rng(0)
    predicted, truth = random.random((6, 1, 8, 8)) > 0.6, random.random((6, 1, 8, 8)) > 0.6
    predicted[0] = truth[0] = False
    truth[1] = False
    dice, iou = dice_and_iou(torch.tensor(predicted), torch.tensor(truth))
    for i in range(6):
        x, y = set(np.flatnonzero(predicted[i])), set(np.flatnonzero(truth[i]))
        assert dice[i].item() == np.float32(2 * len(x & y) / (len(x) + len(y)) if x | y else 1)
        assert iou[i].item() == np.float32(len(x & y) / len(x | y) if x | y else 1)


def test_removal_counts_pixels_of_a_full_size_image():
    probabilities = torch.zeros(2, 1, 128, 128)
    probabilities[0, 0, :4, :8] = 0.5  # 32 pixels of 128², 2048 of 1024²
    probabilities[1, 0, :4, :8] = 0.5
    probabilities[1, 0, 0, 0] = 0.49
    kept = binarize(probabilities, Threshold(binarization=0.5, removal=2048)).flatten(1).sum(1)
    assert kept.tolist() == [32, 0]


def test_top_says_from_which_probability_on_the_area_counts():
    probabilities = torch.full((2, 1, 128, 128), 0.4)
    probabilities[:, 0, :4, :8] = torch.tensor([0.7, 0.69])[:, None, None]  # 2048 pixels of 1024²
    kept = binarize(probabilities, Threshold(binarization=0.3, removal=2048, top=0.7)).flatten(1).sum(1)
    assert kept.tolist() == [128 * 128, 0]
