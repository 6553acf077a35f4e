"""A batch as each process of a training computes it, in one process or in two as under `torchrun`."""

import os
from pathlib import Path

import lightning_fabric
import numpy as np
import torch
from lightning_fabric.strategies import DDPStrategy
from torch import nn

from kit import recipes
from kit.recipes.schema import Loss
from kit.training import step
from kit.training.averaging import Checkpoints
from kit.training.state import TrainState


class Tiny(nn.Module):
    """A network that treats each image separately."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 1)

    def forward(self, images):
        return self.last(self.first(images.float() / 255).tanh()), None


def main(folder: Path, environment: dict[str, str]) -> None:
    """Writes `RANK-of-WORLD.pt`."""
    os.environ.update(environment)
    torch.set_num_threads(1)
    world = int(os.environ.get("WORLD_SIZE", 1))
    strategy = DDPStrategy(find_unused_parameters=True) if world > 1 else "auto"
    fabric = lightning_fabric.Fabric(accelerator="cpu", devices=world, strategy=strategy)
    fabric.launch()
    random = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (8, 1, 8, 8), dtype=torch.uint8, generator=random)
    masks = (images > 160).to(torch.uint8)
    masks[::2] = 0
    mine = slice(fabric.global_rank, None, world)
    found = {}
    for over in ("image", "batch"):
        for micro_batch in (None, 1):
            model = fabric.setup_module(Tiny())
            loss = step.backward(fabric, model, Loss(dice_over=over), images[mine], masks[mine], micro_batch)
            gradient = torch.cat([weight.grad.flatten() for weight in model.parameters()])
            found[f"{over} {micro_batch}"] = {"loss": loss, "gradient": gradient}
    found["statistics"] = _statistics(fabric, images, mine)
    found["dropout"] = _dropout(fabric)
    torch.save(found, folder / f"{fabric.global_rank}-of-{world}.pt")


def _statistics(fabric, images, mine) -> dict:
    """Batch-norm mean of averaged weights, and the number of images that this process used for it."""
    seen = []
    network = nn.Sequential(nn.BatchNorm2d(1))
    network.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    kept = Checkpoints(recipes.load("demo", "stages.0.keep.swa.last=2 stages.0.epochs=2").stages[0])
    for epoch in range(2):
        kept.add(network, epoch, {"score": 0.5})
    parts = [(images[start : start + 4].float()[mine], None) for start in (0, 4)]
    [state] = kept.final_weights(network, parts, fabric.all_reduce)
    return {"mean": state["0.running_mean"], "seen": sum(seen)}


def _dropout(fabric) -> torch.Tensor:
    """The first random numbers of an epoch."""

    class Drawing(TrainState):
        def __init__(self) -> None:
            self._fabric, self._seed = fabric, 7

    Drawing().seed_epoch(3)
    return torch.from_numpy(np.array(torch.rand(4)))
