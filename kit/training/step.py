"""One step: the gradient of a batch, in parts where it does not fit into memory, and what must never come of it."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning_fabric
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from kit.core.errors import KitError
from kit.recipes.schema import Loss
from kit.training import losses

_NO_MEMORY = ("allocate memory", "out of memory", "ALLOC_FAILED")
MOST_SKIPPED = 20
"""Steps in a row that half precision may skip: each halves the loss scale, from 65,536 down to 1/16."""


Part = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
"""Images, masks, and whose mask is known, of a part of a batch."""


def backward(
    fabric: lightning_fabric.Fabric,
    model: Any,
    loss: Loss,
    images: torch.Tensor,
    masks: torch.Tensor,
    micro_batch: int | None = None,
    known: torch.Tensor | None = None,
) -> torch.Tensor:
    """Adds the gradient of a batch's loss to that of the weights.

    With `micro_batch` the sum of the parts' gradients is that of the whole batch but for rounding, where no layer
    looks at several images at once, as batch norm does: it normalises by the statistics of each part. A Dice loss over
    the batch takes a pass without gradient first, for the areas of all parts; the same dropout, and no statistics, come
    of it. Over several processes the batch is that of all of them.

    Args:
        model: Of `fabric.setup`.
        images: uint8 (B, 1, H, W), this process's part of the batch.
        masks: uint8 (B, 1, H, W), 0 or 1.
        micro_batch: Images computed at a time; None: all.
        known: bool (B,), on the CPU: whose mask is known; None: all.

    Returns:
        The mean loss over all processes, a scalar without gradient.
    """
    size = micro_batch or len(images)
    sure = itertools.repeat(None) if known is None else known.split(size)
    parts: list[Part] = list(zip(images.split(size), masks.split(size), sure, strict=False))
    over_batch = bool(loss.dice) and loss.dice_over == "batch" and (len(parts) > 1 or fabric.world_size > 1)
    whole = _areas_first(fabric, model, loss, parts) if over_batch and len(parts) > 1 else None
    total = torch.zeros((), device=images.device)
    for number, (some, truth, sure) in enumerate(parts):
        share = len(some) / len(images)
        with fabric.no_backward_sync(model, enabled=number + 1 < len(parts)):
            logits, image_logits = model(some)
            if over_batch and whole is None:
                whole = _over_all(fabric, losses.areas_of_batch(loss, logits.detach(), truth, sure))
            part = losses.total(loss, logits, image_logits, truth, whole, share / fabric.world_size, sure)
            fabric.backward(part * share)
        total += part.detach() * share
    mean: Any = fabric.all_reduce(total)
    return mean


@torch.no_grad()
def _areas_first(fabric: lightning_fabric.Fabric, model: nn.Module, loss: Loss, parts: list[Part]) -> torch.Tensor:
    """The areas that a Dice loss over the batch is made of, by the forward pass that the steps are going to repeat."""
    kept = Statistics(model)
    with torch.random.fork_rng([fabric.device] if fabric.device.type == "cuda" else []):
        areas = [losses.areas_of_batch(loss, model(some)[0], truth, sure) for some, truth, sure in parts]
    kept.put_back()
    return _over_all(fabric, torch.stack(areas).sum(0))


def _over_all(fabric: lightning_fabric.Fabric, areas: torch.Tensor) -> torch.Tensor:
    summed: Any = fabric.all_reduce(areas, reduce_op="sum")
    return summed


class Statistics:
    """The running statistics of a network's batch norm as they are now, to go back to."""

    def __init__(self, network: nn.Module) -> None:
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        self._now = [buffer for norm in norms for buffer in norm.buffers()]
        self._kept = [buffer.clone() for buffer in self._now]

    def keep(self) -> None:
        """Takes those of today instead."""
        torch._foreach_copy_(self._kept, self._now)

    def put_back(self, unless: torch.Tensor | None = None) -> None:
        """Goes back to them.

        Args:
            unless: bool scalar on the device, which no processor waits for: where it holds, nothing is changed.
        """
        for now, kept in zip(self._now, self._kept, strict=True):
            now.copy_(kept if unless is None else torch.where(unless, now, kept))


