"""What the arithmetic runs on: one process or many, CPU or GPU, through Lightning Fabric."""

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
    """The devices of this process; under `torchrun`, one process of PyTorch DDP.

    Args:
        recipe: Its precision applies on a GPU; a CPU computes in 32 bits unless told otherwise.

    Raises:
        KitError: the processes cannot share a batch of some stage evenly.
    """
    allocator.keep_freed_memory()
    world = int(os.environ.get("WORLD_SIZE", 1))
    _check_batches(recipe, world)
    # While an encoder is frozen, and for a head that the loss leaves out, some weights get no gradient.
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
    """What the arithmetic is done in on this machine.

    `auto` takes bfloat16 where a GPU computes in it, which needs no loss scale, and float16 on an older one.
    """
    if recipe.precision != "auto":
        return recipe.precision
    if not torch.cuda.is_available():
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"


def with_shared_batch_norm(network: Segmenter, fabric: lightning_fabric.Fabric) -> Segmenter:
    """The network with batch norm over the whole batch, as one GPU alone would have it, where GPUs share it.

    Names of weights stay the same.
    """
    if fabric.world_size == 1 or fabric.device.type != "cuda":  # there is none for CPUs
        return network
    return timm.layers.convert_sync_batchnorm(network)


def set_loss_scale(fabric: lightning_fabric.Fabric, state: dict) -> None:
    """Sets what mixed precision scales the loss by, so that no stage depends on what ran before in this process.

    Args:
        state: From a checkpoint; empty: as at the start, and after a training that had none.
    """
    fabric.strategy.precision.load_state_dict(state or torch.amp.GradScaler("cpu").state_dict())


def _check_batches(recipe: Recipe, world: int) -> None:
    """Refuses, before hours of training, what a later stage could not do."""
    for part in recipe.parts():
        for number, stage in enumerate(part.stages):
            if stage.batch_size % world:
                own = "stages" in recipe.members.get(part.label, {})
                where = f"members.{part.label}.stages" if own else "stages"
                raise KitError(
                    f"{where}.{number}.batch_size: {stage.batch_size} images cannot be shared evenly by {world} "
                    f"processes: start another number, or set {-(-stage.batch_size // world) * world}"
                )
