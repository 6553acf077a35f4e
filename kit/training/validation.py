"""Validation of an epoch: the paper's IoU (equation 4) and the competition's Dice (equation 5), at the stage's size.

For a predicted set of pixels X and the truth Y of one image,

    IoU = |X ∩ Y| / |X ∪ Y|,    Dice = 2 |X ∩ Y| / (|X| + |Y|),

both 1 if X and Y are empty and 0 if only one of them is. The paper leaves IoU of empty masks open; with the
competition's convention for both, IoU = Dice / (2 - Dice) holds for each image. Reported are means over images.
"""

import math
from collections.abc import Sequence
from typing import Any

import lightning_fabric
import torch
from torch import nn

from kit import networks
from kit.competition.scoring import FULL_AREA
from kit.core.progress import progress
from kit.data.dataset import FoldData, Loader, Samples
from kit.recipes.schema import Recipe
from kit.recipes.stage import Stage
from kit.training import losses

UNKNOWN = dict.fromkeys(("validation_loss", "iou", "dice", "dice_positives", "dice_all_empty", "score"))
"""The metrics of `validate`, for an epoch that is not validated."""


@torch.no_grad()
def validate(
    fabric: lightning_fabric.Fabric,
    models: Sequence[nn.Module],
    recipe: Recipe,
    stage: Stage,
    data: FoldData,
    loader: Loader | None = None,
    what: str = "validation",
) -> dict[str, float]:
    """Computes means over the validation images, which all processes share.

    Args:
        models: Networks whose predictions are averaged; the loss is the mean of their losses.
        recipe: Recipe whose thresholds and candidates turn probabilities into masks.
        loader: Loader of unaugmented images; a new one by default.
        what: Title of the progress bar.

    Returns:
        `validation_loss`; `iou` and `dice` by the recipe's thresholds; `dice_positives` (NaN without positives);
        `dice_all_empty`, the Dice of predicting nothing; and `score`, which chooses checkpoints: the best Dice of the
        recipe's candidates, or `dice` if it has none; -inf if the loss or a probability is not finite.
    """
    for model in models:
        model.eval()
    rule = recipe.threshold
    world = fabric.world_size
    at_a_time = stage.micro_batch or max(1, stage.batch_size // world)
    rows = data.validation[fabric.global_rank :: world]
    # Four counts and sums, then those that are divided by the number of images: loss, IoU, Dice, and each candidate's.
    sums = torch.zeros(7 + len(rule.candidates), dtype=torch.float64, device=fabric.device)
    parts = [rows[first : first + at_a_time] for first in range(0, len(rows), at_a_time)]
    batches = (loader or Loader(Samples(data.cache))).epoch(parts)
    for images, masks in progress(batches, what, unit="step", show=fabric.global_rank == 0):
        images, masks = images.to(fabric.device), masks.to(fabric.device)
        loss, probabilities = torch.zeros((), device=fabric.device), torch.zeros(masks.shape, device=fabric.device)
        for model in models:
            logits, image_logits = model(images)
            loss += losses.total(recipe.loss, logits, image_logits, masks) / len(models)
            evidence = image_logits if recipe.image_evidence else None
            probabilities += networks.pixel_probabilities(logits, evidence) / len(models)

        truth = masks.bool()
        dice, iou = dice_and_iou(binarize(probabilities, rule.binarization, rule.removal, rule.top), truth)
        candidates = [
            dice_and_iou(binarize(probabilities, binarization, removal, top), truth)[0].sum()
            for top, removal, binarization in rule.candidates
        ]
        positive = masks.flatten(1).amax(1) > 0
        counts = (
            torch.tensor(len(masks), device=fabric.device),
            positive.sum(),
            dice[positive].sum(),
            (~probabilities.isfinite()).sum(),
        )
        sums += torch.stack([*counts, loss * len(masks), iou.sum(), dice.sum(), *candidates])
    reduced: Any = fabric.all_reduce(sums, reduce_op="sum")
    count, positives, dice_sum, not_finite, *totals = reduced.tolist()
    loss, iou, dice, *candidates = (total / max(count, 1) for total in totals)
    return {
        "validation_loss": loss,
        "iou": iou,
        "dice": dice,
        "dice_positives": dice_sum / positives if positives else float("nan"),
        "dice_all_empty": 1 - positives / max(count, 1),
        # NaN is below every threshold: such a network would score like one that predicts nothing.
        "score": max(candidates, default=dice) if math.isfinite(loss) and not not_finite else -math.inf,
    }


def binarize(probabilities: torch.Tensor, binarization: float, removal: int, top: float | None = None) -> torch.Tensor:
    """Applies the rules `image` and `triplet` to a batch, on its device: {p ≥ binarization}, or an empty mask.

    Args:
        probabilities: (B, 1, H, W) in [0, 1].
        binarization: In [0, 1].
        removal: A mask is empty if fewer pixels, of a 1024×1024 image, have p ≥ `top`.
        top: In [0, 1]; by default `binarization`.

    Returns:
        bool (B, 1, H, W).
    """
    masks = probabilities >= binarization
    above_top = masks if top is None else probabilities >= top
    areas = above_top.flatten(1).sum(1) * FULL_AREA // masks[0].numel()  # (B,)
    return masks & (areas >= removal)[:, None, None, None]


def dice_and_iou(predicted: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes Dice and IoU of each image.

    Args:
        predicted: bool (B, 1, H, W).
        truth: bool (B, 1, H, W).

    Returns:
        Two float tensors (B,) in [0, 1].

    Raises:
        ValueError: the shapes differ, and would be broadcast.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"masks of shapes {tuple(predicted.shape)} and {tuple(truth.shape)} cannot be compared")
    overlap = (predicted & truth).flatten(1).sum(1)  # (B,)
    areas = predicted.flatten(1).sum(1) + truth.flatten(1).sum(1)
    empty = areas == 0
    dice = torch.where(empty, 1.0, 2 * overlap / areas.clamp(min=1))
    iou = torch.where(empty, 1.0, overlap / (areas - overlap).clamp(min=1))
    return dice, iou
