"""What the arithmetic runs on: one process or many, CPU or GPU, through Lightning Fabric."""

import os

import lightning_fabric
import torch
from lightning_fabric.strategies import DDPStrategy

from kit.recipe import Recipe


def launch(recipe: Recipe) -> lightning_fabric.Fabric:
    """The devices of this process; under `torchrun`, one process of PyTorch DDP.

    Args:
        recipe: Its precision applies on a GPU; a CPU computes in 32 bits unless told otherwise.
    """
    world = int(os.environ.get("WORLD_SIZE", 1))
    precision = recipe.precision
    if precision == "auto":
        precision = "16-mixed" if torch.cuda.is_available() else "32-true"
    # While an encoder is frozen, and for a head that the loss leaves out, some weights get no gradient.
    strategy = DDPStrategy(find_unused_parameters=True) if world > 1 else "auto"
    fabric = lightning_fabric.Fabric(
        accelerator="cuda" if torch.cuda.is_available() else "cpu",
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", 1)),
        num_nodes=int(os.environ.get("GROUP_WORLD_SIZE", 1)),
        strategy=strategy,
        precision=precision,
    )
    fabric.launch()
    return fabric
