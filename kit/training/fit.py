"""The training loop of one stage of one fold (paper section 4.3).

Writes `last.ckpt` and `metrics.csv` after every epoch, and `weights.safetensors` at the end, with
`weights-2.safetensors`, … beside it if the predictions of several networks are averaged. All random numbers depend on
(seed, fold, stage, epoch, index) alone, so a killed stage resumes to the same weights.
"""

import hashlib
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import lightning_fabric
import numpy as np
import pandas as pd
import torch
from torch.utils.data import DataLoader

from kit import networks
from kit.competition.scoring import format_dice
from kit.core.errors import KitError, counted
from kit.core.files import write_text
from kit.core.progress import progress
from kit.data.augmentation import Augmentation
from kit.data.dataset import UNKNOWN_MASK, FoldData, Loader, Samples, ThreadedLoader
from kit.data.sampler import batches, drawn, epoch_order, repeats
from kit.recipes.schema import Recipe
from kit.recipes.stage import Stage
from kit.training import schedules, step
from kit.training.eta import EtaEstimator
from kit.training.hooks import Hook, call_all
from kit.training.schedules import Row
from kit.training.state import TrainState, set_rate
from kit.training.validation import UNKNOWN, validate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """One stage of one fold: recipe, data and output folder."""

    recipe: Recipe
    number: int
    """Number of the stage, from 0."""
    fold: int
    data: FoldData
    """Images and masks at the stage's size."""
    folder: Path
    """Folder of the stage's files."""
    start: Path | None = None
    """Weights to start from; by default the recipe's pretrained ones."""

    @property
    def stage(self) -> Stage:
        """The stage's section of the recipe."""
        return self.recipe.stages[self.number]

    @property
    def seed(self) -> int:
        """Random seed of the stage, different for each member of an ensemble."""
        entropy = [self.recipe.seed, self.fold, self.number]
        if "/" in self.recipe.name:
            entropy.append(int.from_bytes(hashlib.sha256(self.recipe.label.encode()).digest()[:4]))
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    @property
    def name(self) -> str:
        """Name of the stage in the log."""
        return f"fold {self.fold} stage {self.number + 1} ({self.stage.size} px)"

    @cached_property
    def loader(self) -> Loader:
        """Loader of augmented samples."""
        augmentation = Augmentation(self.recipe.augmentation, self.stage.size, self.recipe.magnitudes)
        return Loader(Samples(self.data.cache, augmentation, self.seed, self.data.unknown))

    @cached_property
    def plain_loader(self) -> Loader:
        """Loader of unaugmented samples."""
        return Loader(Samples(self.data.cache))

    def batches(self, fabric: lightning_fabric.Fabric, epoch: int) -> DataLoader | ThreadedLoader:
        """The augmented batches of this process in an epoch, counted from 0."""
        data, share = self.data, self.stage.positives_in(epoch)
        order = epoch_order(data.positive, share, self.seed, epoch, data.extra, self.recipe.extra_weight)
        rows = data.training[order]
        return self.loader.epoch(batches(rows, self.stage.batch_size, fabric.global_rank, fabric.world_size), epoch)


