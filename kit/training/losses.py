"""BCE + Dice (paper equations 1 to 3), and the terms that the winning systems add.

Masks are 0 or 1, of the logits' shape (B, 1, H, W); every term is a scalar. What each is for empty masks:
- `bce` and `focal` are means over pixels, whatever the truth;
- `dice` without any foreground is the share of the pixels that is predicted;
- `lovasz` without foreground is the largest hinge error of a pixel, the limit that its definition gives, averaged
  with the hinge of the background, which is all of the image.

An image whose mask is not known adds 0 to every term of the masks and counts as one of the images that these are means
over: the others weigh what they weigh in any batch, and parts of a batch add up. A Dice term over the batch is of the
known masks alone.
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

    1 - 2 |X ∩ Y| / (|X| + |Y|) is constant for an empty mask Y. There the loss is |X| / (H · W), the share of the
    image that is predicted, so that images without pneumothorax teach against false positives too. Its gradient is
    as strong as that of BCE; a stronger one makes it pay to predict nothing anywhere.

    Args:
        logits: (B, 1, H, W).
        masks: (B, 1, H, W), 0 or 1.
        over: `image`: of each image, then the mean over images; `batch`: of all pixels of the batch at once, so that
            the large masks of a batch outweigh the small ones and a batch is empty only where all its images are.
        areas: |X| is the sum of the probabilities (`sums`) or of their squares (`squares`).

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
    """(4, N) of `_areas` → scalar."""
    area, overlap, true_area, pixels = areas
    full = 1 - 2 * overlap / (area + true_area).clamp(min=1e-6)
    return torch.where(true_area > 0, full, area / pixels.clamp(min=1)).mean()  # no pixel of no known mask


def areas_of_batch(
    weights: Loss, logits: torch.Tensor, masks: torch.Tensor, known: torch.Tensor | None = None
) -> torch.Tensor:
    """What a Dice loss over the batch is made of, for `total`: the areas of several parts of a batch add up.

    Args:
        logits: (B, 1, H, W).
        masks: (B, 1, H, W), 0 or 1.
        known: bool (B,), as for `total`.

    Returns:
        (4, 1).
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
    """Symmetric Lovász hinge: the mean of the hinge of the mask and of that of its complement, mean over images.

    The hinge is the convex surrogate of 1 - IoU by Berman et al. (2018): errors 1 - z · (±1) in falling order, each
    weighted by what it adds to 1 - IoU when it becomes wrong after all larger ones.

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
    # 1 - IoU when the first k + 1 pixels of this order are wrong, and what the k-th adds to it.
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
    """The weighted sum of a recipe's terms, in float32.

    Of a part of a batch, the mean over the parts has the value and the gradient of the whole batch.

    Args:
        logits: Of the masks, (B, 1, H, W).
        image_logits: Of "has pneumothorax", (B,), or None without that head.
        masks: (B, 1, H, W), 0 or 1; above that where not known, which says that there is one.
        whole: Sum of the `areas_of_batch` of all parts, for a Dice loss over the batch; None: this is all of it.
        share: Of the batch, in (0, 1].
        known: bool (B,), on the CPU so that no device is waited for: whose mask is known; None: all.

    Returns:
        Scalar.
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
        if weight:  # the sum of no logits is 0, of which every weight has a gradient, as other processes wait for it
            terms.append(weight * known_share * term(logits, masks) if len(logits) else logits.sum())
    if weights.dice and over_batch:
        areas = _areas(logits, masks, "batch", weights.dice_areas)
        if whole is None:
            of_dice = _dice_of(areas)
        else:  # the value is the whole's; of its gradient each part has its own areas' share, which a mean would shrink
            of_dice = _dice_of(areas + (whole - areas.detach()))
            of_dice = of_dice.detach() + (of_dice - of_dice.detach()) / share
        terms.append(weights.dice * of_dice)
    for weight, term in ((weights.image, bce), (weights.image_focal, focal)):
        if weight:
            assert image_logits is not None, "a recipe that weighs them has the head"
            terms.append(weight * term(image_logits.float(), positive))
    return torch.stack(terms).sum()
