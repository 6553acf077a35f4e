"""The verb `export`: the trained networks of a run as ONNX files."""

from pathlib import Path

from kit.inference import backends
from kit.recipes.schema import Recipe
from kit.workflows.workspace import Workspace, check_maps, open_run


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
    return [
        onnx.ensure(weights, part.network, part.stages[-1].size)
        for part in recipe.parts()
        for weights in trained.weights[part.label]
    ]