def fit(
    fabric: lightning_fabric.Fabric, task: Task, hooks: Sequence[Hook] = (), clock: EtaEstimator | None = None
) -> None:
    """Trains a stage to its end, resuming from its last checkpoint if there is one.

    Args:
        hooks: Called after every epoch in the first process; a hook that fails is dropped.
        clock: Time estimate of the whole run; by default of this stage alone.

    Raises:
        KitError: there are fewer images than processes, weights or checkpoint cannot be used, there is not enough
            memory, or the training has diverged: loss, gradients or weights are not finite.
    """
    stage, data = task.stage, task.data
    _require_enough_images(fabric, task)
    positive = data.positive[drawn(data.positive, data.extra, task.recipe.extra_weight, task.seed, 0)]
    first, last = (repeats(positive, stage.positives_in(epoch)) for epoch in (0, stage.epochs - 1))
    if few := first or last:
        log.warning("%s: %s", task.name, few)
    pixels = pixels_per_epoch(task.recipe, task.number, data.positive, data.extra)
    clock = clock or EtaEstimator(stage.epochs * pixels)
    clock.begin(stage.epochs, pixels)
    hooks = list(hooks) if fabric.is_global_zero else []
    at_a_time = stage.micro_batch or max(1, stage.batch_size // fabric.world_size)
    with step.translated_errors(task.name, at_a_time, f"stages.{task.number}"):
        state = TrainState(fabric, task.recipe, stage, task.seed, task.start, task.folder / "last.ckpt")
        for row in state.history:
            clock.end_epoch(row["seconds"])
        while not schedules.is_over(stage, state.history):
            began = time.monotonic()
            is_validated = stage.validates(len(state.history))
            row = _train_epoch(fabric, task, state, clock)
            row |= _validate(fabric, task, [state.model], row) if is_validated else UNKNOWN
            row["seconds"] = round(time.monotonic() - began, 2)
            state.end_epoch(row)
            clock.end_epoch(row["seconds"])
            validated = f", validation Dice {format_dice(row)}" if is_validated else ""
            what = f"{_epoch_name(task, row)}: loss {row['loss']:.4f}{validated}"
            log.info("%s in %.0f s%s", what, row["seconds"], clock.format_remaining())
            if fabric.is_global_zero:
                _write_metrics(task.folder, state.history)
            call_all(hooks, state.network, row)
            state.save()
        _finish(fabric, task, state, hooks)
    clock.end()


def pixels_per_epoch(recipe: Recipe, number: int, positive: np.ndarray, extra: int = 0) -> int:
    """Returns the number of pixels that an epoch of a stage computes.

    Args:
        number: Number of the stage, from 0.
        positive: Whether each training image is positive, bool (N,).
        extra: Number of images of extra data, which come last.
    """
    stage = recipe.stages[number]
    share = stage.positives_in(stage.epochs // 2)
    order = epoch_order(positive, share, recipe.seed, 0, extra, recipe.extra_weight)
    return max(1, len(order)) * stage.size**2


def _train_epoch(fabric: lightning_fabric.Fabric, task: Task, state: TrainState, clock: EtaEstimator) -> Row:
    """Trains on all batches of an epoch; returns its row of the metrics."""
    stage, recipe, epoch = task.stage, task.recipe, len(state.history)
    state.seed_epoch(epoch)
    state.network.encoder_frozen = epoch < stage.frozen_epochs
    state.model.train()
    rate = schedules.learning_rate(stage, state.history)
    row: Row = {"epoch": epoch + 1, "weights": "epoch", "learning_rate": rate}
    steps, batches = step.Progress(fabric, state.network), task.batches(fabric, epoch)
    bar = progress(batches, _epoch_name(task, row), unit="step", show=fabric.is_global_zero)
    try:
        for number, (images, masks) in enumerate(bar, 1):
            is_known = masks[:, 0, 0, 0] != UNKNOWN_MASK  # bool (B,)
            images, masks = (part.to(fabric.device, non_blocking=True) for part in (images, masks))  # (B, 1, H, W)
            done = number / len(batches)
            set_rate(state.optimizer, schedules.learning_rate(stage, state.history, done))
            steps.begin_step()
            state.optimizer.zero_grad()
            known = None if is_known.all() else is_known
            loss = step.backward(fabric, state.model, recipe.loss, images, masks, stage.micro_batch, known)
            steps.end_step(loss)
            if recipe.optimizer.clip is not None:
                fabric.clip_gradients(
                    state.model, state.optimizer, max_norm=recipe.optimizer.clip, error_if_nonfinite=False
                )
            state.optimizer.step()
            state.kept.add_step(state.network)
            bar.note(partial(_note, steps, clock, done))
        steps.end()
    except step.NotFiniteError as error:
        raise _diverged(fabric, task, row, error) from None
    if steps.skipped:
        what = "because gradients overflowed in half precision"
        log.info("%s: skipped %s %s", _epoch_name(task, row), counted(steps.skipped, "step"), what)
    return row | {"loss": steps.loss}


def _validate(fabric: lightning_fabric.Fabric, task: Task, models: Sequence[torch.nn.Module], row: Row) -> Row:
    """Validates the mean of some networks' predictions, after the epoch of a row."""
    what = f"{_epoch_name(task, row)}, validation"
    return validate(fabric, models, task.recipe, task.stage, task.data, task.plain_loader, what)


def _finish(fabric: lightning_fabric.Fabric, task: Task, state: TrainState, hooks: list[Hook]) -> None:
    """Writes the final weights of the stage, and their metrics."""
    stage, epochs = task.stage, len(state.history)
    # Sets seed and frozen encoder as in an uninterrupted run, in case an earlier process was killed here.
    state.seed_epoch(epochs)
    state.network.encoder_frozen = stage.frozen_epochs >= epochs
    row: Row = state.history[-1] | {"weights": "final", "loss": None, "seconds": None}
    batches = task.batches(fabric, epochs)
    final = state.final_networks(progress(batches, f"{task.name}, averaging", unit="step", show=fabric.is_global_zero))
    if stage.keep.last is None:  # the last epoch's network has been validated
        row |= _validate(fabric, task, [fabric.setup_module(network) for network in final], row)
    if row["score"] == -math.inf:
        raise _diverged(fabric, task, row, step.NotFiniteError("its predictions are"))
    if fabric.is_global_zero:
        _write_metrics(task.folder, [*state.history, row])
        call_all(hooks, final[0], row)
        for number in range(len(final), 0, -1):  # the first file marks the stage as finished, and is written last
            suffix = f"-{number}" if number > 1 else ""
            networks.save_weights(task.folder / f"weights{suffix}.safetensors", final[number - 1])
    fabric.barrier()


def _require_enough_images(fabric: lightning_fabric.Fabric, task: Task) -> None:
    for what, rows in (("trains", task.data.training), ("validates", task.data.validation)):
        if 0 < len(rows) < fabric.world_size:  # DDP would wait forever for a process without images
            images = counted(len(rows), "image")
            raise KitError(f"fold {task.fold} {what} on {images}, too few for {fabric.world_size} processes")


def _epoch_name(task: Task, row: Row) -> str:
    return f"{task.name} epoch {row['epoch']}/{task.stage.epochs}"


def _note(steps: step.Progress, clock: EtaEstimator, share: float) -> str:
    """Text beside the progress bar: the mean loss so far, and the remaining time."""
    return f"loss {steps.loss:.4f}{clock.format_remaining(share)}"


def _diverged(fabric: lightning_fabric.Fabric, task: Task, row: Row, error: step.NotFiniteError) -> KitError:
    precision = fabric.strategy.precision.precision
    full = "" if precision == "32-true" else ", or precision=32-true"
    what = task.name if row["weights"] == "final" else _epoch_name(task, row)
    return KitError(
        f"{what}: {error} not finite any more, at a learning rate of {row['learning_rate']:g} in {precision}: lower "
        f"stages.{task.number}.learning_rate, or set optimizer.clip=1{full}"
    )


def _write_metrics(folder: Path, rows: Sequence[Row]) -> None:
    write_text(folder / "metrics.csv", pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
