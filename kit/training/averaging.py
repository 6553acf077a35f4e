"""Averages of weights: SWA over the last epochs (paper section 4.3), or the best checkpoints (the winner)."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from kit.recipes.schema import Stage

State = dict[str, torch.Tensor]


class Average:
    """The checkpoints of a stage that its final weights are the mean of.

    With `swa_epochs` a running mean of the weights at the end of each of the last epochs; with `best_checkpoints`
    the states of the best epochs by validation Dice, the earlier of two equals; else the last epoch's weights.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._count = 0
        self._mean: State = {}
        self._best: list[tuple[float, int, State]] = []

    def add(self, network: nn.Module, epoch: int, dice: float) -> None:
        """Takes the weights at the end of an epoch.

        Args:
            network: Whose weights they are.
            epoch: From 0.
            dice: On the validation part, after this epoch.
        """
        if epoch >= self._stage.epochs - self._stage.swa_epochs:
            self._count += 1
            state = _copy(network)
            self._mean = {
                name: mean + (state[name] - mean) / self._count if mean.is_floating_point() else state[name]
                for name, mean in (self._mean or state).items()
            }
        if self._stage.best_checkpoints:
            best = [*self._best, (dice, epoch, _copy(network))]
            self._best = sorted(best, key=lambda entry: (-entry[0], entry[1]))[: self._stage.best_checkpoints]

    def load_into(self, network: nn.Module, batches: Iterable) -> None:
        """Gives the network the average, with batch-norm statistics recomputed over `batches` of (images, masks).

        An average of one checkpoint is that checkpoint, with the statistics that it was trained with.
        """
        states = [self._mean] if self._stage.swa_epochs else [state for _, _, state in self._best]
        if not states:
            return
        mean = {
            name: torch.stack([state[name] for state in states]).mean(0) if tensor.is_floating_point() else tensor
            for name, tensor in states[0].items()
        }
        network.load_state_dict(mean)
        if self._stage.averages:
            _update_batch_norm(network, batches)

    def state_dict(self) -> dict:
        """For the checkpoint."""
        return {"count": self._count, "mean": self._mean, "best": [list(entry) for entry in self._best]}

    def load_state_dict(self, state: dict) -> None:
        """Goes on from a checkpoint."""
        self._count, self._mean = state["count"], state["mean"]
        self._best = [tuple(entry) for entry in state["best"]]


@torch.no_grad()
def _update_batch_norm(network: nn.Module, batches: Iterable) -> None:
    """Recomputes the statistics of batch norm as means over the batches.

    As `torch.optim.swa_utils.update_bn`, which would wipe those of a frozen encoder and never fill them.
    """
    network.train()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative mean
    device = next(network.parameters()).device
    for images, _ in batches:
        network(images.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _copy(network: nn.Module) -> State:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
