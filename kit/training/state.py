"""The state of a stage from epoch to epoch, in memory and in `last.ckpt`."""

import copy
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning_fabric
import torch
from torch import nn

from kit import networks
from kit.core.errors import KitError
from kit.core.files import is_file_or_raise, replacing
from kit.networks import Segmenter
from kit.recipes.schema import Optimizer, Recipe
from kit.recipes.stage import Stage
from kit.training import fabric_setup
from kit.training.averaging import Checkpoints
from kit.training.schedules import Row

OPTIMIZERS: dict[str, Any] = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}

_BROKEN = (RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError, AttributeError, pickle.UnpicklingError)


class TrainState:
    """Network, optimiser, loss scale, kept weights, and the metrics of each finished epoch.

    Args:
        start: Weights to start from; by default the recipe's pretrained ones.
        path: Path to the checkpoint, from which training resumes if it exists.

    Raises:
        KitError: a file of weights or the checkpoint is broken, or belongs to another training.
    """

    def __init__(
        self, fabric: lightning_fabric.Fabric, recipe: Recipe, stage: Stage, seed: int, start: Path | None, path: Path
    ) -> None:
        self._fabric, self._seed, self._path = fabric, seed, path
        torch.manual_seed(seed)
        network = networks.build(recipe.network, pretrained=start is None)
        self.network: Segmenter = fabric_setup.with_shared_batch_norm(network, fabric)
        if start is not None:
            networks.load_weights(self.network, start)
        optimizer = build_optimizer(recipe.optimizer, self.network, stage.learning_rate)
        self.model, self.optimizer = fabric.setup(self.network, optimizer)
        self.kept = Checkpoints(stage)
        self.history: list[Row] = []
        fabric_setup.set_loss_scale(fabric, self._resume())

    def seed_epoch(self, epoch: int) -> None:
        """Seeds dropout for an epoch, counted from 0, differently in each process; the first as a single one would."""
        torch.manual_seed(self._seed + epoch + 1_000_003 * self._fabric.global_rank)

    def end_epoch(self, row: Row) -> None:
        """Adds a finished epoch to the history, and keeps its weights if the stage wants them."""
        self.kept.add(self.network, len(self.history), row)
        self.history.append(row)

    def final_networks(self, batches: Iterable) -> list[Segmenter]:
        """Returns the final networks of the stage: one, or several whose predictions are averaged.

        Args:
            batches: Training pairs (images, masks), for the batch-norm statistics of averaged weights.
        """
        final = []
        for weights in self.kept.final_weights(self.network, batches, self._fabric.all_reduce):
            final.append(copy.deepcopy(self.network))
            final[-1].load_state_dict(weights)
        return final

    def save(self) -> None:
        """Writes the checkpoint."""
        if self._fabric.is_global_zero:
            state = {name: part.state_dict() for name, part in self._parts.items()}
            state |= {"precision": self._fabric.strategy.precision.state_dict(), "history": self.history}
            # Opened here, because torch's own writer hides a full disk.
            with replacing(self._path) as temporary, open(temporary, "wb") as handle:
                torch.save(state, handle)
        self._fabric.barrier()

    @property
    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "optimizer": self.optimizer, "checkpoints": self.kept}

    def _resume(self) -> dict[str, Any]:
        """Loads the checkpoint, if there is one; returns its loss scale."""
        if not is_file_or_raise(self._path):
            return {}
        try:
            state = torch.load(self._path, "cpu", weights_only=True)
            for name, part in self._parts.items():
                part.load_state_dict(state[name])
            self.history = [dict(row) for row in state["history"]]
            return dict(state["precision"])
        except _BROKEN as error:
            raise KitError(
                f"{self._path}: is not a checkpoint of this stage ({type(error).__name__}): remove it to train the "
                "stage again"
            ) from error


def build_optimizer(settings: Optimizer, network: nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """Builds a recipe's optimiser for a network's weights."""
    # Fused: one pass over each tensor instead of ten, 4 % of a step of a light network on a CPU. A fused optimiser
    # unscales gradients itself, so they cannot be clipped in mixed precision.
    options = {"lr": learning_rate, "weight_decay": settings.weight_decay, "fused": settings.clip is None}
    if settings.name == "sgd":
        options |= {"momentum": settings.momentum, "nesterov": settings.nesterov}
    return OPTIMIZERS[settings.name](network.parameters(), **options)


def set_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Sets the learning rate from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
