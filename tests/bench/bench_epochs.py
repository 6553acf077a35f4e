"""Whole epochs through the kit against the bare step on tensors in memory: what the kit's own work adds."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import torch

from kit import networks, recipes
from kit.data.cache import Cache
from kit.data.dataset import FoldData
from kit.recipes.schema import Recipe
from kit.recipes.stage import Stage
from kit.training import fabric_setup, fit, losses
from kit.training.state import build_optimizer
from tests.bench.measure import Measure, Row, in_turn

# Recipe, pixels a side, images a step, steps an epoch.
EPOCHS = [("small", 256, 4, 4), ("exp5", 256, 4, 2)]


def rows() -> list[Row]:
    """A row a measurement."""
    return [*(_epoch(*epoch) for epoch in EPOCHS), _validation()]


def _epoch(name: str, size: int, batch: int, steps: int) -> Row:
    recipe, data = _recipe(name, size, batch), _data(size, batch * steps, 0)
    bare = _bare(recipe, data, batch, steps)
    seconds: list[float] = []
    _, limit = in_turn(lambda: seconds.append(_train(recipe, data)), bare)
    return Row(
        f"epoch of {name}, {size} px, batch {batch}, augmented, a step",
        Measure(tuple(seconds[1:])).per(steps),
        limit=limit.per(steps),
        bound="bare step",
        bottleneck="the step itself",
        share=0.97,
        why="samples are augmented by threads of the same cores, and an epoch's first batch has to be waited for",
    )


def _validation() -> Row:
    """What an epoch costs more with a validation, for as many images as it trains on."""
    size, batch, steps = 256, 4, 3
    recipe = _recipe("small", size, batch)
    both, alone = _data(size, batch * steps, batch * steps), _data(size, batch * steps, 0)
    with_it: list[float] = []
    without: list[float] = []
    in_turn(lambda: with_it.append(_train(recipe, both)), lambda: without.append(_train(recipe, alone)))
    extra = Measure(tuple(one - other for one, other in zip(with_it[1:], without[1:], strict=True)))
    return Row(
        f"validation of an image, small, {size} px, batch {batch}; `validate_every` says how often",
        extra.per(batch * steps),
        Measure(tuple(without[1:])).per(batch * steps),
        "training on an image",
        bottleneck="the forward, a third of a step's arithmetic",
    )


def _recipe(name: str, size: int, batch: int) -> Recipe:
    loaded = recipes.load(name, "network.encoder_weights=null augmentation=[flip,light,distortion,crop]")
    return loaded.model_copy(update={"stages": (Stage(size=size, batch_size=batch, epochs=1),)})


def _data(size: int, training: int, validation: int) -> FoldData:
    count = training + validation
    images = np.random.default_rng(0).integers(0, 256, (count, size, size), np.uint8)
    masks = (images > 250).astype(np.uint8)
    masks[::2] = 0
    cache = Cache(images, masks, (b"",) * count, np.zeros(count, bool))
    chosen = np.arange(training)
    return FoldData(cache, chosen, np.arange(training, count), masks[chosen].any(axis=(1, 2)))


def _train(recipe: Recipe, data: FoldData) -> float:
    """Seconds of one epoch."""
    with TemporaryDirectory() as folder:
        fit.fit(fabric_setup.launch(recipe), fit.Task(recipe, 0, 0, data, Path(folder)))
        return float(pd.read_csv(Path(folder) / "metrics.csv").seconds[0])


def _bare(recipe: Recipe, data: FoldData, batch: int, steps: int):
    network = networks.build(recipe.network).train()
    optimizer = build_optimizer(recipe.optimizer, network, 1e-3)
    images, masks = (torch.from_numpy(array[:batch])[:, None] for array in (data.cache.images, data.cache.masks))

    def step() -> None:
        for _ in range(steps):
            loss = losses.total(recipe.loss, *network(images), masks)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return step
