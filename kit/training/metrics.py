"""What an epoch is judged by: the paper's IoU (equation 4) and the competition's Dice (equation 5).

For a predicted set of pixels X and the truth Y of one image,

    IoU = |X ∩ Y| / |X ∪ Y|,    Dice = 2 |X ∩ Y| / (|X| + |Y|),

both 1 where X and Y are empty and 0 where only one of them is. The paper leaves IoU of empty masks open; with the
competition's convention for both, IoU = Dice / (2 - Dice) holds for each image. Reported are means over images.

`binarize` is the rules `image` and `triplet` for a batch on the device that trains.
"""

import torch

from kit.competition.scoring import FULL_AREA


def binarize(probabilities: torch.Tensor, binarization: float, removal: int, top: float | None = None) -> torch.Tensor:
    """{p ≥ binarization}, emptied where fewer than `removal` pixels of a 1024×1024 image have p ≥ `top`.

    Args:
        probabilities: (B, 1, H, W) in [0, 1].
        binarization: In [0, 1].
        removal: In pixels of a 1024×1024 image.
        top: In [0, 1]; None: as `binarization`.

    Returns:
        bool (B, 1, H, W).
    """
    masks = probabilities >= binarization
    sure = masks if top is None else probabilities >= top
    areas = sure.flatten(1).sum(1) * FULL_AREA // masks[0].numel()  # (B,)
    return masks & (areas >= removal)[:, None, None, None]


def dice_and_iou(predicted: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Dice and IoU of each image.

    Args:
        predicted: bool (B, 1, H, W).
        truth: bool (B, 1, H, W).

    Returns:
        Two float tensors (B,) in [0, 1].

    Raises:
        ValueError: the shapes differ; tensors would be broadcast to more pixels than there are.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"masks of shapes {tuple(predicted.shape)} and {tuple(truth.shape)} cannot be compared")
    overlap = (predicted & truth).flatten(1).sum(1)  # (B,)
    areas = predicted.flatten(1).sum(1) + truth.flatten(1).sum(1)
    empty = areas == 0
    dice = torch.where(empty, 1.0, 2 * overlap / areas.clamp(min=1))
    iou = torch.where(empty, 1.0, overlap / (areas - overlap).clamp(min=1))
    return dice, iou
