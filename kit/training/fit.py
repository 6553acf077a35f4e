"""One stage of one fold: the loop that reads like the algorithm (paper section 4.3).

Leaves `last.ckpt` and `metrics.csv` after every epoch, and at the end `weights.safetensors`; beside it
`weights-2.safetensors`, … where the predictions of several networks are averaged. Everything random follows from
(seed, fold, stage, epoch, index), so that a killed stage goes on to the same weights.
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
from kit.core.errors import KitError
from kit.core.files import write_text
from kit.core.progress import progress
from kit.data.augmentation import Augmentation
from kit.data.dataset import UNKNOWN_MASK, FoldData, Loader, Samples, Threaded
from kit.data.sampler import batches, drawn, epoch_order, repeats
from kit.recipes.schema import Recipe
from kit.recipes.stage import Stage
from kit.training import optimizers, schedules, step
from kit.training.eta import EtaEstimator
from kit.training.hooks import Hook, call_all
from kit.training.state import Row, TrainState
from kit.training.validation import UNKNOWN, validate

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """One stage of one fold: what to train, on what, and where its files go."""

    recipe: Recipe
    number: int
    """Of the stage, from 0."""
    fold: int
    """Its random numbers are its own."""
    data: FoldData
    """Images and masks at the stage's size."""
    folder: Path
    """Of the stage's files."""
    start: Path | None = None
    """Weights to start from; None: the recipe's pretrained ones."""

    @property
    def stage(self) -> Stage:
        """The recipe's section."""
        return self.recipe.stages[self.number]

    @property
    def seed(self) -> int:
        """Of all that is drawn; each member of an ensemble draws its own."""
        entropy = [self.recipe.seed, self.fold, self.number]
        if "/" in self.recipe.name:
            entropy.append(int.from_bytes(hashlib.sha256(self.recipe.label.encode()).digest()[:4]))
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])

    @property
    def name(self) -> str:
        """As the log has it."""
        return f"fold {self.fold} stage {self.number + 1} ({self.stage.size} px)"

    @cached_property
    def loader(self) -> Loader:
        """Of augmented samples."""
        augmentation = Augmentation(self.recipe.augmentation, self.stage.size, self.recipe.magnitudes)
        return Loader(Samples(self.data.cache, augmentation, self.seed, self.data.unknown))

    @cached_property
    def plain_loader(self) -> Loader:
        """Of samples as they are."""
        return Loader(Samples(self.data.cache))

    def batches(self, fabric: lightning_fabric.Fabric, epoch: int) -> DataLoader | Threaded:
        """The augmented batches of this process in an epoch, from 0."""
        data, share = self.data, self.stage.positives_in(epoch)
        order = epoch_order(data.positive, share, self.seed, epoch, data.extra, self.recipe.extra_weight)
        rows = data.training[order]
        return self.loader.epoch(batches(rows, self.stage.batch_size, fabric.global_rank, fabric.world_size), epoch)


