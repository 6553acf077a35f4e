"""One stage of one fold: the loop that reads like the algorithm (paper section 4.3).

Leaves `last.ckpt` after every epoch, `metrics.csv`, TensorBoard curves, and at the end `weights.safetensors`.
Everything random follows from (seed, fold, stage, epoch, index), so that a killed stage goes on to the same weights.
"""

import logging
import time
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import lightning_fabric
import numpy as np
import pandas as pd
import torch
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from kit import networks
from kit.competition.scoring import in_words
from kit.core.errors import KitError
from kit.core.files import write_text
from kit.core.progress import progress
from kit.data.augmentation import Augmentation
from kit.data.cache import Cache
from kit.data.dataset import Samples, loader
from kit.data.sampler import batches, epoch_order
from kit.recipes.schema import Recipe, Stage
from kit.training import checkpoint, fabric_setup, losses, metrics
from kit.training.averaging import Average
from kit.training.curves import Curves

log = logging.getLogger(__name__)

UNKNOWN = dict.fromkeys(("validation_loss", "iou", "dice", "dice_positives", "dice_all_empty"))
"""What `validate` finds, of an epoch that is not validated."""


@dataclass(frozen=True)
class FoldData:
    """What one fold trains and validates on, at one size."""

    cache: Cache
    training: np.ndarray
    """Row numbers."""
    validation: np.ndarray
    """Row numbers."""
    positive: np.ndarray
    """bool (len(training),): has pneumothorax."""


def train(
    fabric: lightning_fabric.Fabric,
    recipe: Recipe,
    number: int,
    fold: int,
    data: FoldData,
    folder: Path,
    start: Path | None,
) -> None:
    """Trains stage `number` of `fold` to its end, from its last checkpoint if there is one.

    Args:
        fabric: Devices, precision and processes.
        recipe: The resolved recipe.
        number: Of the stage, from 0.
        fold: Number of the fold; its random numbers are its own.
        data: Images and masks at the stage's size.
        folder: Of the stage's files.
        start: Weights to start from; None: the recipe's pretrained ones.

    Raises:
        KitError: there are fewer images than processes, or a file of weights or checkpoint is unusable.
    """
    stage = recipe.stages[number]
    for what, rows in (("trains", data.training), ("validates", data.validation)):
        if 0 < len(rows) < fabric.world_size:  # DDP would wait for ever for the process without an image
            raise KitError(f"fold {fold} {what} on {len(rows)} images, too few for {fabric.world_size} processes")
    seed = int(np.random.SeedSequence([recipe.seed, fold, number]).generate_state(1)[0])
    torch.manual_seed(seed)
    network = fabric_setup.with_shared_batch_norm(networks.build(recipe.network, pretrained=start is None), fabric)
    if start is not None:
        networks.load_weights(network, start)
    optimizer = torch.optim.Adam(network.parameters(), lr=stage.learning_rate)
    scheduler = _scheduler(stage, optimizer)
    average = Average(stage)
    model, optimizer = fabric.setup(network, optimizer)

    state = checkpoint.restore(
        folder / "last.ckpt", network=network, optimizer=optimizer, scheduler=scheduler, average=average
    )
    history = state.get("history", [])
    first = len(history)
    fabric_setup.set_loss_scale(fabric, state.get("precision", {}))

    augmentation = Augmentation(recipe.augmentation, stage.size)

    def epoch_batches(epoch: int, rank: int, world: int) -> DataLoader:
        order = data.training[epoch_order(data.positive, stage.positive_share, seed, epoch)]
        return loader(Samples(data.cache, augmentation, seed, epoch), batches(order, stage.batch_size, rank, world))

    with _curves(fabric, folder, first) as curves:
        for epoch in range(first, stage.epochs):
            began = time.monotonic()
            torch.manual_seed(seed + epoch)
            network.freeze_encoder(epoch < stage.frozen_epochs)
            rate = optimizer.param_groups[0]["lr"]
            what = f"fold {fold} stage {number + 1} ({stage.size} px) epoch {epoch + 1}/{stage.epochs}"
            model.train()
            total = steps = 0
            for images, masks in progress(
                epoch_batches(epoch, fabric.global_rank, fabric.world_size),
                what,
                unit="step",
                show=fabric.is_global_zero,
            ):
                logits, image_logits = model(images.to(fabric.device, non_blocking=True))
                loss = losses.total(recipe.loss, logits, image_logits, masks.to(fabric.device, non_blocking=True))
                optimizer.zero_grad()
                fabric.backward(loss)
                optimizer.step()
                total, steps = total + loss.detach(), steps + 1
            found = validate(fabric, model, recipe, stage, data) if stage.validates(epoch) else UNKNOWN
            row = {
                "epoch": epoch + 1,
                "weights": "epoch",
                "learning_rate": rate,
                "loss": float(fabric.all_reduce(total / steps)),
                **found,
                "seconds": round(time.monotonic() - began, 2),
            }
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(row["validation_loss"])
            else:
                scheduler.step()
            average.add(network, epoch, row["dice"])
            history.append(row)
            validated = f", validation Dice {in_words(row)}" if stage.validates(epoch) else ""
            log.info("%s: loss %.4f%s in %.0f s", what, row["loss"], validated, row["seconds"])
            if fabric.is_global_zero:
                _record(folder, curves, history)
                checkpoint.save(
                    folder / "last.ckpt",
                    {
                        "network": network.state_dict(),
                        "optimizer": optimizer.state_dict(),
                        "scheduler": scheduler.state_dict(),
                        "average": average.state_dict(),
                        "precision": fabric.strategy.precision.state_dict(),
                        "history": history,
                    },
                )
            fabric.barrier()

        # As after an unbroken training, whatever was killed here: dropout and the frozen encoder.
        torch.manual_seed(seed + stage.epochs)
        network.freeze_encoder(stage.frozen_epochs == stage.epochs)
        average.load_into(network, epoch_batches(stage.epochs, 0, 1))
        row = history[-1] | {"weights": "final", "loss": None, "seconds": None}
        if stage.swa_epochs or stage.best_checkpoints:  # else they are those of the last epoch
            row |= validate(fabric, model, recipe, stage, data)
        if fabric.is_global_zero:
            _record(folder, curves, [*history, row])
            networks.save_weights(folder / "weights.safetensors", network)
    fabric.barrier()


