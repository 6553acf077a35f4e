"""`make bench-gpu`: what one GPU makes of `exp5`, and how much of it is the kit's own. Writes docs/performance-gpu.md.

Whole epochs by the kit's loop against the bare step on tensors that lie on the GPU, the loader alone, the most memory,
and prediction with TTA, at each size. Images are noise and weights random: neither changes the speed. One command,
under eight minutes on a bare machine, the first of which go into building the environment.
"""

import platform
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from kit import networks, recipes
from kit.core.files import write_text
from kit.data.augmentation import Augmentation
from kit.data.cache import Cache
from kit.data.dataset import FoldData, Loader, Samples
from kit.inference import model
from kit.recipes.schema import Recipe
from kit.recipes.stage import Stage
from kit.training import fabric_setup, fit, losses
from kit.training.state import build_optimizer

SIZES = {256: 64, 512: 16, 1024: 4}
"""Images a step by pixels a side: those of the paper, and a quarter at twice the size."""
EPOCH = 1600
"""Images an epoch at 256×256; a quarter as many at twice the size."""
NETWORK = "network.encoder_weights=null"
"""Over those of `exp5`, whose speed does not depend on its weights."""
PAGE = Path(__file__).parents[2] / "docs" / "performance-gpu.md"
HEAD = [
    "pixels",
    "batch",
    "images/s, an epoch",
    "of the bare step",
    "loader alone, images/s",
    "peak GiB",
    "ms to predict",
]


def main() -> None:
    """Measures and writes the page."""
    if not torch.cuda.is_available():
        sys.exit("bench-gpu: PyTorch finds no GPU here (`make doctor` says more); `make bench` is for processors")
    began = time.monotonic()
    rows = [cells(size, batch, EPOCH * 256**2 // size**2 // batch) for size, batch in SIZES.items()]
    text = page(torch.cuda.get_device_name(), rows, time.monotonic() - began)
    write_text(PAGE, text)
    print(text)


def page(device: str, rows: list[list[str]], seconds: float) -> str:
    """The page as Markdown."""
    table = "\n".join(f"| {' | '.join(row)} |" for row in (HEAD, ["---"] * len(HEAD), *rows))
    about = f"{device}, PyTorch {torch.__version__}, Python {platform.python_version()}, {seconds:.0f} s in all"
    return (
        f"# Performance on a GPU\n\n`make bench-gpu`: {about}.\n\n"
        "`exp5` (U-Net, ResNet-34), augmented by A1 to A4, in mixed precision. `cudnn.benchmark` is off: the fastest\n"
        f"kernels of one run need not be those of the next, and runs are to repeat.\n\n{table}\n"
    )


def cells(size: int, batch: int, steps: int) -> list[str]:
    """One line of the table.

    Args:
        size: Pixels a side.
        batch: Images a step.
        steps: Of an epoch.
    """
    recipe, data = _recipe(size, batch), _data(size, batch * steps)
    images = batch * steps
    fabric = fabric_setup.launch(recipe)
    on_gpu = fabric.device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    with TemporaryDirectory() as folder:
        fit.fit(fabric, fit.Task(recipe, 0, 0, data, Path(folder)))
        epoch = float(pd.read_csv(Path(folder) / "metrics.csv").seconds[1])  # the first one warms up
        weights = Path(folder) / "weights.safetensors"
        predicted = _prediction(recipe, weights, data.cache.images[:batch])
    peak = torch.cuda.max_memory_allocated() / 2**30 if on_gpu else float("nan")
    bare, alone = _bare(recipe, data, batch, steps), _loading(recipe, data, batch)
    return [
        f"{size}×{size}",
        str(batch),
        f"{images / epoch:.0f}",
        f"{bare / epoch:.0%}",
        f"{images / alone:.0f}",
        f"{peak:.1f}",
        f"{1000 * predicted / batch:.1f}",
    ]


def _recipe(size: int, batch: int) -> Recipe:
    loaded = recipes.load("exp5", NETWORK)
    return loaded.model_copy(update={"stages": (Stage(size=size, batch_size=batch, epochs=2, validate_every=2),)})


def _data(size: int, count: int) -> FoldData:
    images = np.random.default_rng(0).integers(0, 256, (count, size, size), np.uint8)
    cache = Cache(images, (images > 250).astype(np.uint8), (b"",) * count, np.zeros(count, bool))
    return FoldData(cache, np.arange(count), np.arange(0), np.ones(count, bool))


def _bare(recipe: Recipe, data: FoldData, batch: int, steps: int) -> float:
    """Seconds of as many steps on one batch that lies on the device."""
    fabric = fabric_setup.launch(recipe)
    network = networks.build(recipe.network).train()
    model, optimizer = fabric.setup(network, build_optimizer(recipe.optimizer, network, 1e-3))
    images, masks = (
        torch.from_numpy(np.array(array[:batch]))[:, None].to(fabric.device)
        for array in (data.cache.images, data.cache.masks)
    )

    def step() -> None:
        loss = losses.total(recipe.loss, *model(images), masks)
        optimizer.zero_grad()
        fabric.backward(loss)
        optimizer.step()

    return _seconds(step, steps)


def _loading(recipe: Recipe, data: FoldData, batch: int) -> float:
    """Seconds of an epoch of samples that nothing is done with."""
    samples = Samples(data.cache, Augmentation(recipe.augmentation, recipe.stages[0].size))
    began = time.perf_counter()
    for _ in Loader(samples).epoch(np.array_split(data.training, len(data.training) // batch)):
        pass
    return time.perf_counter() - began


def _prediction(recipe: Recipe, weights: Path, images: np.ndarray) -> float:
    """Seconds of a batch with TTA, to the probabilities in memory."""
    models = model.load_networks(recipe, [weights])
    return _seconds(lambda: model.probabilities(models, np.array(images), recipe), 5) / 5


def _seconds(action, count: int) -> float:
    """Of `count` actions after two that warm up, until the GPU has done them."""
    for _ in range(2):
        action()
    _wait()
    began = time.perf_counter()
    for _ in range(count):
        action()
    _wait()
    return time.perf_counter() - began


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
