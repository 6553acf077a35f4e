"""The smallest trained runs, on phantoms of 64 pixels: networks of 0.3 million random weights in two folds."""

from pathlib import Path

import torch

from kit import networks, phantom, recipes
from kit.core import files
from kit.inference import ensemble
from kit.run import Run

SHAPE = (64, 64)
"""Height and width of the images."""

RECIPE = {
    "name": "small",
    "network": {
        "encoder": "tu-mobilenetv3_small_050",
        "encoder_weights": None,
        "decoder_channels": [8, 8, 8, 8, 8],
    },
    "stages": [{"size": 64, "epochs": 1, "batch_size": 2}],
}
CLASSIFIER = {"role": "classify", "network": {"image_head": True}, "loss": {"image": 1}}
ENSEMBLE = RECIPE | {
    "name": "gated",
    "members": {
        "a": {},
        "b": {"stages": [{"size": 32, "epochs": 1, "batch_size": 3}]},
        "first": CLASSIFIER,
        "second": CLASSIFIER,
    },
}
"""Two networks of different sizes, gated by a stack of two classifiers."""


def write(here: Path, content: dict = RECIPE) -> Run:
    """Writes data/tiny and a run of the recipe below a folder; gives the run, relative to it."""
    if not (here / "data" / "tiny").exists():
        phantom.write(here / "data" / "tiny", train=6, test=5, size=SHAPE[0])
    settings = recipes.parse(content, content["name"])
    place = Path("runs/tiny") / settings.name
    run = Run(here / place)
    files.write_text(run.recipe_path, settings.dump())
    torch.manual_seed(0)
    for part in settings.parts():
        for fold in range(2):
            network = networks.build(part.network, pretrained=False)
            networks.save_weights(run.part(part).weights(fold, 0), network)
    rule = {"rule": "image", "binarization": 0.5, "removal": 0, "recipe": settings.name}
    if settings.is_gated:
        rule["gate"], labels = 0.5, [part.label for part in settings.members_that("classify")]
        for tta in (True, False):
            ensemble.Stack(members=labels, weights=[40.0, -60.0], bias=0.1).write(run.stack(tta=tta))
    files.write_json(run.thresholds, rule)
    return Run(place)
