"""Options that several verbs share."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli.app import CALL
from kit.core.errors import KitError, did_you_mean

if TYPE_CHECKING:
    from kit.recipes.schema import Recipe

DEMO = Path("data/demo")


def recipe_names() -> list[str]:
    """Returns the names of the recipes, for completion in a shell."""
    from kit import recipes

    return recipes.names()


# A metavar in capitals is the variable of make that sets an option (`kit.cli.make`).
Data = Annotated[
    Path,
    typer.Option(
        metavar="DATA", help="Folder of the competition's files; default: the demo, which `folds` and `train` draw."
    ),
]
RecipeName = Annotated[
    str | None,
    typer.Option(
        metavar="RECIPE",
        help="Name of a recipe (`kit recipes`) or path of a .yaml file; required for all data but the demo.",
        show_default="demo",
        autocompletion=recipe_names,
    ),
]
Overrides = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="SET",
        default_factory=list,
        show_default=False,
        help="KEY=VALUE pairs that change the recipe: 'stages.0.epochs=2 seed=1'; may be repeated.",
    ),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read, and list them.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Accept label rows without an image.")]
CompetitionName = Annotated[str | None, typer.Option(help="Name on Kaggle; default: as in kaggle.yaml.")]
UserName = Annotated[str | None, typer.Option(help="Account on Kaggle; default: as in kaggle.yaml.")]
Sources = Annotated[
    list[str],
    typer.Option(
        "--source",
        default_factory=list,
        show_default=False,
        help="OWNER/NAME of a data set on Kaggle with the images to train on; may be repeated.",
    ),
]
RunFolder = Annotated[Path | None, typer.Option(help="The run; default: runs/NAME/RECIPE of the data and the recipe.")]


def one_of(*words: str) -> Callable[[typer.Context, typer.CallbackParam, str], str]:
    """Returns an option callback that accepts only the given words, before anything else is checked."""

    def check(context: typer.Context, option: typer.CallbackParam, word: str) -> str:
        if word not in words:
            CALL.context = context  # the verb has not begun yet
            raise KitError(f"{option.opts[0]} {word}: choose {' or '.join(words)}{did_you_mean(word, words)}")
        return word

    return check


def recipe_for(data: Path, name: str | None) -> str:
    """Returns the name of the recipe to use; the default is `demo`, for the demo alone.

    Raises:
        KitError: no recipe is given for other data, for which the demo's image sizes are far too small.
    """
    if name is not None:
        return name
    from kit import phantom

    if data.exists() and not phantom.is_drawn(data):
        which = "exp5 with a GPU, small without one, another of `kit recipes`, or a .yaml file"
        raise KitError(f"{data}: give a recipe with --recipe: {which}")
    return "demo"


def load_recipe(data: Path, name: str | None, overrides: Sequence[str]) -> "Recipe":
    """Loads the recipe to use, see `recipe_for`."""
    from kit import recipes

    return recipes.load(recipe_for(data, name), overrides)
