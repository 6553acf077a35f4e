"""One stage of one fold: the loop that reads like the algorithm (paper section 4.3).

Leaves `last.ckpt` after every epoch, `metrics.csv`, TensorBoard curves, and at the end `weights.safetensors`; beside
it `weights-2.safetensors`, … where the predictions of several networks are averaged. Everything random follows from
(seed, fold, stage, epoch, index), so that a killed stage goes on to the same weights.
"""

import copy
import hashlib
import logging
import math
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import lightning_fabric
import numpy as np
import pandas as pd
import torch

from kit import networks
from kit.competition.scoring import in_words
from kit.core.errors import KitError
from kit.core.files import write_text
from kit.core.progress import progress
from kit.data.augmentation import Augmentation
from kit.data.dataset import Batches, FoldData, Loader, Samples
from kit.data.sampler import batches, epoch_order, repeats
from kit.networks import Segmenter
from kit.recipes.schema import Recipe
from kit.recipes.stage import Stage
from kit.training import checkpoint, fabric_setup, loggers, optimizers, pictures, schedules, step
from kit.training.averaging import Checkpoints, State
from kit.training.clock import Clock, Work
from kit.training.validation import UNKNOWN, validate

log = logging.getLogger(__name__)

Row = dict[str, Any]


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
    def settings(self) -> Stage:
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
        return f"fold {self.fold} stage {self.number + 1} ({self.settings.size} px)"