def fit(
    fabric: lightning_fabric.Fabric, task: Task, hooks: Sequence[Hook] = (), clock: EtaEstimator | None = None
) -> None:
    """Trains a stage to its end, from its last checkpoint if there is one.

    Args:
        hooks: Told of every epoch, in the first process; one that fails is left out from there on.
        clock: Of the whole run; None: the stage stands alone.

    Raises:
        KitError: there are fewer images than processes, a file of weights or checkpoint is unusable, the memory does
            not suffice, or the training has diverged: its loss, gradients or weights are not finite.
    """
    stage, data = task.stage, task.data
    _require_enough_images(fabric, task)
    positive = data.positive[drawn(data.positive, data.extra, task.recipe.extra_weight, task.seed, 0)]
    first, last = (repeats(positive, stage.positives_in(epoch)) for epoch in (0, stage.epochs - 1))
    if few := first or last:
        log.warning("%s: %s", task.name, few)
    work = pixels(task.recipe, task.number, data.positive, data.extra)
    clock = clock or EtaEstimator(stage.epochs * work)
    clock.begin(stage.epochs, work)
    hooks = list(hooks) if fabric.is_global_zero else []
    images = stage.micro_batch or max(1, stage.batch_size // fabric.world_size)
    with step.translated_errors(task.name, images, f"stages.{task.number}"):
        state = TrainState(fabric, task.recipe, stage, task.seed, task.start, task.folder / "last.ckpt")
        for row in state.history:
            clock.end_epoch(row["seconds"])
        while not schedules.is_over(stage, state.history):
            began = time.monotonic()
            is_validated = stage.validates(len(state.history))
            row = _train_epoch(fabric, task, state, clock)
            row |= _validate(fabric, task, [state.model], row) if is_validated else UNKNOWN
            row["seconds"] = round(time.monotonic() - began, 2)
            state.take(row)
            clock.end_epoch(row["seconds"])
            validated = f", validation Dice {format_dice(row)}" if is_validated else ""
            what = f"{_named(task, row)}: loss {row['loss']:.4f}{validated}"
            log.info("%s in %.0f s%s", what, row["seconds"], clock.format_remaining())
            if fabric.is_global_zero:
                _write_metrics(task.folder, state.history)
            call_all(hooks, state.network, row)
            state.save()
        _finish(fabric, task, state, hooks)
    clock.end()


def pixels(recipe: Recipe, number: int, positive: np.ndarray, extra: int = 0) -> int:
    """What an epoch of a stage computes: the pixels of its images.

    Args:
        number: Of the stage, from 0.
        positive: bool (N,), of the training part.
        extra: How many of these are of extra data, the last.
    """
    stage = recipe.stages[number]
    share = stage.positives_in(stage.epochs // 2)
    order = epoch_order(positive, share, recipe.seed, 0, extra, recipe.extra_weight)
    return max(1, len(order)) * stage.size**2


def _train_epoch(fabric: lightning_fabric.Fabric, task: Task, state: TrainState, clock: EtaEstimator) -> Row:
    """One pass over the training part; its row of the metrics."""
    stage, recipe, epoch = task.stage, task.recipe, len(state.history)
    state.draw(epoch)
    state.network.freeze_encoder(epoch < stage.frozen_epochs)
    state.model.train()
    rate = schedules.learning_rate(stage, state.history)
    row: Row = {"epoch": epoch + 1, "weights": "epoch", "learning_rate": rate}
    steps, batches = step.Progress(fabric, state.network), task.batches(fabric, epoch)
    bar = progress(batches, _named(task, row), unit="step", show=fabric.is_global_zero)
    try:
        for number, (images, masks) in enumerate(bar, 1):
            known = masks[:, 0, 0, 0] != UNKNOWN_MASK  # bool (B,)
            images, masks = (part.to(fabric.device, non_blocking=True) for part in (images, masks))  # (B, 1, H, W)
            done = number / len(batches)
            optimizers.set_rate(state.optimizer, schedules.learning_rate(stage, state.history, done))
            steps.begin_step()
            state.optimizer.zero_grad()
            unsure = None if known.all() else known
            loss = step.backward(fabric, state.model, recipe.loss, images, masks, stage.micro_batch, unsure)
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
        what = "steps skipped in half precision, whose gradients overflowed"
        log.info("%s: %d %s", _named(task, row), steps.skipped, what)
    return row | {"loss": steps.loss}


def _validate(fabric: lightning_fabric.Fabric, task: Task, models: Sequence[torch.nn.Module], row: Row) -> Row:
    """What some networks are worth together on the validation part, after the epoch of a row."""
    what = f"{_named(task, row)}, validation"
    return validate(fabric, models, task.recipe, task.stage, task.data, task.plain_loader, what)


def _finish(fabric: lightning_fabric.Fabric, task: Task, state: TrainState, hooks: list[Hook]) -> None:
    """Writes the weights that the stage leaves, and what they are worth together."""
    stage, epochs = task.stage, len(state.history)
    # The state that an uninterrupted run has here, where an earlier process was killed: seed and frozen encoder.
    state.draw(epochs)
    state.network.freeze_encoder(stage.frozen_epochs >= epochs)
    row: Row = state.history[-1] | {"weights": "final", "loss": None, "seconds": None}
    batches = task.batches(fabric, epochs)
    left = state.final_networks(progress(batches, f"{task.name}, averaging", unit="step", show=fabric.is_global_zero))
    if stage.keep.last is None:  # else it is the last epoch's network
        row |= _validate(fabric, task, [fabric.setup_module(network) for network in left], row)
    if row["score"] == -math.inf:
        raise _diverged(fabric, task, row, step.NotFiniteError("its predictions are"))
    if fabric.is_global_zero:
        _write_metrics(task.folder, [*state.history, row])
        call_all(hooks, left[0], row)
        for number in range(len(left), 0, -1):  # the first file says that the stage is done, and comes last
            suffix = f"-{number}" if number > 1 else ""
            networks.save_weights(task.folder / f"weights{suffix}.safetensors", left[number - 1])
    fabric.barrier()


def _require_enough_images(fabric: lightning_fabric.Fabric, task: Task) -> None:
    for what, rows in (("trains", task.data.training), ("validates", task.data.validation)):
        if 0 < len(rows) < fabric.world_size:  # DDP would wait for ever for the process without an image
            raise KitError(f"fold {task.fold} {what} on {len(rows)} images, too few for {fabric.world_size} processes")


def _named(task: Task, row: Row) -> str:
    return f"{task.name} epoch {row['epoch']}/{task.stage.epochs}"


def _note(steps: step.Progress, clock: EtaEstimator, share: float) -> str:
    """What stands beside the bar: the mean loss so far, and how long the training will take."""
    return f"loss {steps.loss:.4f}{clock.format_remaining(share)}"


def _diverged(fabric: lightning_fabric.Fabric, task: Task, row: Row, error: step.NotFiniteError) -> KitError:
    precision = fabric.strategy.precision.precision
    full = "" if precision == "32-true" else ", or precision=32-true"
    what = task.name if row["weights"] == "final" else _named(task, row)
    return KitError(
        f"{what}: {error} not finite any more, at a learning rate of {row['learning_rate']:g} in {precision}: lower "
        f"stages.{task.number}.learning_rate, or set optimizer.clip=1{full}"
    )


def _write_metrics(folder: Path, rows: Sequence[Row]) -> None:
    write_text(folder / "metrics.csv", pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
