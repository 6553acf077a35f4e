"""Verbs of the offline kernel: `kernel build`, `kernel check` and `kernel push`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kit.cli.app import PANELS, Group, app, verb
from kit.cli.options import (
    DEMO,
    CompetitionName,
    Data,
    Overrides,
    RecipeName,
    RunFolder,
    Sources,
    UserName,
    load_recipe,
    recipe_for,
)
from kit.cli.spelling import say
from kit.workflows.workspace import Workspace

if TYPE_CHECKING:
    from kit.run import Run

group = typer.Typer(cls=Group, no_args_is_help=True, help="Build, rehearse and push the offline kernel of a run.")
app.add_typer(group, name="kernel", rich_help_panel=PANELS["kernels"])

GIVEN_RUN = {"run": ("recipe", "overrides")}


@verb(
    group,
    "build",
    [
        "kit kernel build --data ../siim --recipe exp5 --gpu --notebook",
        "kit kernel build --data ../siim --recipe exp5 --train --source your-name/siim",
    ],
    needs={"source": "train"},
    excludes={**GIVEN_RUN, "train": ("run", "gpu")},
)
def build_kernel(
    *,
    data: Data = DEMO,
    recipe: RecipeName = None,
    overrides: Overrides,
    run: RunFolder = None,
    competition: CompetitionName = None,
    user: UserName = None,
    gpu: Annotated[bool, typer.Option("--gpu", help="Ask Kaggle for a GPU.")] = False,
    time_limit: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds until the remaining images get no mask (default: 30600), or a training pauses (39600).",
        ),
    ] = None,
    notebook: Annotated[
        bool, typer.Option("--notebook", help="Write a notebook with pictures instead of a script.")
    ] = False,
    train: Annotated[bool, typer.Option("--train", help="Write the kernel that trains the recipe on Kaggle.")] = False,
    source: Sources,
) -> None:
    """Write the kernel and the data set that it needs: wheels, model file, manifest."""
    from kit.kaggle import settings
    from kit.workflows import kernel

    chosen = settings.load(competition, user)
    workspace = Workspace()
    if train:
        from kit.workflows import train_on_kaggle

        loaded = load_recipe(data, recipe, overrides)
        order = train_on_kaggle.Order(data, loaded, chosen, source, time_limit)
        built = train_on_kaggle.build(workspace, order, say, notebook=notebook)
    else:
        trained = _run(workspace, run, data, recipe, overrides)
        built = kernel.build(workspace, trained, data, chosen, gpu=gpu, time_limit=time_limit, notebook=notebook)
    say(f"{built.folder}: the kernel\n{built.bundle}: its files, {built.megabytes():.1f} MB")


@verb(
    group,
    "check",
    ["kit kernel check --data ../siim --recipe exp5"],
    excludes={**GIVEN_RUN, "train": ("run", "images")},
)
def rehearse(
    *,
    data: Data = DEMO,
    recipe: RecipeName = None,
    overrides: Overrides,
    run: RunFolder = None,
    images: Annotated[Path | None, typer.Option(help="A folder of DICOM files instead of the test images.")] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Rehearse the training kernel: two sessions on a few phantoms.")
    ] = False,
) -> None:
    """Rehearse the kernel without a network, in each of Kaggle's folder layouts."""
    from kit.workflows import kernel

    workspace = Workspace()
    if train:
        from kit.workflows import train_on_kaggle

        train_on_kaggle.check(workspace, data, load_recipe(data, recipe, overrides), say)
        say("the training kernel passed its rehearsal; next: kit train --on kaggle")
        return
    kernel.check(workspace, _run(workspace, run, data, recipe, overrides), data, images, say)
    say("rehearsal passed; next: kit kernel push")


@verb(group, "push", ["kit kernel push --data ../siim --recipe exp5 --dry-run"], excludes=GIVEN_RUN)
def push_kernel(
    *,
    data: Data = DEMO,
    recipe: RecipeName = None,
    overrides: Overrides,
    run: RunFolder = None,
    user: UserName = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print each request's content and send nothing.")] = False,
) -> None:
    """Upload the kernel and its files, wait for its run, fetch and check its submission."""
    from kit.kaggle import settings
    from kit.workflows import kernel

    workspace, chosen = Workspace(), settings.load(user=user)
    trained = _run(workspace, run, data, recipe, overrides)
    if dry_run:
        print(kernel.push_requests(trained, chosen))
    else:
        variables = f"DATA={data} RECIPE={recipe or trained.read_recipe().name}"
        variables += f' SET="{" ".join(overrides)}"' if overrides else ""
        kernel.push(workspace, trained, data, chosen, variables, say)


def _run(workspace: Workspace, folder: Path | None, data: Path, recipe: str | None, overrides: list[str]) -> "Run":
    """Returns the run in the folder, or the recipe's run on the data if no folder is given."""
    from kit.run import Run
    from kit.workflows import kernel

    if folder is not None:
        return Run(folder)
    return kernel.find_run(workspace, data, recipe_for(data, recipe), overrides)
