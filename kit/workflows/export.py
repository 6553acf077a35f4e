"""The verb `export`: the trained networks of a run as ONNX files."""

from pathlib import Path

from kit.inference import backends
from kit.recipes.schema import Recipe
from kit.workflows import int8 as eight_bits
from kit.workflows.workspace import Workspace, check_maps, open_run


def export(workspace: Workspace, data: Path | str, recipe: Recipe, int8: bool = False) -> list[Path]:
    """Writes each network of a run as ONNX beside its weights, checked against torch.

    Args:
        workspace: Where things lie.
        data: The competition's folder, whose run of the recipe is used.
        recipe: Of the run.
        int8: Write them in 8 bits instead, measured against torch on the out-of-fold images.

    Returns:
        The files; those that were there already are kept.

    Raises:
        KitError: there is no trained run, its weights are no longer those of its maps, the packages are missing, or 8
            bits move the Dice.
    """
    backends.check(backends.INT8 if int8 else "onnxruntime")
    from kit.inference import export as onnx

    opened = open_run(workspace, data, recipe)
    trained = opened.run.trained(recipe)
    check_maps(opened)
    if int8:
        return [path for paths in eight_bits.ensure(opened).weights.values() for path in paths]
    return [
        onnx.ensure(weights, part.network, part.stages[-1].size)
        for part in recipe.parts()
        for weights in trained.weights[part.label]
    ]
