"""Verbs of a submission: `validate`, `submit` and `scores`."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from kit.cli.app import app, verb
from kit.cli.options import DEMO, CompetitionName, Overrides, RecipeName, SkipBad, one_of, recipe_for
from kit.cli.spelling import say
from kit.core.errors import KitError
from kit.workflows.workspace import Workspace


@verb(app, "validate", ["kit validate mine.csv --data ../siim"], excludes={"sample": ["data"]})
def check_file(
    *,
    file: Annotated[Path, typer.Argument(help="The submission.")],
    data: Annotated[
        Path | None,
        typer.Option(metavar="DATA", help="Folder of the competition's files: check ids and sizes against it."),
    ] = None,
    sample: Annotated[Path | None, typer.Option(help="A sample submission: check ids against it instead.")] = None,
) -> None:
    """Check a submission file, and list its problems, each with its line.

    Ids are checked against the given data or sample; without either, only the form is checked.
    """
    from kit.competition import submission
    from kit.workflows import validate

    problems = validate.validate(file, Workspace().open_data(data) if data is not None else sample)
    say("\n".join(submission.describe(problems)) or f"{file}: valid")
    if data is None and sample is None:
        say("checked: its form alone, for images of 1024×1024; --data FOLDER or --sample FILE checks its ids, too")
    else:
        say(f"checked: form and ids, against {data or sample}")
    if problems:
        raise typer.Exit(2)


@verb(
    app,
    "submit",
    [
        "kit submit",
        "kit submit --data ../siim --recipe exp5 --to kaggle",
        "kit submit --data ../siim --to kaggle --file mine.csv",
    ],
    needs={"kernel": "to=kaggle", "competition": "to=kaggle", "yes": "to=kaggle"},
    excludes={"file": ["kernel", "recipe", "overrides", "skip_bad"], "kernel": ["skip_bad"]},
)
def submit_predictions(
    *,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="DATA", help="Folder of the competition's files; must be given for Kaggle.", show_default="the demo"
        ),
    ] = None,
    recipe: RecipeName = None,
    overrides: Overrides,
    to: Annotated[
        str, typer.Option(metavar="TO", callback=one_of("local", "kaggle"), help="local or kaggle.")
    ] = "local",
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A submission from elsewhere instead of the run's.")
    ] = None,
    kernel: Annotated[str | None, typer.Option(help="OWNER/SLUG/VERSION whose output is submitted.")] = None,
    competition: CompetitionName = None,
    again: Annotated[bool, typer.Option("--again", help="Submit a file that was submitted before.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before spending one of today's submissions.")] = False,
    skip_bad: SkipBad = False,
) -> None:
    """Predict, validate, upload or score locally, and record public and private Dice."""
    from kit import recipes
    from kit.kaggle import settings
    from kit.workflows import submit

    # Leaving out --data must not send the demo's masks to Kaggle.
    if to == "kaggle" and data is None:
        raise KitError("--to kaggle: give the competition's folder with --data")
    competition_data = data or DEMO
    # A file from elsewhere has no recipe, and any will do.
    loaded = recipes.load("demo" if file else recipe_for(competition_data, recipe), overrides)
    outcome = submit.submit(
        Workspace(),
        competition_data,
        loaded,
        to,
        file=file,
        kernel=kernel,
        kaggle_settings=settings.load(competition),
        again=again,
        yes=yes,
        skip_bad=skip_bad,
        ask=confirm,
    )
    say(outcome)


def confirm(question: str) -> bool:
    """Asks the user; the answer is no where input is not a terminal."""
    return sys.stdin.isatty() and typer.confirm(question)


@verb(app, "scores", ["kit scores"])
def print_scores() -> None:
    """Print the ledger as a table: nested Dice with its interval, all empty, public, private."""
    from kit.workflows.scores import scores

    say(scores(Workspace()))
