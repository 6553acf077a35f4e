"""The verb `train --on kaggle`: sessions on Kaggle's GPUs, one after the other, and the run brought home."""

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kit import lineage
from kit.competition.layout import Competition
from kit.core.errors import KitError
from kit.core.files import sha256
from kit.data import cache, folds
from kit.kaggle import dataset, download, kernel_output
from kit.kaggle.client import Client, connect
from kit.kaggle.settings import Settings
from kit.kernel import bundle, environment, metadata, rehearsal, train_bundle, train_rehearsal
from kit.kernel.bundle import Kernel
from kit.kernel.session import FETCHED
from kit.kernel.train_bundle import Work
from kit.recipes.schema import Recipe
from kit.run import Run
from kit.workflows import extra as extras
from kit.workflows import space, thresholds, train
from kit.workflows.workspace import Workspace, check_maps, open_run

log = logging.getLogger(__name__)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What is asked of Kaggle."""

    data: Path | str
    """The competition's folder, whose very images Kaggle must have."""
    recipe: Recipe
    """What to train."""
    chosen: Settings
    """Competition and user on Kaggle."""
    sources: Sequence[str] = ()
    """Data sets `OWNER/NAME` with the images; a competition that is named is attached, too."""
    time_limit: float | None = None
    """Seconds after which a session ends; None: before Kaggle ends it."""
    trains: bool = True
    """Else the run, which is finished here, predicts the test images there."""

    @property
    def competition(self) -> str | None:
        """Name of the competition that is attached: the one that is named, else SIIM-ACR's where nothing else is."""
        return self.chosen.competition or (None if self.sources else metadata.COMPETITION)


def build(workspace: Workspace, order: Order, notebook: bool, say: Say, session: int = 1) -> Kernel:
    """Writes the kernel that trains a recipe on Kaggle, and the files that it needs.

    Raises:
        KitError: there are no folds yet, or the recipe cannot be trained there.
    """
    return _build(workspace, order, _work(workspace, order), notebook, say, session)


def _build(workspace: Workspace, order: Order, work: Work, notebook: bool, say: Say, session: int) -> Kernel:
    recipe, chosen = work.recipe, order.chosen
    if work.trains:
        split = folds.read(work.fold_file, work.competition)
        numbers, extra = split.numbers, work.extra
        wanted = space.of_training(workspace, work.competition, work.run, recipe, split, numbers, extra)
        output = space.kept(wanted)
        size, most = f"up to {output / 1e9:.1f} GB", f"{train_bundle.OUTPUT / 1e9:.0f} GB"
        if output > train_bundle.OUTPUT:
            raise KitError(
                f"{recipe.name}: the run takes {size}, and Kaggle keeps {most}: ask for fewer folds or a smaller size"
            )
        say(f"the run will take {size} of the {most} that Kaggle keeps")
    name = [order.competition] if order.competition else []
    if not order.sources:
        say(f"the images are those of the competition {name[0]}: give --source OWNER/NAME if it does not have them all")
    return train_bundle.build(
        work,
        order.sources,
        name,
        chosen.user or metadata.ACCOUNT,
        train_bundle.TIME_LIMIT if order.time_limit is None else order.time_limit,
        notebook,
        session,
    )


def _work(workspace: Workspace, order: Order) -> Work:
    """What is to be done there, once it can be.

    Raises:
        KitError: it cannot: a name is none, extra data lie outside of data/, or a run that it needs is not trained.
    """
    for source in order.sources:
        dataset.split("--source", source)
    recipe = order.recipe
    competition = workspace.open_data(order.data)
    run = workspace.run(competition, recipe)
    fold_file = train.fold_file_of(workspace, competition, recipe, run)
    if order.trains:
        starts = _starts(workspace, recipe, competition, fold_file)
        extra = extras.open_extra(workspace, competition, recipe, folds.read(fold_file, competition))
        if outside := [given for given in extra if "/" in given]:
            raise KitError(
                f"{recipe.name}: extra.data={outside[0]} goes to Kaggle from data/ alone: move the folder there, and "
                f"give its name, as another run: SET='extra.data={extra[outside[0]].name} name=…'"
            )
        return Work(run, recipe, competition, fold_file, starts, extra)
    check_maps(open_run(workspace, order.data, recipe))
    run.trained(recipe)
    thresholds.put_recipes_rule_in_use(run, recipe)
    if not competition.test:
        raise KitError(f"{competition.folder}: has no test images: nothing can be predicted")
    return Work(run, recipe, competition, fold_file, _paths_there(workspace, run), trains=False)


