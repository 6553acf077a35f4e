"""What an epoch is judged by: IoU (paper equation 4) and the competition's Dice (equation 5), image by image."""

import torch

from kit.recipe import Threshold

FULL_AREA = 1024 * 1024


def binarize(probabilities: torch.Tensor, threshold: Threshold) -> torch.Tensor:
    """Masks of the `image` rule: {p ≥ binarization}, emptied below `removal` pixels of a 1024×1024 image.

    Args:
        probabilities: (B, 1, H, W) in [0, 1].
        threshold: The recipe's section.

    Returns:
        bool (B, 1, H, W).
    """
    masks = probabilities >= threshold.binarization
    areas = masks.flatten(1).sum(1) * (FULL_AREA / masks[0].numel())  # (B,)
    return masks & (areas >= threshold.removal)[:, None, None, None]


def dice_and_iou(predicted: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both of each image; 1 where prediction and truth are empty.

    Args:
        predicted: bool (B, 1, H, W).
        truth: bool (B, 1, H, W).

    Returns:
        Two float tensors (B,) in [0, 1].
    """
    overlap = (predicted & truth).flatten(1).sum(1)  # (B,)
    areas = predicted.flatten(1).sum(1) + truth.flatten(1).sum(1)
    empty = areas == 0
    dice = torch.where(empty, 1.0, 2 * overlap / areas.clamp(min=1))
    iou = torch.where(empty, 1.0, overlap / (areas - overlap).clamp(min=1))
    return dice, iou
