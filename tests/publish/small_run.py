"""The smallest trained run: a network of 0.3 million random weights in two folds, on phantoms of 64 pixels."""

from pathlib import Path

import torch

from kit import files, networks, recipe
from kit.competition import phantom
from kit.run import Run

RECIPE = {
    "name": "small",
    "network": {
        "encoder": "tu-mobilenetv3_small_050",
        "encoder_weights": None,
        "decoder_channels": [8, 8, 8, 8, 8],
    },
    "stages": [{"size": 64, "epochs": 1, "batch_size": 2}],
}


def write(here: Path) -> Run:
    """Writes data/tiny and runs/tiny/small below a folder; gives the run, relative to it."""
    phantom.write(here / "data" / "tiny", train=6, test=5, size=64)
    run = Run(here / "runs" / "tiny" / "small")
    settings = recipe.parse(RECIPE, "small")
    files.write_text(run.recipe_path, settings.dump())
    torch.manual_seed(0)
    for fold in range(2):
        networks.save_weights(run.weights(fold, 0), networks.build(settings.network, pretrained=False))
    files.write_json(run.thresholds, {"rule": "image", "binarization": 0.5, "removal": 0, "recipe": "small"})
    return Run(Path("runs/tiny/small"))
