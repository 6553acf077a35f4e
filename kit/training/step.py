"""One training step: the gradient of a batch, in micro-batches if needed, and checks for NaN and infinity."""

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
"""Number of successive steps that half precision may skip; each halves the loss scale, from 65,536 to 1/16."""


Part = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
"""Images, masks, and whether each mask is known, of a micro-batch."""


def backward(
    fabric: lightning_fabric.Fabric,
    model: Any,
    loss: Loss,
    images: torch.Tensor,
    masks: torch.Tensor,
    micro_batch: int | None = None,
    known: torch.Tensor | None = None,
) -> torch.Tensor:
    """Adds the gradient of a batch's loss to the gradients of the weights.

    The gradients of micro-batches sum to the gradient of the whole batch but for rounding, unless a layer combines
    images: batch norm normalises each micro-batch by its own statistics. A Dice loss over the batch needs the areas of
    all micro-batches first, by a pass without gradient, which draws the same dropout and leaves batch norm unchanged.
    With several processes, the batch is that of all processes.

    Args:
        model: Model returned by `fabric.setup`.
        images: uint8 (B, 1, H, W), this process's part of the batch.
        masks: uint8 (B, 1, H, W), 0 or 1.
        micro_batch: Number of images at a time; all by default.
        known: Whether each mask is known, bool (B,) on the CPU; by default all are.

    Returns:
        The mean loss over all processes, a scalar without gradient.
    """
    size = micro_batch or len(images)
    are_known = itertools.repeat(None) if known is None else known.split(size)
    parts: list[Part] = list(zip(images.split(size), masks.split(size), are_known, strict=False))
    over_batch = bool(loss.dice) and loss.dice_over == "batch" and (len(parts) > 1 or fabric.world_size > 1)
    whole = _areas_first(fabric, model, loss, parts) if over_batch and len(parts) > 1 else None
    total = torch.zeros((), device=images.device)
    for number, (inputs, truth, is_known) in enumerate(parts):
        share = len(inputs) / len(images)
        with fabric.no_backward_sync(model, enabled=number + 1 < len(parts)):
            logits, image_logits = model(inputs)
            if over_batch and whole is None:
                whole = _over_all(fabric, losses.areas_of_batch(loss, logits.detach(), truth, is_known))
            part = losses.total(loss, logits, image_logits, truth, whole, share / fabric.world_size, is_known)
            fabric.backward(part * share)
        total += part.detach() * share
    mean: Any = fabric.all_reduce(total)
    return mean


@torch.no_grad()
def _areas_first(fabric: lightning_fabric.Fabric, model: nn.Module, loss: Loss, parts: list[Part]) -> torch.Tensor:
    """Computes the areas for a Dice loss over the batch, by the forward pass that `backward` will repeat."""
    statistics = BatchNormStatistics(model)
    with torch.random.fork_rng([fabric.device] if fabric.device.type == "cuda" else []):
        areas = [losses.areas_of_batch(loss, model(images)[0], masks, known) for images, masks, known in parts]
    statistics.restore()
    return _over_all(fabric, torch.stack(areas).sum(0))


def _over_all(fabric: lightning_fabric.Fabric, areas: torch.Tensor) -> torch.Tensor:
    summed: Any = fabric.all_reduce(areas, reduce_op="sum")
    return summed


class BatchNormStatistics:
    """Saves the running statistics of a network's batch norm, to restore them later."""

    def __init__(self, network: nn.Module) -> None:
        norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
        self._buffers = [buffer for norm in norms for buffer in norm.buffers()]
        self._saved = [buffer.clone() for buffer in self._buffers]

    def save(self) -> None:
        """Saves the current statistics."""
        torch._foreach_copy_(self._saved, self._buffers)

    def restore(self, unless: torch.Tensor | None = None) -> None:
        """Restores the saved statistics.

        Args:
            unless: bool scalar on the device, so that the CPU need not wait: if true, nothing is restored.
        """
        for buffer, saved in zip(self._buffers, self._saved, strict=True):
            buffer.copy_(saved if unless is None else torch.where(unless, buffer, saved))


class Progress:
    """Tracks the steps of an epoch: their mean loss, and whether the training has diverged.

    No step waits for the device: the result of step k is checked after step k + 1 has been queued.

    In half precision, the gradient scaler skips a step whose gradients are not finite. Such a step is counted and left
    out of the mean loss, and its batch-norm statistics are reverted.
    """

    def __init__(self, fabric: lightning_fabric.Fabric, network: nn.Module) -> None:
        self._network, self._scales = network, getattr(fabric.strategy.precision, "scaler", None) is not None
        self._statistics = BatchNormStatistics(network) if self._scales else None
        self._steps = 0
        self._total, self._skipped, self._in_a_row = (torch.zeros((), device=fabric.device) for _ in range(3))
        self._has_diverged = torch.zeros((), dtype=torch.bool, device=fabric.device)

    def begin_step(self) -> None:
        """Call before the batch goes through the network."""
        if self._statistics is not None:
            self._statistics.save()

    def end_step(self, loss: torch.Tensor) -> None:
        """Call after the gradient is computed, and before the optimiser's step.

        Raises:
            NotFiniteError: the training had diverged by the previous step.
        """
        diverged_before = self._has_diverged
        self._steps += 1
        if self._statistics is None:
            self._total = self._total + loss
            self._has_diverged = ~loss.isfinite()
        else:
            gradients = [weight.grad for weight in self._network.parameters() if weight.grad is not None]
            finite = torch.nn.utils.get_total_norm(gradients, math.inf).isfinite()
            self._statistics.restore(unless=finite)
            self._total = self._total + torch.where(finite, loss, 0.0)
            self._skipped = self._skipped + ~finite
            self._in_a_row = torch.where(finite, 0, self._in_a_row + 1)
            self._has_diverged = self._in_a_row >= MOST_SKIPPED
        self._raise_if(diverged_before)

    def end(self) -> None:
        """Call after the last step.

        Raises:
            NotFiniteError: the loss, the weights or batch norm's statistics are not finite.
        """
        self._raise_if(self._has_diverged)
        require_finite(self._network)

    @property
    def loss(self) -> float:
        """Mean loss of the steps so far, without skipped ones."""
        return float(self._total / (self._steps - self._skipped).clamp(min=1))

    @property
    def skipped(self) -> int:
        """Number of steps that half precision has skipped."""
        return int(self._skipped)

    def _raise_if(self, diverged: torch.Tensor) -> None:
        if diverged:
            raise NotFiniteError("the gradients are" if self._scales else "the loss is")


class NotFiniteError(ArithmeticError):
    """A training has diverged; the text is a subject and verb such as "the loss is"."""


def require_finite(network: nn.Module) -> None:
    """Checks all weights and batch-norm statistics at once.

    Raises:
        NotFiniteError: a value is infinite or NaN.
    """
    state = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    if not torch.nn.utils.get_total_norm(state.values(), math.inf).isfinite():
        name = next(name for name, tensor in state.items() if not tensor.isfinite().all())
        raise NotFiniteError("batch norm's statistics are" if "running_" in name else "the weights are")


@contextmanager
def translated_errors(what: str, images: int, keys: str) -> Iterator[None]:
    """Translates torch's errors about memory, dead loader processes and batch norm into one line.

    Args:
        what: Name of the stage.
        images: Number of images computed at a time.
        keys: The stage's keys in the recipe, such as `stages.0`.

    Raises:
        KitError: one of these errors occurred in the block.
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
