"""The verb `export`: a trained run as one model file, and its networks as ONNX files."""

import logging
from pathlib import Path

from kit.core import store
from kit.core.errors import KitError
from kit.core.files import sha256
from kit.core.progress import progress
from kit.inference import export as onnx
from kit.inference import model_file
from kit.inference.model import Model
from kit.recipes.schema import Recipe
from kit.workflows.workspace import Workspace, check_maps, open_run

log = logging.getLogger(__name__)


def export(workspace: Workspace, data: Path | str, recipe: Recipe) -> list[Path]:
    """Writes a run as one model file, and each network as an ONNX file next to its weights, checked against torch.

    Returns:
        The files, written anew unless they are current; without ONNX files if their packages are not installed.

    Raises:
        KitError: there is no trained run, or its maps were made with other weights.
    """
    opened = open_run(workspace, data, recipe)
    trained = opened.run.trained(recipe)
    check_maps(opened)
    made_from = {
        "weights": {label: [sha256(path) for path in paths] for label, paths in trained.weights.items()},
        "chosen": [sha256(path) for path in (trained.thresholds, *trained.stacks.values())],
        "recipe": recipe.dump(),
        "format": [model_file.FORMAT, *model_file.Content._fields],
    }
    path = opened.run.model
    store.File(path, made_from).build(lambda: Model.load(trained, "cpu").save(path))
    try:
        for name in ("onnx", "onnxruntime"):
            onnx.package(name)
    except KitError as error:
        log.warning("no ONNX files: %s", error)
        return [path]
    networks = [(weights, part) for part in recipe.parts() for weights in trained.weights[part.label]]
    log.info("%s: %d networks as ONNX, each checked against torch", opened.run.folder, len(networks))
    with progress(networks, "exporting", unit="network").by_the_second() as bar:
        exported = [onnx.ensure(weights, part.network, part.stages[-1].size) for weights, part in bar]
    return [path, *exported]
