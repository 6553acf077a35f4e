"""What a stage leaves: its last weights, an average of several checkpoints, or the best of them all.

SWA is the average over the last epochs (paper section 4.3) or over chosen ones (the runner-up); the winner averages
the predictions of the best checkpoints.
"""

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from kit.recipes.stage import Stage

State = dict[str, torch.Tensor]


class Checkpoints:
    """The weights of a stage that are worth keeping while it goes on.

    Of the epochs of `swa_epochs` a running mean; of the epochs with the best score the states, the earlier of two
    equals; and of the network itself the last.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._wanted = max(stage.best_checkpoints, int(stage.passes_on == "best"))
        self._count = 0
        self._mean: State = {}
        self._best: list[tuple[float, int, State]] = []

    def add(self, network: nn.Module, epoch: int, score: float) -> None:
        """Takes the weights at the end of an epoch.

        Args:
            network: Whose weights they are.
            epoch: From 0.
            score: On the validation part, after this epoch.
        """
        if epoch + 1 in self._stage.swa:
            self._count += 1
            state = _copy(network)
            self._mean = {
                name: mean + (state[name] - mean) / self._count if mean.is_floating_point() else state[name]
                for name, mean in (self._mean or state).items()
            }
        if self._wanted:
            score = score if math.isfinite(score) else -math.inf  # of no order, and never better than a number
            best = [*self._best, (score, epoch, _copy(network))]
            self._best = sorted(best, key=lambda entry: (-entry[0], entry[1]))[: self._wanted]

    @property
    def best(self) -> State:
        """The single epoch with the best score, for a stage that passes it on."""
        return self._best[0][2]

    @property
    def best_score(self) -> float:
        """Of that epoch."""
        return self._best[0][0]

    def left(self, network: nn.Module, batches: Iterable, over_all: Callable[..., Any] | None = None) -> list[State]:
        """The weights that the stage leaves: those of one network, or of several whose predictions are averaged.

        Args:
            network: As it is after the last epoch; an average goes through it, to have its batch-norm statistics
                recomputed, unless the stage averages them. An average of one checkpoint is that checkpoint, with the
                statistics it was trained with.
            batches: Pairs (images, masks) of the training part: this process's share of each.
            over_all: Takes a tensor and gives its mean over all processes; None: there is this one alone.
        """
        states = [state for _, _, state in self._best[: self._stage.best_checkpoints]]
        if self._stage.averaged == "predictions":
            return states
        if self._stage.swa:
            states = [self._mean]
        if not states:
            return [_copy(network)]
        network.load_state_dict(mean(states))
        if self._stage.averages and self._stage.batch_norm == "recomputed":
            _update_batch_norm(network, batches, self._stage.micro_batch)
            if over_all is not None:
                for buffer in _statistics(network):
                    buffer.copy_(over_all(buffer.clone()))
        return [_copy(network)]

    def state_dict(self) -> dict:
        """For the checkpoint."""
        return {"count": self._count, "mean": self._mean, "best": [list(entry) for entry in self._best]}

    def load_state_dict(self, state: dict) -> None:
        """Goes on from a checkpoint."""
        self._count, self._mean = state["count"], state["mean"]
        self._best = [tuple(entry) for entry in state["best"]]


def mean(states: list[State]) -> State:
    """The mean of the weights; of counters, which have none, the first."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in states[0].items()
    }


@torch.no_grad()
def _update_batch_norm(network: nn.Module, batches: Iterable, micro_batch: int | None = None) -> None:
    """Recomputes the statistics of batch norm as means over the batches, or over the parts that training made of them.

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
        for part in images.split(micro_batch or len(images)):
            network(part.to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _statistics(network: nn.Module) -> list[torch.Tensor]:
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [buffer for norm in norms for buffer in norm.buffers() if buffer.is_floating_point()]


def _copy(network: nn.Module) -> State:
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
