"""The verb `train --on kaggle`: sessions on Kaggle's GPUs, one after the other, and the download of the run."""

import logging
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kit import lineage
from kit.competition.layout import Competition
from kit.core.errors import KitError
from kit.core.files import sha256
from kit.core.logs import Say
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


@dataclass(frozen=True)
class Order:
    """A training, or a prediction of test images, for Kaggle."""

    data: Path | str
    """The competition's folder; Kaggle must have identical images."""
    recipe: Recipe
    settings: Settings
    """Competition and user on Kaggle."""
    sources: Sequence[str] = ()
    """Data sets with the images, each as `OWNER/NAME`; attached besides the competition of the settings."""
    time_limit: float | None = None
    """Seconds after which a session ends; default: before Kaggle ends it."""
    trains: bool = True
    """If false, Kaggle only predicts the test images with the finished run."""

    @property
    def competition(self) -> str | None:
        """Name of the competition to attach: that of the settings, or SIIM-ACR's if there are no sources either."""
        return self.settings.competition or (None if self.sources else metadata.COMPETITION)


def build(workspace: Workspace, order: Order, say: Say, session: int = 1, *, notebook: bool = False) -> Kernel:
    """Writes the kernel that trains a recipe on Kaggle, and its bundle.

    Raises:
        KitError: there are no folds yet, or the recipe cannot be trained on Kaggle.
    """
    return _build(workspace, order, _work(workspace, order), say, session, notebook=notebook)


def _build(workspace: Workspace, order: Order, work: Work, say: Say, session: int, *, notebook: bool = False) -> Kernel:
    recipe = work.recipe
    if work.trains:
        split = folds.read(work.fold_file, work.competition)
        numbers, extra = split.numbers, work.extra
        sizes = space.of_training(workspace, work.competition, work.run, recipe, split, numbers, extra)
        output = space.kept(sizes)
        size, most = f"up to {output / 1e9:.1f} GB", f"{train_bundle.OUTPUT / 1e9:.0f} GB"
        if output > train_bundle.OUTPUT:
            raise KitError(
                f"{recipe.name}: the run takes {size}, and Kaggle keeps {most}: ask for fewer folds or a smaller size"
            )
        say(f"the run will take {size} of the {most} that Kaggle keeps")
    competition = order.competition
    if not order.sources:
        say(
            f"the images are those of the competition {competition}: give --source OWNER/NAME if some are missing there"
        )
    return train_bundle.build(
        work,
        order.sources,
        [competition] if competition else [],
        order.settings.user or metadata.ACCOUNT,
        train_bundle.TIME_LIMIT if order.time_limit is None else order.time_limit,
        session,
        notebook=notebook,
    )