class Progress:
    """The steps of an epoch: their mean loss, and that they lead somewhere.

    No step waits for the device: what step k came to is looked at when step k + 1 has been sent off.

    In half precision a step whose gradients are not finite is skipped by the gradient scaler. Here it is counted,
    leaves the mean loss alone, and batch norm forgets what it has seen in it.
    """

    def __init__(self, fabric: lightning_fabric.Fabric, network: nn.Module) -> None:
        self._network, self._scales = network, getattr(fabric.strategy.precision, "scaler", None) is not None
        self._statistics = Statistics(network) if self._scales else None
        self._steps = 0
        self._total, self._skipped, self._in_a_row = (torch.zeros((), device=fabric.device) for _ in range(3))
        self._hopeless = torch.zeros((), dtype=torch.bool, device=fabric.device)

    def begin_step(self) -> None:
        """Before the batch goes through the network."""
        if self._statistics is not None:
            self._statistics.keep()

    def end_step(self, loss: torch.Tensor) -> None:
        """After the gradient is there, and before it is followed.

        Raises:
            NotFiniteError: the step before came to nothing that one could go on from.
        """
        before, self._steps = self._hopeless, self._steps + 1
        if self._statistics is None:
            self._total = self._total + loss
            self._hopeless = ~loss.isfinite()
        else:
            gradients = [weight.grad for weight in self._network.parameters() if weight.grad is not None]
            finite = torch.nn.utils.get_total_norm(gradients, math.inf).isfinite()
            self._statistics.put_back(unless=finite)
            self._total = self._total + torch.where(finite, loss, 0.0)
            self._skipped = self._skipped + ~finite
            self._in_a_row = torch.where(finite, 0, self._in_a_row + 1)
            self._hopeless = self._in_a_row >= MOST_SKIPPED
        self._require(before)

    def end(self) -> None:
        """After the last step.

        Raises:
            NotFiniteError: the loss, the weights or batch norm's statistics are not finite.
        """
        self._require(self._hopeless)
        require_finite(self._network)

    @property
    def loss(self) -> float:
        """Mean over the steps that were made so far."""
        return float(self._total / (self._steps - self._skipped).clamp(min=1))

    @property
    def skipped(self) -> int:
        """Steps that half precision has skipped."""
        return int(self._skipped)

    def _require(self, hopeless: torch.Tensor) -> None:
        if hopeless:
            raise NotFiniteError("the gradients are" if self._scales else "the loss is")


class NotFiniteError(ArithmeticError):
    """What is not finite, with its verb: "the loss is"."""


def require_finite(network: nn.Module) -> None:
    """Looks at all weights and batch-norm statistics at once.

    Raises:
        NotFiniteError: one of them is infinite or not a number.
    """
    state = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    if not torch.nn.utils.get_total_norm(state.values(), math.inf).isfinite():
        bad = next(name for name, tensor in state.items() if not tensor.isfinite().all())
        raise NotFiniteError("batch norm's statistics are" if "running_" in bad else "the weights are")


@contextmanager
def translated_errors(what: str, images: int, keys: str) -> Iterator[None]:
    """Says in a line what torch says at length: too little memory, a dead process, too few values to normalise by.

    Args:
        images: Computed at a time.
        keys: Of the stage: `stages.0`.

    Raises:
        KitError: one of these.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if "DataLoader worker" in str(error):
            raise KitError(
                f"{what}: a process that loads images was killed, as the system does where the machine's memory is "
                "used up: free some, then run the same command to resume"
            ) from None
        if not isinstance(error, MemoryError) and not any(words in str(error) for words in _NO_MEMORY):
            raise
        less = f"set {keys}.micro_batch={images // 2}" if images > 1 else f"lower {keys}.size"
        raise KitError(
            f"{what}: there is not enough memory for {images} image{'s' * (images > 1)} at a time: {less}, or free "
            "what other programs hold, and run again"
        ) from None
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise KitError(
            f"{what}: batch normalisation has one value a channel, with {images} image a step and process: raise "
            "batch_size, micro_batch or size of the stage, or start fewer processes"
        ) from None
