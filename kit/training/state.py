"""What the next epoch of a stage depends on, in memory and in `last.ckpt`."""

import copy
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning_fabric
import torch

from kit import networks
from kit.core.errors import KitError
from kit.core.files import is_file_or_raise, replacing
from kit.networks import Segmenter
from kit.recipes.schema import Recipe
from kit.recipes.stage import Stage
from kit.training import fabric_setup, optimizers
from kit.training.averaging import Checkpoints

Row = dict[str, Any]
"""Of metrics.csv."""

_BROKEN = (RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError, AttributeError, pickle.UnpicklingError)


class TrainState:
    """Network, optimiser, loss scale, the weights worth keeping, and what each epoch came to.

    Args:
        start: Weights to start from; None: the recipe's pretrained ones.
        path: Of the checkpoint, which is gone on from where there is one.

    Raises:
        KitError: a file of weights or the checkpoint is broken, or of another training.
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
        optimizer = optimizers.build(recipe.optimizer, self.network, stage.learning_rate)
        self.model, self.optimizer = fabric.setup(self.network, optimizer)
        self.kept = Checkpoints(stage)
        self.history: list[Row] = []
        fabric_setup.set_loss_scale(fabric, self._resume())

    def draw(self, epoch: int) -> None:
        """Sets what dropout draws in an epoch, from 0; every process has its own, and the first that of one alone."""
        torch.manual_seed(self._seed + epoch + 1_000_003 * self._fabric.global_rank)

    def take(self, row: Row) -> None:
        """Takes a finished epoch, and its weights where they are worth keeping."""
        self.kept.add(self.network, len(self.history), row)
        self.history.append(row)

    def final_networks(self, batches: Iterable) -> list[Segmenter]:
        """The networks that the stage leaves: one, or several whose predictions are averaged.

        Args:
            batches: Pairs (images, masks) of the training part, for the statistics of averaged weights.
        """
        left = []
        for weights in self.kept.final_weights(self.network, batches, self._fabric.all_reduce):
            left.append(copy.deepcopy(self.network))
            left[-1].load_state_dict(weights)
        return left

    def save(self) -> None:
        """Writes the checkpoint."""
        if self._fabric.is_global_zero:
            state = {name: part.state_dict() for name, part in self._parts.items()}
            state |= {"precision": self._fabric.strategy.precision.state_dict(), "history": self.history}
            # Opened here, as torch's own writer hides a full disk.
            with replacing(self._path) as temporary, open(temporary, "wb") as handle:
                torch.save(state, handle)
        self._fabric.barrier()

    @property
    def _parts(self) -> dict[str, Any]:
        return {"network": self.network, "optimizer": self.optimizer, "checkpoints": self.kept}

    def _resume(self) -> dict[str, Any]:
        """Goes on from the checkpoint, if there is one; gives its loss scale."""
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
