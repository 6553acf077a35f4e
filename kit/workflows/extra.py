"""Opens the extra data of a recipe, and finds which of its images each fold may train on."""

from pathlib import Path

from kit.competition.layout import Competition
from kit.core.errors import KitError
from kit.data.extra import ExtraData, keep_apart
from kit.data.folds import Folds
from kit.recipes.schema import Recipe
from kit.workflows.workspace import Workspace


def open_extra(workspace: Workspace, main: Competition, recipe: Recipe, split: Folds) -> dict[str, ExtraData]:
    """Opens the extra data of all members of a recipe, by the value of `extra.data`.

    Raises:
        KitError: there is no such data set, two have one name, or nothing of one is left to train on.
    """
    opened: dict[str, ExtraData] = {}
    for name in sorted({part.extra.data for part in recipe.parts() if part.extra}):
        folder = Path(name) if "/" in name else workspace.root / "data" / name
        workspace.draw_demo(folder)
        if not folder.is_dir():
            raise KitError(f"extra.data={name}: {folder} is not a folder: name one in data/, or give a path with a /")
        competition = workspace.open_data(folder)
        if competition.name in {main.name, *(other.name for other in opened.values())}:
            raise KitError(
                f"extra.data={name}: another data set of this training is called {competition.name}, too, and they "
                "would share a cache: rename the folder"
            )
        opened[name] = keep_apart(competition, main, split)
        if not any(len(opened[name].rows(fold)) for fold in split.numbers):
            raise KitError(f"{opened[name]}: nothing is left to train on: leave extra out, or choose other data")
    return opened
