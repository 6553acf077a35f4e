"""The options that several verbs share."""

from pathlib import Path
from typing import Annotated

import typer

from kit import recipes

DEMO = Path("data/demo")
UNCHANGED: list[str] = []
"""A recipe as it is."""

Data = Annotated[Path, typer.Option(help="Folder of the competition's files; the default demo is made when missing.")]
RecipeName = Annotated[
    str,
    typer.Option(help="Name of a recipe (`kit recipes`), or the path of a .yaml file.", autocompletion=recipes.names),
]
Overrides = Annotated[
    list[str],
    typer.Option("--set", help="KEY=VALUE pairs over the recipe: 'stages.0.epochs=2 seed=1'; may be repeated."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave out images that cannot be read, and say which.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Accept label rows without an image.")]
CompetitionName = Annotated[str | None, typer.Option(help="Name on Kaggle; default: as in kaggle.yaml.")]
UserName = Annotated[str | None, typer.Option(help="Account on Kaggle; default: as in kaggle.yaml.")]
RunFolder = Annotated[Path | None, typer.Option(help="The run; default: runs/NAME/RECIPE of the data and the recipe.")]
