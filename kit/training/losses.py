"""BCE + Dice (paper equations 1 to 3), and the terms that the winning systems add."""

import torch
from torch.nn import functional as F

from kit.recipes.schema import Loss

FOCAL_GAMMA = 2.0


def bce(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy, mean over pixels (equation 1). Both (B, 1, H, W) → scalar."""
    return F.binary_cross_entropy_with_logits(logits, masks)


def dice(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Dice loss of each image, mean over images (equation 2), with probabilities as the predicted set.

    1 - 2 |X ∩ Y| / (|X| + |Y|) is constant for an empty mask Y. There the loss is |X| / (H · W), the share of the
    image that is predicted, so that images without pneumothorax teach against false positives too. Its gradient is
    as strong as that of BCE; a stronger one makes it pay to predict nothing anywhere.

    Args:
        logits: (B, 1, H, W).
        masks: (B, 1, H, W), 0 or 1.

    Returns:
        Scalar in [0, 1].
    """
    predicted = logits.sigmoid().flatten(1)  # (B, HW)
    truth = masks.flatten(1)  # (B, HW)
    overlap, area, true_area = (predicted * truth).sum(1), predicted.sum(1), truth.sum(1)  # (B,)
    full = 1 - 2 * overlap / (area + true_area).clamp(min=1e-6)
    return torch.where(true_area > 0, full, area / truth.shape[1]).mean()


def focal(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Focal loss, gamma 2, mean over pixels: cross-entropy weighted by (1 - p of the true class)². → scalar."""
    entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    return ((1 - torch.exp(-entropy)) ** FOCAL_GAMMA * entropy).mean()


def total(weights: Loss, logits: torch.Tensor, image_logits: torch.Tensor | None, masks: torch.Tensor) -> torch.Tensor:
    """The weighted sum of a recipe's terms, in float32.

    Args:
        weights: The recipe's section.
        logits: Of the masks, (B, 1, H, W).
        image_logits: Of "has pneumothorax", (B,), or None without that head.
        masks: (B, 1, H, W), 0 or 1.

    Returns:
        Scalar.
    """
    logits, masks = logits.float(), masks.float()
    terms = [
        weight * term(logits, masks)
        for weight, term in ((weights.bce, bce), (weights.dice, dice), (weights.focal, focal))
        if weight
    ]
    if weights.image:
        positive = masks.flatten(1).amax(1)  # (B,)
        terms.append(weights.image * F.binary_cross_entropy_with_logits(image_logits.float(), positive))
    return torch.stack(terms).sum()
