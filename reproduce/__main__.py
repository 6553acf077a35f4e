"""`python -m reproduce VERB`, which `make VERB` calls."""

from pathlib import Path
from typing import Annotated

import typer

from kit.cli.app import Group, verb
from kit.cli.options import DEMO, Data, Overrides, RecipeName, load_recipe, recipe_for
from kit.cli.process import main
from kit.workflows.workspace import Workspace

app = typer.Typer(
    cls=Group, add_completion=False, help="The paper's tables, figures and claims, and the trainings that they need."
)


@verb(app, "tables", ["python -m reproduce tables --data ../siim"])
def fill_tables(*, data: Data = DEMO) -> None:
    """Fill the paper's tables from the runs of a data set, as Markdown, and draw its claims as SVG."""
    from reproduce import claim_figures, tables
    from reproduce.scores import RunScores

    workspace = Workspace()
    competition = workspace.open_data(data)
    scores = RunScores(competition, workspace.runs / competition.name)
    print(tables.fill(scores))
    for picture in claim_figures.write(scores, scores.runs):
        print(f"- {picture}")


@verb(app, "figures", ["python -m reproduce figures --data ../siim --recipe exp5"])
def draw_figures(
    *,
    data: Data = DEMO,
    recipe: RecipeName = None,
    overrides: Overrides,
    out: Annotated[Path | None, typer.Option(help="Folder of the figures; default: figures/ of the run.")] = None,
) -> None:
    """Draw the paper's Figures 3 to 8 from a data set, a recipe and its run."""
    from reproduce import figures

    for picture in figures.draw(Workspace(), data, load_recipe(data, recipe, overrides), out):
        print(picture)


def _train(study: str, data: Path, overrides: list[str]) -> None:
    from reproduce import studies

    studies.train_all(Workspace(), data, studies.STUDIES[study], overrides)


@verb(app, "experiments", ["python -m reproduce experiments --data ../siim"])
def train_experiments(*, data: Data = DEMO, overrides: Overrides) -> None:
    """Train and predict `exp1` to `exp5`; finished runs are skipped, interrupted ones resume."""
    _train("experiments", data, overrides)


@verb(app, "study", ["python -m reproduce study --data ../siim"])
def train_study(*, data: Data = DEMO, overrides: Overrides) -> None:
    """Train and predict the study of augmentation: no group, A1, A2, A1 + A2, A3 and A4."""
    _train("study", data, overrides)


@verb(app, "claims", ["python -m reproduce claims"])
def train_claims(*, data: Data = DEMO, overrides: Overrides) -> None:
    """Train and predict the runs that test the paper's claims: five kinds of training with three seeds each."""
    _train("claims", data, overrides)


@verb(app, "curve", ["python -m reproduce curve --data ../siim --recipe small"])
def train_learning_curve(
    *,
    data: Data = DEMO,
    recipe: RecipeName = None,
    overrides: Overrides,
    jobs: Annotated[int, typer.Option(min=1, help="Train up to this many folds at a time.")] = 1,
) -> None:
    """Train a recipe on 25, 50 and 100 % of the images with three seeds each, and print the out-of-fold scores."""
    from reproduce import curve

    measured = curve.train_curve(Workspace(), data, recipe_for(data, recipe), overrides, jobs)
    print(curve.table(measured))


if __name__ == "__main__":
    main(app, "reproduce")