def _work(workspace: Workspace, order: Order) -> Work:
    """Checks an order and returns its work.

    Raises:
        KitError: the order is impossible: a source is misspelt, extra data lie outside of data/, or a run that it needs
            is not trained.
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
        if outside := [name for name in extra if "/" in name]:
            raise KitError(
                f"{recipe.name}: extra.data={outside[0]} can only go to Kaggle from data/: move the folder there, and "
                f"give its name, as another run: SET='extra.data={extra[outside[0]].name} name=…'"
            )
        return Work(run, recipe, competition, fold_file, starts, extra)
    check_maps(open_run(workspace, order.data, recipe))
    run.trained(recipe)
    thresholds.put_recipes_rule_in_use(run, recipe)
    if not competition.test:
        raise KitError(f"{competition.folder}: has no test images: nothing can be predicted")
    return Work(run, recipe, competition, fold_file, _remote_paths(workspace, run), trains=False)


def _starts(workspace: Workspace, recipe: Recipe, competition: Competition, fold_file: Path) -> dict[str, Path]:
    """Returns the files of the runs that a recipe starts from, by their path in Kaggle's working folder.

    Raises:
        KitError: such a run is not trained to its end, or was trained on other data.
    """
    paths: dict[str, Path] = {}
    inputs = None
    for part in (part for part in recipe.parts() if part.start is not None):
        source = Run(workspace.runs / (part.start_data or competition.name) / str(part.start))
        if part.start_data is None:
            inputs = inputs or lineage.inputs_of(cache.image_keys(competition), fold_file)
            for fold in folds.read(fold_file, competition).numbers:
                lineage.last_weights(source, fold, inputs)
        paths |= _remote_paths(workspace, source)
        source_folds = workspace.folds / lineage.read_inputs(source).fold_file
        if part.start_data is not None and source_folds.is_file():  # shows which images the start was trained on
            paths[f"folds/{source_folds.name}"] = source_folds
    return paths


def _remote_paths(workspace: Workspace, run: Run) -> dict[str, Path]:
    """Returns the files of a finished run that predict, or that another run starts from, by their path on Kaggle.

    Raises:
        KitError: the run is not trained to its end.
    """
    recipe = run.read_recipe()
    weights = [path for part in recipe.parts() for path in run.part(part).final_weights(part)]
    optional = (run.recipe_path, run.inputs_path, run.thresholds, run.stack(tta=True), run.stack(tta=False))
    paths = [*weights, *filter(Path.is_file, optional)]
    return {f"runs/{path.relative_to(workspace.runs).as_posix()}": path for path in paths}


def train_there(workspace: Workspace, orders: Sequence[Order], say: Say, *, patient: bool) -> list[Run]:
    """Trains recipes on Kaggle's GPUs, session after session and one recipe after the other, and fetches the runs.

    Args:
        orders: The recipes to train.
        patient: Whether to wait until everything is done; if false, return as soon as a session runs.

    Returns:
        The fetched runs; the run after them is still being trained.

    Raises:
        KitError: a run of the same name was begun here, or the account has no access to a data set or competition, both
            before anything is sent; or a session fails.
    """
    fetched = [_is_fetched(workspace, order) for order in orders]
    works = [_work(workspace, order) for order in orders]
    client = None
    done = []
    for order, work, is_fetched in zip(orders, works, fetched, strict=True):
        if not is_fetched and client is None:
            client = connect(order.settings.timeout)
            for source in order.sources:
                dataset.require(client, "--source", source)
            if order.competition:
                download.require_accepted(client, order.competition)
        if client is not None and not (is_fetched or _train(workspace, client, order, work, say, patient=patient)):
            break
        done.append(work.run)
    return done


def _is_fetched(workspace: Workspace, order: Order) -> bool:
    """Whether the run was trained on Kaggle and is already fetched.

    Raises:
        KitError: the run was begun here.
    """
    run = workspace.run(workspace.open_data(order.data), order.recipe)
    if not (order.trains and run.folder.is_dir()):
        return False
    lineage.require_same_recipe(run, order.recipe)
    if not (run.folder / FETCHED).is_file():
        raise KitError(
            f"{run.folder}: was begun here: continue here, remove it, or name a new run with SET='name=…' to train "
            "it on Kaggle"
        )
    return True


def _train(workspace: Workspace, client: Client, order: Order, work: Work, say: Say, *, patient: bool) -> bool:
    """Runs the sessions of one order; returns whether its run is fetched now."""
    from kit.kernel import remote

    run, recipe = work.run, work.recipe
    owner = order.settings.owner(client.user)
    owned = replace(order, settings=order.settings.model_copy(update={"user": owner}))

    def prepare(session: int) -> None:
        _build(workspace, owned, work, say, session)

    kernel = work.kernel
    kernel.notebook.unlink(missing_ok=True)  # a notebook is run by hand, and is another kernel than this one
    what = "session {} begins" if work.trains else "the test images are predicted"
    ended = remote.train(client, owner, kernel, prepare, say, patient=patient, what=what)
    if ended is None:
        return False

    def check(fetched: Run) -> None:
        lineage.require_same_recipe(fetched, recipe)
        if work.trains and lineage.read_inputs(fetched).folds != sha256(work.fold_file):
            raise KitError(f"{work.fold_file}: is not what the run on Kaggle was trained on: restore it")

    if work.trains:
        remote.fetch(client, owner, kernel, ended, run.folder, check)
        return True
    folder = kernel_output.FOLDER / kernel.name / "test"
    if not folder.is_dir():
        remote.fetch(client, owner, kernel, ended, folder, check)
    paths = [path for path in folder.iterdir() if path.name.startswith(("test", run.submission.stem))]
    for path in sorted(paths, key=lambda path: path.name.startswith(run.submission.stem)):  # the submission last
        os.replace(path, run.folder / path.name)
    shutil.rmtree(folder)
    return True


def check(workspace: Workspace, data: Path | str, recipe: Recipe, say: Say) -> None:
    """Rehearses the kernel that trains a recipe.

    Raises:
        KitError: the kernel was not built, has changed since, or would fail.
    """
    kernel = bundle.kernel_of(workspace.run(workspace.open_data(data), recipe), "train")
    rehearsal.check_metadata(kernel)
    bundle.check_unchanged(kernel)
    train_rehearsal.rehearse(kernel, environment.image(say), say)
