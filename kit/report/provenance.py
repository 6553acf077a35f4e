"""Provenance of a run (recipe, data, software, machine, hashes), and its model card."""

import os
import platform
from typing import Any

from kit import lineage, phantom
from kit.competition.finding import PNEUMOTHORAX
from kit.competition.layout import Competition
from kit.core.files import sha256
from kit.core.version import VERSION, installed
from kit.report import figures, stats
from kit.report.document import Card
from kit.run import Run

PACKAGES = (
    "torch",
    "torchvision",
    "segmentation-models-pytorch",
    "timm",
    "lightning-fabric",
    "albumentations",
    "numpy",
    "opencv-python-headless",
    "pydicom",
    "scikit-learn",
)
INTENDED = {
    "phantom": (
        "To try the kit out. The model has seen nothing but drawn phantoms: it says nothing about any patient, and its "
        "scores say nothing about scores on real radiographs, which are far harder."
    ),
    "siim": (
        "Research and teaching: to study segmentation of pneumothorax in frontal chest radiographs and to take part in "
        "the SIIM-ACR challenge. The images are films of one hospital, scaled to one size and to eight bits; others "
        "have not been studied."
    ),
    "other": (
        "Research and teaching, on images like those that it was trained on, whose origin the kit does not know. "
        "Others have not been studied."
    ),
}
NOT_FOR = (
    "This is not a medical device. It is neither cleared nor evaluated for diagnosis, triage or any decision about a "
    "patient, and must not be used for one."
)
DRAINS = (
    " Chest drains are a known shortcut: many images with a drain have a treated "
    "pneumothorax, so that a score here overstates what is found before treatment."
)
LICENCES = {
    "phantom": "The images are phantoms that the kit draws itself; they fall under its licence, Apache-2.0.",
    "siim": (
        "Pixels: NIH ChestX-ray14, National Institutes of Health Clinical Center, free to use with attribution. Masks: "
        "SIIM, ACR and STR, under the rules of the challenge. Passing on either with this page's model must observe "
        "these terms. This page contains small copies of the images: treat it like the data."
    ),
    "other": (
        "The kit does not know the terms of these images: ask their owner before anything is passed on. This page "
        "contains small copies of them: treat it like the data."
    ),
}
SIIM = "1.2.276.0.7230010.3.1.4.8323329."
"""Prefix of the ids of all images of the SIIM-ACR challenge."""


def card(run: Run, competition: Competition) -> Card:
    """Returns the model card of a run."""
    origin, overview = source(competition), stats.overview(competition)
    return Card(
        intended=INTENDED[origin],
        not_for=NOT_FOR + DRAINS * (competition.finding == PNEUMOTHORAX),
        licence=LICENCES[origin],
        overview={str(name): int(count) for name, count in overview.items()},
        breakdown=figures.records(stats.breakdown(stats.metadata(competition), competition.finding)),
        recipe=run.read_recipe().dump(),
        software=software(),
        machine=machine(),
        hashes=hashes(run),
    )


def software() -> dict[str, str]:
    """Returns the version of each package that makes the page."""
    packages = {name: installed(name) or "not installed" for name in PACKAGES}
    return {"kit": VERSION, "Python": platform.python_version()} | packages


def machine() -> dict[str, str]:
    """Describes the machine that makes the page."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
    }


def hashes(run: Run) -> dict[str, str]:
    """Returns the SHA-256 of each input and result of a run, by name."""
    digests: dict[str, Any] = {}
    if run.inputs_path.is_file():
        inputs = lineage.read_inputs(run)
        digests = inputs.model_dump(exclude={"starts", "extra"})
        digests |= {f"extra data {name}": key for name, key in inputs.extra.items()}
    for path in (run.recipe_path, run.thresholds, run.submission):
        if path.is_file():
            digests[path.name] = sha256(path)
    return {name: str(value) for name, value in digests.items()}


def source(competition: Competition) -> str:
    """Returns where the images come from: `phantom` (the demo), `siim` (the challenge, by its ids) or `other`."""
    if phantom.is_drawn(competition.folder):
        return "phantom"
    return "siim" if all(image.startswith(SIIM) for image in competition.train) else "other"