def _starts(workspace: Workspace, recipe: Recipe, competition: Competition, fold_file: Path) -> dict[str, Path]:
    """The files of the runs that a recipe starts from, by their path in the working folder.

    Raises:
        KitError: such a run is not trained to its end, or was trained on other data.
    """
    found: dict[str, Path] = {}
    inputs = None
    for part in (part for part in recipe.parts() if part.start is not None):
        source = Run(workspace.runs / (part.start_data or competition.name) / str(part.start))
        if part.start_data is None:
            inputs = inputs or lineage.inputs_of(cache.image_keys(competition), fold_file)
            for fold in folds.read(fold_file, competition).numbers:
                lineage.last_weights(source, fold, inputs)
        found |= _paths_there(workspace, source)
        theirs = workspace.folds / lineage.read_inputs(source).fold_file
        if part.start_data is not None and theirs.is_file():  # tells what has been trained on
            found[f"folds/{theirs.name}"] = theirs
    return found


def _paths_there(workspace: Workspace, run: Run) -> dict[str, Path]:
    """What is carried of a run, by its path in the working folder."""
    return {f"runs/{path.relative_to(workspace.runs).as_posix()}": path for path in train_bundle.files_of(run)}


def train_there(workspace: Workspace, orders: Sequence[Order], patient: bool, say: Say) -> list[Run]:
    """Trains recipes on Kaggle's GPUs, session after session, one recipe after the other, and brings the runs home.

    Args:
        orders: What is asked for.
        patient: Wait until all is done; else return once a session runs.

    Returns:
        The runs that are here; the one after them is still trained there.

    Raises:
        KitError: a run of a name was begun here, or there is no such data set or competition for the account, before
            anything is sent; a session fails, or anything stands in the way.
    """
    here = [_is_home(workspace, order) for order in orders]
    works = [_work(workspace, order) for order in orders]
    client = None
    done = []
    for order, work, is_here in zip(orders, works, here, strict=True):
        if not is_here and client is None:
            client = connect(order.chosen.timeout)
            _check_images(client, order)
        if client is not None and not (is_here or _train(workspace, client, order, work, patient, say)):
            break
        done.append(work.run)
    return done


def _check_images(client: Client, order: Order) -> None:
    """Asks whether a kernel of the account would get the images, before anything is sent.

    Raises:
        KitError: a data set is not there, or the competition's rules are not accepted.
    """
    for source in order.sources:
        dataset.require(client, "--source", source)
    if competition := order.competition:
        download.require_accepted(client, competition)


def _is_home(workspace: Workspace, order: Order) -> bool:
    """Whether the run was trained on Kaggle, and has arrived.

    Raises:
        KitError: it was begun here.
    """
    run = workspace.run(workspace.open_data(order.data), order.recipe)
    if not (order.trains and run.folder.is_dir()):
        return False
    lineage.require_same_recipe(run, order.recipe)
    if not (run.folder / FETCHED).is_file():
        raise KitError(
            f"{run.folder}: was begun here: go on here, remove it, or name a new run with SET='name=…' to train "
            "it on Kaggle"
        )
    return True


def _train(workspace: Workspace, client: Client, order: Order, work: Work, patient: bool, say: Say) -> bool:
    """Runs the sessions of one order; whether its run is here now."""
    from kit.kernel import remote

    run, recipe = work.run, work.recipe
    owner = order.chosen.owner(client.user)
    named = replace(order, chosen=order.chosen.model_copy(update={"user": owner}))

    def prepare(session: int) -> None:
        _build(workspace, named, work, False, say, session)

    kernel = work.kernel
    kernel.notebook.unlink(missing_ok=True)  # built to be run by hand, as another kernel than the command's
    what = "session {} begins" if work.trains else "the test images are predicted"
    ended = remote.train(client, owner, kernel, prepare, say, patient, what)
    if ended is None:
        return False

    def check(fetched: Run) -> None:
        lineage.require_same_recipe(fetched, recipe)
        if work.trains and lineage.read_inputs(fetched).folds != sha256(work.fold_file):
            raise KitError(f"{work.fold_file}: is not what the run on Kaggle was trained on: restore it")

    if work.trains:
        remote.fetch(client, owner, kernel, ended, run.folder, check)
        return True
    fetched = kernel_output.FOLDER / kernel.name / "test"
    if not fetched.is_dir():
        remote.fetch(client, owner, kernel, ended, fetched, check)
    predicted = [path for path in fetched.iterdir() if path.name.startswith(("test", run.submission.stem))]
    for path in sorted(predicted, key=lambda path: path.name.startswith(run.submission.stem)):  # the answer last
        os.replace(path, run.folder / path.name)
    shutil.rmtree(fetched)
    return True


def check(workspace: Workspace, data: Path | str, recipe: Recipe, say: Say) -> None:
    """Rehearses the kernel that trains a recipe.

    Raises:
        KitError: it was not built, was changed since, or would fail.
    """
    kernel = bundle.kernel_of(workspace.run(workspace.open_data(data), recipe), "train")
    rehearsal.check_metadata(kernel)
    bundle.check_unchanged(kernel)
    train_rehearsal.rehearse(kernel, environment.image(say), say)
