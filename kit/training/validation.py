"""What a network is worth on the validation part of a fold, at the size of the stage."""

import math
from collections.abc import Sequence
from typing import Any

import lightning_fabric
import torch
from torch import nn

from kit import networks
from kit.core.progress import progress
from kit.data.dataset import FoldData, Loader, Samples
from kit.recipes.schema import Recipe
from kit.recipes.stage import Stage
from kit.training import losses, metrics

UNKNOWN = dict.fromkeys(("validation_loss", "iou", "dice", "dice_positives", "dice_all_empty", "score"))
"""What `validate` finds, of an epoch that is not validated."""


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
    """Means over the images of the validation part, shared by all processes.

    Args:
        models: Whose predictions are averaged; of their losses the mean counts.
        recipe: Whose thresholds and candidates turn probabilities into masks.
        loader: Of its images as they are; None: one of its own.
        what: Title of the progress bar.

    Returns:
        `validation_loss`; `iou` and `dice` by the recipe's thresholds; `dice_positives` (NaN without any), and
        `dice_all_empty`, the Dice of predicting nothing; `score`, which chooses checkpoints: the best
        Dice of the recipe's candidates, or without any `dice` itself; -inf where the loss or a probability is not
        finite.
    """
    for model in models:
        model.eval()
    rule = recipe.threshold
    world = fabric.world_size
    size = stage.micro_batch or max(1, stage.batch_size // world)
    mine = data.validation[fabric.global_rank :: world]
    sums = torch.zeros(7 + len(rule.candidates), dtype=torch.float64, device=fabric.device)
    batches = (loader or Loader(Samples(data.cache))).epoch([mine[i : i + size] for i in range(0, len(mine), size)])
    for images, masks in progress(batches, what, unit="step", show=fabric.global_rank == 0):
        images, masks = images.to(fabric.device), masks.to(fabric.device)
        loss, probabilities = torch.zeros((), device=fabric.device), torch.zeros(masks.shape, device=fabric.device)
        for model in models:
            logits, image_logits = model(images)
            loss += losses.total(recipe.loss, logits, image_logits, masks) / len(models)
            evidence = image_logits if recipe.image_evidence else None
            probabilities += networks.pixel_probabilities(logits, evidence) / len(models)

        truth = masks.bool()
        dice, iou = metrics.dice_and_iou(
            metrics.binarize(probabilities, rule.binarization, rule.removal, rule.top), truth
        )
        others = [
            metrics.dice_and_iou(metrics.binarize(probabilities, binarization, removal, top), truth)[0].sum()
            for top, removal, binarization in rule.candidates
        ]
        positive = masks.flatten(1).amax(1) > 0
        counts = (
            torch.tensor(len(masks), device=fabric.device),
            positive.sum(),
            dice[positive].sum(),
            (~probabilities.isfinite()).sum(),
        )
        sums += torch.stack([*counts, loss * len(masks), iou.sum(), dice.sum(), *others])
    reduced: Any = fabric.all_reduce(sums, reduce_op="sum")
    count, positives, on_positives, nonsense, *totals = reduced.tolist()
    loss, iou, dice, *others = (total / max(count, 1) for total in totals)
    return {
        "validation_loss": loss,
        "iou": iou,
        "dice": dice,
        "dice_positives": on_positives / positives if positives else float("nan"),
        "dice_all_empty": 1 - positives / max(count, 1),
        # Not a number is below every threshold: such a network would score as one that predicts nothing.
        "score": max(others, default=dice) if math.isfinite(loss) and not nonsense else -math.inf,
    }
