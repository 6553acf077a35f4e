"""Finds the extra data that a recipe names, and what of it each fold may train on."""

from pathlib import Path

from kit.competition.layout import Competition
from kit.core.errors import KitError
from kit.data.extra import ExtraData, keep_apart
from kit.data.folds import Folds
from kit.recipes.schema import Recipe
from kit.workflows.workspace import Workspace


def open_extra(workspace: Workspace, own: Competition, recipe: Recipe, split: Folds) -> dict[str, ExtraData]:
    """The extra data of all members of a recipe, by what `extra.data` says.

    Raises:
        KitError: there is no such data set, two have one name, or nothing of one is left to train on.
    """
    found: dict[str, ExtraData] = {}
    for given in sorted({part.extra.data for part in recipe.parts() if part.extra}):
        folder = Path(given) if "/" in given else workspace.root / "data" / given
        workspace.draw_demo(folder)
        if not folder.is_dir():
            raise KitError(f"extra.data={given}: {folder} is not a folder: name one in data/, or give a path with a /")
        competition = workspace.open_data(folder)
        if competition.name in {own.name, *(other.name for other in found.values())}:
            raise KitError(
                f"extra.data={given}: another data set of this training is called {competition.name}, too, and they "
                "would share a cache: rename the folder"
            )
        found[given] = keep_apart(competition, own, split)
        if not any(len(found[given].rows(fold)) for fold in split.numbers):
            raise KitError(f"{found[given]}: nothing is left to train on: leave extra out, or choose other data")
    return found
