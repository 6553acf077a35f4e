"""The final weights of a stage: the last ones, an average of several checkpoints, or the best checkpoints.

SWA averages the last epochs (paper section 4.3) or chosen ones (the runner-up); the winner averages the predictions of
the best checkpoints; EMA is an exponential moving average over the steps.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from kit.recipes.stage import Best, Ema, Last, Stage, Swa
from kit.training import schedules

State = dict[str, torch.Tensor]


class Checkpoints:
    """Keeps weights of a running stage, as its `keep` says.

    `swa` keeps a running mean over epochs; `best` the states of the best epochs, the earlier of two equal ones; `ema`
    an average over steps, on the network's device.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._count = 0  # of epochs in the mean of `swa`, or of steps in that of `ema`
        self._mean: State = {}
        self._best: list[tuple[float, int, State]] = []

    def add_step(self, network: nn.Module) -> None:
        """Adds the weights after a step, for `ema`.

        The average begins with the first step, without a bias toward it: after k steps, each has a weight of
        decay ** age, normalised so that all weights sum to 1.
        """
        if self._stage.keep.ema is None:
            return
        self._count += 1
        decay = self._stage.keep.ema.decay
        state = {name: tensor.detach() for name, tensor in network.state_dict().items()}
        if self._count == 1:
            self._mean = {name: tensor.clone() for name, tensor in state.items()}
            return
        # After resuming, the average is still on the CPU.
        self._mean = {name: tensor.to(state[name].device) for name, tensor in self._mean.items()}
        floating = [name for name, tensor in state.items() if tensor.is_floating_point()]
        share = (1 - decay) / (1 - decay**self._count)
        torch._foreach_lerp_([self._mean[name] for name in floating], [state[name] for name in floating], share)
        self._mean |= {name: tensor.clone() for name, tensor in state.items() if not tensor.is_floating_point()}

    def add(self, network: nn.Module, epoch: int, row: schedules.Row) -> None:
        """Adds the weights at the end of an epoch, counted from 0, for `swa` and `best`."""
        if epoch + 1 in self._stage.swa:
            self._count += 1
            state = _copy(network)
            self._mean = {
                name: mean + (state[name] - mean) / self._count if mean.is_floating_point() else state[name]
                for name, mean in (self._mean or state).items()
            }
        if (best := self._stage.keep.best) is not None:
            score = -schedules.monitored([row], best.of)[0]
            entries = [*self._best, (score, epoch, _copy(network))]
            self._best = sorted(entries, key=lambda entry: (-entry[0], entry[1]))[: best.epochs]

    def final_weights(
        self, network: nn.Module, batches: Iterable, over_all: Callable[..., Any] | None = None
    ) -> list[State]:
        """Returns the final weights of the stage: of one network, or of several whose predictions are averaged.

        Args:
            network: The network after the last epoch. Averaged weights are loaded into it to recompute their batch-norm
                statistics, unless the stage averages the statistics, too. An average of one checkpoint is that
                checkpoint with its own statistics.
            batches: Training pairs (images, masks), this process's share of each batch.
            over_all: Function from a tensor to its mean over all processes; None if there is only one process.
        """
        keep = self._stage.keep.chosen
        if isinstance(keep, Last):
            return [_copy(network)]
        states = [state for _, _, state in self._best] if isinstance(keep, Best) else [self._mean]
        if isinstance(keep, Best) and keep.average == "predictions":
            return states
        network.load_state_dict(mean(states))
        if self._stage.averages and isinstance(keep, Swa | Best | Ema) and keep.batch_norm == "recomputed":
            _update_batch_norm(network, batches, self._stage.micro_batch)
            if over_all is not None:
                for buffer in _statistics(network):
                    buffer.copy_(over_all(buffer.clone()))
        return [_copy(network)]

    def state_dict(self) -> dict:
        """Returns the kept weights, for the checkpoint."""
        return {"count": self._count, "mean": self._mean, "best": [list(entry) for entry in self._best]}

    def load_state_dict(self, state: dict) -> None:
        """Restores the kept weights from a checkpoint."""
        self._count, self._mean = state["count"], state["mean"]
        self._best = [tuple(entry) for entry in state["best"]]


def mean(states: list[State]) -> State:
    """Returns the mean of each weight; integer counters are taken from the first state."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if tensor.is_floating_point() else tensor
        for name, tensor in states[0].items()
    }


@torch.no_grad()
def _update_batch_norm(network: nn.Module, batches: Iterable, micro_batch: int | None = None) -> None:
    """Recomputes batch-norm statistics as means over the batches, or over their micro-batches.

    Unlike `torch.optim.swa_utils.update_bn`, it leaves the statistics of a frozen encoder alone.
    """
    network.train()
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm) and module.training]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # means cumulative
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