def train(fabric: lightning_fabric.Fabric, task: Task, clock: Clock | None = None, tracker: str | None = None) -> None:
    """Trains a stage to its end, from its last checkpoint if there is one.

    Args:
        fabric: Devices, precision and processes.
        task: The stage.
        clock: Of the whole run; None: the stage stands alone.
        tracker: Of `kit.training.loggers`, which takes the curves beside TensorBoard.

    Raises:
        KitError: there are fewer images than processes, a file of weights or checkpoint is unusable, the memory does
            not suffice, or the training has diverged: its loss, gradients or weights are not finite.
    """
    settings = task.settings
    images = settings.micro_batch or max(1, settings.batch_size // fabric.world_size)
    with step.explained(task.name, images, f"stages.{task.number}"), ExitStack() as stack:
        stage = _Stage(fabric, task, clock, tracker)
        for logger in stage.loggers:
            stack.callback(logger.close)
        while not stage.is_over:
            began = time.monotonic()
            row = stage.train_epoch()
            row |= stage.validate() if stage.is_validated else UNKNOWN
            stage.record(row | {"seconds": round(time.monotonic() - began, 2)})
            stage.save()
        stage.finish()


class _Stage:
    """A stage under way: its network, what it has been through, and what it will leave."""

    def __init__(self, fabric: lightning_fabric.Fabric, task: Task, clock: Clock | None, tracker: str | None) -> None:
        recipe, data, fold, folder = task.recipe, task.data, task.fold, task.folder
        for what, rows in (("trains", data.training), ("validates", data.validation)):
            if 0 < len(rows) < fabric.world_size:  # DDP would wait for ever for the process without an image
                raise KitError(f"fold {fold} {what} on {len(rows)} images, too few for {fabric.world_size} processes")
        self.fabric, self.recipe, self.settings, self.task = fabric, recipe, task.settings, task
        self.data, self.folder = data, folder
        self.name, self.seed = task.name, task.seed
        augmentation = Augmentation(recipe.augmentation, self.settings.size, recipe.magnitudes)
        self.loader = Loader(Samples(data.cache, augmentation, self.seed))
        self.plain_loader = Loader(Samples(data.cache))

        torch.manual_seed(self.seed)
        network = networks.build(recipe.network, pretrained=task.start is None)
        self.network = fabric_setup.with_shared_batch_norm(network, fabric)
        if task.start is not None:
            networks.load_weights(self.network, task.start)
        optimizer = optimizers.build(recipe.optimizer, self.network, self.settings.learning_rate)
        self.model, self.optimizer = fabric.setup(self.network, optimizer)
        self.checkpoints = Checkpoints(self.settings)

        parts = {"network": self.network, "optimizer": self.optimizer, "checkpoints": self.checkpoints}
        state = checkpoint.restore(folder / "last.ckpt", **parts)
        self.history: list[Row] = state.get("history", [])
        fabric_setup.set_loss_scale(fabric, state.get("precision", {}))
        key = recipe.label, fold, task.number
        shares = [self.settings.positives_in(epoch) for epoch in (0, self.settings.epochs - 1)]
        if few := repeats(data.positive, shares[0]) or repeats(data.positive, shares[1]):
            log.warning("%s: %s", task.name, few)
        self.clock = clock or Clock({key: work(recipe, task.number, data.positive)})
        self.clock.begin(key, [row["seconds"] for row in self.history])
        # Curves are the first process's.
        first = len(self.history) + 1
        self.loggers = loggers.opened(folder, recipe, first, tracker) if fabric.is_global_zero else []

    @property
    def is_over(self) -> bool:
        """Whether all epochs are done that there will be."""
        return schedules.is_over(self.settings, self.history)

    @property
    def is_validated(self) -> bool:
        """Whether the epoch that is next, or was just trained, ends with a validation."""
        return self.settings.validates(len(self.history))

    def batches(self, epoch: int) -> Batches:
        """The augmented batches of this process in an epoch."""
        order = epoch_order(self.data.positive, self.settings.positives_in(epoch), self.seed, epoch)
        rows = batches(
            self.data.training[order], self.settings.batch_size, self.fabric.global_rank, self.fabric.world_size
        )
        return self.loader.epoch(rows, epoch)

    def draw(self, epoch: int) -> None:
        """Sets what dropout draws in an epoch; every process has its own, and the first that of one alone."""
        torch.manual_seed(self.seed + epoch + 1_000_003 * self.fabric.global_rank)

    def validate(self) -> Row:
        """What the network of the last epoch is worth on the validation part."""
        return self.validate_all([self.model])

    def validate_all(self, models: list[Any]) -> Row:
        """What some networks are worth there together."""
        return validate(self.fabric, models, self.recipe, self.settings, self.data, self.plain_loader)

    def train_epoch(self) -> Row:
        """One pass over the training part; its row of the metrics."""
        fabric, epoch, clip = self.fabric, len(self.history), self.recipe.optimizer.clip
        self.draw(epoch)
        self.network.freeze_encoder(epoch < self.settings.frozen_epochs)
        rate = schedules.learning_rate(self.settings, self.history)
        self.model.train()
        what = f"{self.name} epoch {epoch + 1}/{self.settings.epochs}"
        epoch_batches = self.batches(epoch)
        bar = progress(epoch_batches, what, unit="step", show=fabric.is_global_zero)
        steps = step.Progress(fabric, self.network)
        try:
            for number, (images, masks) in enumerate(bar, 1):
                images, masks = (part.to(fabric.device, non_blocking=True) for part in (images, masks))
                optimizers.set_rate(
                    self.optimizer,
                    schedules.learning_rate(self.settings, self.history, number / len(epoch_batches)),
                )
                steps.begin_step()
                self.optimizer.zero_grad()
                loss = step.backward(fabric, self.model, self.recipe.loss, images, masks, self.settings.micro_batch)
                steps.end_step(loss)
                if clip is not None:
                    fabric.clip_gradients(self.model, self.optimizer, max_norm=clip, error_if_nonfinite=False)
                self.optimizer.step()
                self.checkpoints.add_step(self.network)
                bar.note(partial(self._note, steps, number / len(epoch_batches)))
            steps.end()
        except step.NotFiniteError as error:
            raise self._diverged(what, error, rate) from None
        if steps.skipped:
            log.info("%s: %d steps skipped in half precision, whose gradients overflowed", what, steps.skipped)
        return {"epoch": epoch + 1, "weights": "epoch", "learning_rate": rate, "loss": steps.loss}

    def _note(self, steps: step.Progress, share: float) -> str:
        """What stands beside the bar: the mean loss so far, and how long the training will take."""
        return f"loss {steps.loss:.4f}{self.clock.words(share)}"

    def _diverged(self, what: str, error: step.NotFiniteError, rate: float) -> KitError:
        precision = self.fabric.strategy.precision.precision
        full = "" if precision == "32-true" else ", or precision=32-true"
        return KitError(
            f"{what}: {error} not finite any more, at a learning rate of {rate:g} in {precision}: lower "
            f"stages.{self.task.number}.learning_rate, or set optimizer.clip=1{full}"
        )

    def record(self, row: Row) -> None:
        """Takes a finished epoch into the history and the files that people read."""
        validated = f", validation Dice {in_words(row)}" if self.is_validated else ""
        self.checkpoints.add(self.network, len(self.history), row)
        self.history.append(row)
        what = f"{self.name} epoch {row['epoch']}/{self.settings.epochs}"
        self.clock.end_epoch(row["seconds"])
        log.info("%s: loss %.4f%s in %.0f s%s", what, row["loss"], validated, row["seconds"], self.clock.words())
        if self.fabric.is_global_zero:
            _write_metrics(self.folder, self.history)
            self._plot("", row)
            if row["dice"] is not None:
                self._draw("cases", self.network)

    def _plot(self, before: str, row: Row) -> None:
        """Adds the figures of a row to the curves."""
        for name in ("learning_rate", "loss", *UNKNOWN):
            if row.get(name) is not None:
                for logger in self.loggers:
                    logger.add_scalar(before + name, row[name], len(self.history))

    def _draw(self, name: str, network: Segmenter) -> None:
        """Draws the fixed cases, where there are any."""
        rows = pictures.cases(self.data)
        if self.loggers and len(rows):
            picture = pictures.draw(network, self.data, rows, self.fabric.device)
            for logger in self.loggers:
                logger.add_image(name, picture, len(self.history))

    def save(self) -> None:
        """Writes all that the next epoch depends on."""
        if self.fabric.is_global_zero:
            state = {
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "checkpoints": self.checkpoints.state_dict(),
                "precision": self.fabric.strategy.precision.state_dict(),
                "history": self.history,
            }
            checkpoint.save(self.folder / "last.ckpt", state)
        self.fabric.barrier()

    def finish(self) -> None:
        """Writes the weights that the stage leaves, and what they are worth together."""
        epochs = len(self.history)
        # The state that an uninterrupted run has here, where an earlier process was killed: seed and frozen encoder.
        self.draw(epochs)
        self.network.freeze_encoder(self.settings.frozen_epochs >= epochs)
        states = self.checkpoints.left(self.network, self.batches(epochs), self.fabric.all_reduce)
        left = [self._with(state) for state in states]
        final: Row = {"weights": "final", "loss": None, "seconds": None}
        if self.settings.keep.last is None:  # else it is the last epoch's network
            models = [self.fabric.setup_module(network) for network in left]
            final |= self.validate_all(models)
        if (self.history[-1] | final)["score"] == -math.inf:
            rate = self.history[-1]["learning_rate"]
            raise self._diverged(self.name, step.NotFiniteError("its predictions are"), rate)
        if self.fabric.is_global_zero:
            _write_metrics(self.folder, [*self.history, self.history[-1] | final])
            self._plot("final_", final)
            self._draw("final_cases", left[0])
            for number in range(len(left), 0, -1):  # the first file says that the stage is done, and comes last
                suffix = f"-{number}" if number > 1 else ""
                networks.save_weights(self.folder / f"weights{suffix}.safetensors", left[number - 1])
        self.clock.end()
        self.fabric.barrier()

    def _with(self, state: State) -> Segmenter:
        """The network with other weights."""
        network = copy.deepcopy(self.network)
        network.load_state_dict(state)
        return network


def work(recipe: Recipe, number: int, positive: np.ndarray) -> Work:
    """What a stage has to compute.

    Args:
        recipe: The resolved recipe.
        number: Of the stage, from 0.
        positive: bool (N,), of the training part.
    """
    stage = recipe.stages[number]
    images = len(epoch_order(positive, stage.positives_in(stage.epochs // 2), recipe.seed, 0))
    return Work(stage.epochs, max(1, images) * stage.size**2)


def _write_metrics(folder: Path, rows: list[Row]) -> None:
    write_text(folder / "metrics.csv", pd.DataFrame(rows).to_csv(index=False, lineterminator="\n"))
