"""The verb `export`: the trained networks of a run as ONNX files."""

import logging
from pathlib import Path

from kit.core.progress import progress
from kit.inference import backends
from kit.recipes.schema import Recipe
from kit.workflows.workspace import Workspace, check_maps, open_run

log = logging.getLogger(__name__)


def export(workspace: Workspace, data: Path | str, recipe: Recipe) -> list[Path]:
    """Writes each network of a run as ONNX beside its weights, checked against torch.

    Returns:
        The files; those that were there already are kept.

    Raises:
        KitError: there is no trained run, its weights are no longer those of its maps, or the packages are missing.
    """
    backends.check("onnxruntime")
    from kit.inference import export as onnx

    opened = open_run(workspace, data, recipe)
    trained = opened.run.trained(recipe)
    check_maps(opened)
    networks = [(weights, part) for part in recipe.parts() for weights in trained.weights[part.label]]
    log.info("%s: %d networks as ONNX, each checked against torch", opened.run.folder, len(networks))
    return [
        onnx.ensure(weights, part.network, part.stages[-1].size)
        for weights, part in progress(networks, "exporting", unit="network")
    ]
