"""BCE + Dice (paper equations 1 to 3), and the terms that the winning systems add.

Masks are 0 or 1, of the logits' shape (B, 1, H, W); every term is a scalar. For empty masks:
- `bce` and `focal` are means over pixels, as for any mask;
- `dice` without any foreground is the share of the pixels that is predicted;
- `lovasz` without foreground is the largest hinge error of a pixel, the limit that its definition gives, averaged
  with the hinge of the background, which is all of the image.

An image whose mask is unknown adds 0 to every term of the masks, but counts in the means over images: the other images
have the same weight as in any batch, and micro-batches add up. A Dice term over the batch uses the known masks alone.
"""

from functools import partial

import torch
from torch.nn import functional as F

from kit.recipes.schema import Loss

FOCAL_GAMMA = 2.0


def bce(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy, mean over pixels (equation 1)."""
    return F.binary_cross_entropy_with_logits(logits, masks)


def dice(logits: torch.Tensor, masks: torch.Tensor, over: str = "image", areas: str = "sums") -> torch.Tensor:
    """Dice loss (equation 2), with probabilities as the predicted set.

    1 - 2 |X ∩ Y| / (|X| + |Y|) is constant for an empty mask Y. For an empty mask the loss is |X| / (H · W), the share
    of the image that is predicted, so that images without pneumothorax train against false positives, too. Its gradient
    is as strong as that of BCE; with a stronger one, the network learns to predict nothing anywhere.

    Args:
        logits: (B, 1, H, W).
        masks: (B, 1, H, W), 0 or 1.
        over: `image` for the mean over images; `batch` for all pixels of the batch at once, so that large masks
            outweigh small ones, and a batch is empty only if all its masks are.
        areas: Whether |X| is the sum of the probabilities (`sums`) or of their squares (`squares`).

    Returns:
        Scalar in [0, 1].
    """
    return _dice_of(_areas(logits, masks, over, areas))


def _areas(logits: torch.Tensor, masks: torch.Tensor, over: str, areas: str) -> torch.Tensor:
    """|X|, |X ∩ Y|, |Y| and the number of pixels, (4, B) over images or (4, 1) over the batch."""
    predicted, truth = (
        values.flatten(1) if over == "image" else values.flatten()[None] for values in (logits.sigmoid(), masks)
    )  # (B, HW) or (1, BHW)
    area = (predicted if areas == "sums" else predicted.square()).sum(1)
    pixels = torch.full_like(area, truth.shape[1])
    return torch.stack([area, (predicted * truth).sum(1), truth.sum(1), pixels])


def _dice_of(areas: torch.Tensor) -> torch.Tensor:
    """Areas (4, N) by `_areas` → scalar."""
    area, overlap, true_area, pixels = areas
    full = 1 - 2 * overlap / (area + true_area).clamp(min=1e-6)
    return torch.where(true_area > 0, full, area / pixels.clamp(min=1)).mean()  # 0 pixels if no mask is known


def areas_of_batch(
    weights: Loss, logits: torch.Tensor, masks: torch.Tensor, known: torch.Tensor | None = None
) -> torch.Tensor:
    """Returns the areas of a Dice loss over the batch, (4, 1), for `total`; those of micro-batches add up.

    Args:
        logits: (B, 1, H, W).
        masks: (B, 1, H, W), 0 or 1.
        known: bool (B,), as for `total`.
    """
    logits, masks = logits.float(), masks.float()
    if known is not None:
        logits, masks = logits[known], masks[known]
    return _areas(logits, masks, "batch", weights.dice_areas)


def focal(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Focal loss, gamma 2, mean over pixels, or images: cross-entropy weighted by (1 - p of the true class)²."""
    entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none")
    return ((1 - torch.exp(-entropy)) ** FOCAL_GAMMA * entropy).mean()


def lovasz(logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Symmetric Lovász hinge: mean of the hinges of the mask and of its complement, mean over images.

    The hinge is the convex surrogate of 1 - IoU by Berman et al. (2018): errors 1 - z · (±1) in descending order, each
    weighted by the increase of 1 - IoU when the pixel becomes wrong after all pixels with larger errors.

    Args:
        logits: (B, 1, H, W).
        masks: (B, 1, H, W), 0 or 1.
    """
    scores, truth = logits.flatten(1), masks.flatten(1)  # (B, HW)
    return (_lovasz_hinge(scores, truth) + _lovasz_hinge(-scores, 1 - truth)) / 2


def _lovasz_hinge(scores: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """(B, N) and (B, N) → scalar."""
    errors, order = (1 - scores * (2 * truth - 1)).sort(dim=1, descending=True)
    truth = truth.gather(1, order)
    total = truth.sum(1, keepdim=True)
    # 1 - IoU when the first k + 1 pixels of this order are wrong; its differences are the weights.
    union = total + (1 - truth).cumsum(1)
    jaccard = 1 - (total - truth.cumsum(1)) / union
    weights = torch.diff(jaccard, dim=1, prepend=torch.zeros_like(total))
    return (errors.relu() * weights).sum(1).mean()


def total(
    weights: Loss,
    logits: torch.Tensor,
    image_logits: torch.Tensor | None,
    masks: torch.Tensor,
    whole: torch.Tensor | None = None,
    share: float = 1.0,
    known: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the weighted sum of a recipe's terms, a scalar in float32.

    The mean over the micro-batches of a batch has the value and the gradient of the whole batch.

    Args:
        logits: Logits of the masks, (B, 1, H, W).
        image_logits: Logits of "has pneumothorax", (B,); None without that head.
        masks: (B, 1, H, W), 0 or 1; larger values mark an unknown mask of a positive image.
        whole: Sum of `areas_of_batch` over all micro-batches, for a Dice loss over the batch; None for a single one.
        share: This micro-batch's share of the batch, in (0, 1].
        known: Whether each mask is known, bool (B,), on the CPU so that no device is waited for; by default all are.
    """
    logits, masks = logits.float(), masks.float()
    positive = masks.flatten(1).amax(1).clamp(max=1)  # (B,)
    known_share = 1.0
    if known is not None:
        logits, masks, known_share = logits[known], masks[known], float(known.float().mean())
    over_batch = weights.dice_over == "batch"
    of_image_masks = (
        (weights.bce, bce),
        (weights.focal, focal),
        (weights.lovasz, lovasz),
        (0 if over_batch else weights.dice, partial(dice, areas=weights.dice_areas)),
    )
    terms = []
    for weight, term in of_image_masks:
        if weight:  # without a known mask 0, but with a gradient for every weight, which other processes wait for
            terms.append(weight * known_share * term(logits, masks) if len(logits) else logits.sum())
    if weights.dice and over_batch:
        areas = _areas(logits, masks, "batch", weights.dice_areas)
        if whole is None:
            of_dice = _dice_of(areas)
        else:
            # The value is that of the whole batch. The gradient goes through the areas of this part alone, and is
            # divided by `share`, by which the mean over the parts multiplies it.
            of_dice = _dice_of(areas + (whole - areas.detach()))
            of_dice = of_dice.detach() + (of_dice - of_dice.detach()) / share
        terms.append(weights.dice * of_dice)
    for weight, term in ((weights.image, bce), (weights.image_focal, focal)):
        if weight:
            assert image_logits is not None, "a recipe with an image loss has the head"
            terms.append(weight * term(image_logits.float(), positive))
    return torch.stack(terms).sum()
