"""Devices, processes and precision of a training, through Lightning Fabric."""

import os
from typing import Any

import lightning_fabric
import timm.layers
import torch
from lightning_fabric.strategies import DDPStrategy

from kit.core import allocator
from kit.core.errors import KitError
from kit.networks import Segmenter
from kit.recipes.schema import Recipe


def launch(recipe: Recipe) -> lightning_fabric.Fabric:
    """Launches Fabric on this process's devices; under `torchrun`, as one process of PyTorch DDP.

    Args:
        recipe: Recipe, whose precision applies on a GPU; with `auto`, a CPU computes in 32 bits.

    Raises:
        KitError: the processes cannot share a batch of some stage evenly.
    """
    allocator.keep_freed_memory()
    world = int(os.environ.get("WORLD_SIZE", 1))
    _check_batches(recipe, world)
    # Weights of a frozen encoder, or of a head without a loss, get no gradient.
    strategy = DDPStrategy(find_unused_parameters=True) if world > 1 else "auto"
    fabric = lightning_fabric.Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", 1)),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", 1)),
        strategy=strategy,
        precision=precision_of(recipe),
    )
    fabric.launch()
    return fabric


def precision_of(recipe: Recipe) -> Any:
    """Returns Fabric's precision for a recipe on this machine.

    `auto` is bfloat16 on a GPU that supports it, which needs no loss scaling, and float16 on an older GPU.
    """
    if recipe.precision != "auto":
        return recipe.precision
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def with_shared_batch_norm(network: Segmenter, fabric: lightning_fabric.Fabric) -> Segmenter:
    """Synchronises batch norm if several GPUs share a batch, so that statistics are those of the whole batch.

    The names of weights stay the same.
    """
    if fabric.world_size == 1 or fabric.device.type != "cuda":  # torch has no synchronised batch norm for CPUs
        return network
    return timm.layers.convert_sync_batchnorm(network)


def set_loss_scale(fabric: lightning_fabric.Fabric, state: dict) -> None:
    """Sets the loss scale of mixed precision, so that no stage depends on earlier stages in this process.

    Args:
        state: Loss scale in a checkpoint; empty for a new stage, or if the checkpoint was made without loss scaling.
    """
    fabric.strategy.precision.load_state_dict(state or torch.amp.GradScaler("cpu").state_dict())


def _check_batches(recipe: Recipe, world: int) -> None:
    """Checks all stages before hours of training: a later stage could not run."""
    for part in recipe.parts():
        for number, stage in enumerate(part.stages):
            if stage.batch_size % world:
                has_own_stages = "stages" in recipe.members.get(part.label, {})
                where = f"members.{part.label}.stages" if has_own_stages else "stages"
                raise KitError(
                    f"{where}.{number}.batch_size: {stage.batch_size} images cannot be shared evenly by {world} "
                    f"processes: start another number, or set {-(-stage.batch_size // world) * world}"
                )
