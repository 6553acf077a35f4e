"""Prediction: whole, from files to a submission, against the forward alone."""

from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from kit import networks, phantom, recipes
from kit.competition import layout
from kit.core import files
from kit.inference import model
from kit.recipes.schema import Recipe
from kit.run import Run
from kit.workflows.predict import predict_files
from tests.bench.measure import Row, in_turn

FILES = 16
"""Test images of 1024×1024."""


def rows() -> list[Row]:
    """A row a measurement."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        phantom.write(folder / "data", train=2, test=FILES, size=1024)
        test = layout.open_folder(folder / "data").test
        return [_whole(folder, recipe, test) for recipe in ("exp5", "small")]


def _run(folder: Path, recipe: Recipe) -> Run:
    """A run of one fold with random weights, and a rule that gives every image a mask."""
    run = Run(folder / "runs" / recipe.name)
    torch.manual_seed(0)
    for stage in range(len(recipe.stages)):
        networks.save_weights(run.weights(0, stage), networks.build(recipe.network, pretrained=False))
    files.write_json(run.thresholds, {"rule": "component", "binarization": 0.5, "removal": 2048})
    return run


def _whole(folder: Path, name: str, test: dict[str, Path]) -> Row:
    recipe = recipes.load(name, "threshold.rule=component")
    size = recipe.stages[-1].size
    run = _run(folder, recipe)
    trained, number = run.trained(recipe), count()
    weights = [run.weights(0, len(recipe.stages) - 1)]
    noise = np.random.default_rng(0).integers(0, 256, (FILES, size, size), np.uint8)

    def whole() -> None:
        target = Run(folder / f"{name}{next(number)}")
        predict_files(trained, test, tuple(test), target, (1024, 1024), skip_bad=False, whole=False)

    def forward() -> None:
        models = model.load_networks(recipe, weights)  # once for a test set: of few images it is a share of each
        for start in range(0, FILES, recipe.stages[-1].batch_size):
            model.probabilities(models, noise[start : start + recipe.stages[-1].batch_size], recipe)

    ours, alone = in_turn(whole, forward, repeats=2 if name == "exp5" else 3)
    return Row(
        f"{name}: predict an image at {size}², from DICOM to submission, with TTA",
        ours.per(FILES),
        limit=alone.per(FILES),
        bound="loading the network and the forward alone",
        bottleneck="the forward; decoding shares its cores",
        share=1 / 1.1,
        why="decoding and masks take cores from the forward",
        wall=True,
    )