@torch.no_grad()
def validate(
    fabric: lightning_fabric.Fabric, model: torch.nn.Module, recipe: Recipe, stage: Stage, data: FoldData
) -> dict[str, float]:
    """Means over the fold's validation part, at the stage's size and the recipe's threshold.

    Returns:
        `validation_loss`, `iou` and `dice` of all images, `dice_positives` (NaN without any), and `dice_all_empty`, the
        Dice of predicting nothing.
    """
    model.eval()
    world, size = fabric.world_size, max(1, stage.batch_size // fabric.world_size)
    mine = data.validation[fabric.global_rank :: world]
    sums = torch.zeros(6, dtype=torch.float64, device=fabric.device)  # of the images, of which some are positive
    for images, masks in loader(Samples(data.cache), [mine[i : i + size] for i in range(0, len(mine), size)]):
        masks = masks.to(fabric.device)
        logits, image_logits = model(images.to(fabric.device))
        loss = losses.total(recipe.loss, logits, image_logits, masks)
        predicted = metrics.binarize(logits.float().sigmoid(), recipe.threshold)
        dice, iou = metrics.dice_and_iou(predicted, masks.bool())
        positive = masks.flatten(1).amax(1) > 0
        counts = torch.tensor(len(masks), device=fabric.device), positive.sum()
        sums += torch.stack([loss * len(masks), iou.sum(), dice.sum(), dice[positive].sum(), *counts])
    loss, iou, dice, on_positives, count, positives = fabric.all_reduce(sums, reduce_op="sum").tolist()
    count = max(count, 1)
    return {
        "validation_loss": loss / count,
        "iou": iou / count,
        "dice": dice / count,
        "dice_positives": on_positives / positives if positives else float("nan"),
        "dice_all_empty": 1 - positives / count,
    }


def _scheduler(stage: Stage, optimizer: torch.optim.Optimizer) -> LRScheduler:
    if stage.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=stage.epochs, eta_min=stage.final_learning_rate)
    if stage.schedule == "plateau":
        return ReduceLROnPlateau(optimizer, factor=0.2, patience=5)
    return ConstantLR(optimizer, factor=1.0)


def _curves(fabric: lightning_fabric.Fabric, folder: Path, first: int) -> Curves | nullcontext:
    """TensorBoard curves, written by the first process; what a killed epoch has left there is purged."""
    return Curves(folder / "tensorboard", first + 1) if fabric.is_global_zero else nullcontext()


def _record(folder: Path, curves: Curves, history: list[dict]) -> None:
    write_text(folder / "metrics.csv", pd.DataFrame(history).to_csv(index=False, lineterminator="\n"))
    row = history[-1]
    if row["weights"] == "epoch":
        for name in ("learning_rate", "loss", *UNKNOWN):
            if row[name] is not None:
                curves.add_scalar(name, row[name], row["epoch"])
