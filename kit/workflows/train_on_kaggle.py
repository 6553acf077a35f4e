"""The verb `train --on kaggle`: sessions on Kaggle's GPUs, one after the other, and the run brought home."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from kit import lineage
from kit.core.errors import KitError
from kit.core.files import sha256
from kit.data import folds
from kit.kaggle.settings import Settings
from kit.kernel import bundle, environment, metadata, rehearsal, train_bundle, train_rehearsal
from kit.kernel.bundle import Kernel
from kit.recipes.schema import Recipe
from kit.run import Run
from kit.workflows import space, train
from kit.workflows.workspace import Workspace

log = logging.getLogger(__name__)

Say = Callable[[str], None]


def build(
    workspace: Workspace,
    data: Path | str,
    recipe: Recipe,
    chosen: Settings,
    sources: Sequence[str],
    time_limit: float | None,
    notebook: bool,
    say: Say,
    session: int = 1,
) -> Kernel:
    """Writes the kernel that trains a recipe on Kaggle, and the files that it needs.

    Args:
        data: The competition's folder, whose very images Kaggle must have.
        sources: Data sets `OWNER/NAME` with the images; a competition that is named is attached, too.
        time_limit: Seconds after which a session ends; None: before Kaggle ends it.

    Raises:
        KitError: there are no folds yet, or the recipe cannot be trained there.
    """
    for source in sources:
        if [bool(part) for part in source.split("/")] != [True, True]:
            raise KitError(f"--source {source}: is not OWNER/NAME, as in the address of a data set on kaggle.com")
    competition = workspace.open_data(data)
    run = workspace.run(competition, recipe)
    fold_file = train.fold_file_of(workspace, competition, recipe, run)
    split = folds.read(fold_file, competition)
    train_bundle.check(recipe)
    output = space.kept(space.of_training(workspace, competition, run, recipe, split, split.numbers, False, {}))
    train_bundle.check_output(recipe, output)
    say(f"the run will take up to {output / 1e9:.1f} GB of the {train_bundle.OUTPUT / 1e9:.0f} GB that Kaggle keeps")
    name = chosen.competition or (None if sources else metadata.COMPETITION)
    return train_bundle.build(
        run,
        recipe,
        competition,
        fold_file,
        train_bundle.Sources([name] if name else [], sources),
        chosen.user or metadata.ACCOUNT,
        train_bundle.TIME_LIMIT if time_limit is None else time_limit,
        notebook,
        session,
    )


def train_there(
    workspace: Workspace,
    data: Path | str,
    recipe: Recipe,
    chosen: Settings,
    sources: Sequence[str],
    time_limit: float | None,
    patient: bool,
    say: Say,
) -> tuple[Run, bool]:
    """Trains a recipe on Kaggle's GPUs, session after session, and brings the run home.

    Args:
        data: The competition's folder, whose very images Kaggle must have.
        sources: Data sets `OWNER/NAME` with the images.
        time_limit: Seconds after which a session ends; None: before Kaggle ends it.
        patient: Wait until all is done; else return once a session runs.

    Returns:
        The run, and whether it is here; else it is still trained there.

    Raises:
        KitError: a run of that name was begun here, a session fails, or anything stands in the way.
    """
    from kit.kaggle.client import connect
    from kit.kernel import remote

    competition = workspace.open_data(data)
    run = workspace.run(competition, recipe)
    if run.folder.is_dir():
        lineage.require_same_recipe(run, recipe)
        if not (run.folder / remote.LOG).is_file():
            raise KitError(
                f"{run.folder}: was begun here: go on here, remove it, or name a new run with SET='name=…' to train it "
                "on Kaggle"
            )
        return run, True
    client = connect(chosen.timeout)
    owner = chosen.owner(client.user)
    named = chosen.model_copy(update={"user": owner})

    def prepare(session: int) -> None:
        build(workspace, data, recipe, named, sources, time_limit, False, say, session)

    kernel = train_bundle.kernel_of(run)
    kernel.notebook.unlink(missing_ok=True)  # built to be run by hand, as another kernel than the command's
    ended = remote.train(client, owner, kernel, prepare, say, patient)
    if ended is None:
        return run, False
    fold_file = train.fold_file_of(workspace, competition, recipe, run)

    def check(fetched: Run) -> None:
        lineage.require_same_recipe(fetched, recipe)
        if lineage.read_inputs(fetched).folds != sha256(fold_file):
            raise KitError(f"{fold_file}: is not what the run on Kaggle was trained on: restore it")

    remote.fetch(client, owner, kernel, ended, run.folder, check)
    return run, True


def check(workspace: Workspace, data: Path | str, recipe: Recipe, say: Say) -> None:
    """Rehearses the kernel that trains a recipe.

    Raises:
        KitError: it was not built, was changed since, or would fail.
    """
    kernel = train_bundle.kernel_of(workspace.run(workspace.open_data(data), recipe))
    rehearsal.check_metadata(kernel)
    bundle.check_unchanged(kernel)
    train_rehearsal.rehearse(kernel, environment.image(say), say)
