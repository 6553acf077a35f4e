"""The verb `train`: all stages of all folds, out-of-fold maps and thresholds.

Each step reads the files of the previous step and writes files that a person can open. A finished step is skipped; an
interrupted step resumes.
"""

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit import lineage
from kit.competition.layout import Competition
from kit.core.distributed import ALONE, JOB, Team
from kit.core.errors import KitError
from kit.core.files import locked, sha256
from kit.data.cache import Cache, ensure
from kit.data.extra import ExtraData
from kit.data.folds import Folds, read, read_table
from kit.inference import predictions
from kit.inference.maps import write_mean
from kit.inference.predictions import Images
from kit.lineage import Inputs
from kit.recipes.schema import Recipe
from kit.report import summary
from kit.run import Run, Trained
from kit.workflows import space, thresholds
from kit.workflows.extra import open_extra
from kit.workflows.workspace import OpenRun, Workspace, logged, record

if TYPE_CHECKING:  # it imports torch, which takes seconds, and most verbs do without
    from lightning_fabric import Fabric

    from kit.data.dataset import FoldData
    from kit.training.eta import EtaEstimator

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Data, recipe and options of a training."""

    data: Path | str
    """The competition's folder."""
    recipe: Recipe
    fold: int | None = None
    """The only fold to train; all folds by default."""
    skip_bad: bool = False
    """Whether to skip images that cannot be read."""
    logger: str | None = None
    """Name of a logger in addition to TensorBoard (`kit.training.hooks`)."""


@dataclass(frozen=True)
class Session:
    """Data, devices and settings that all networks of a run share."""

    job: Job
    workspace: Workspace
    competition: Competition
    split: Folds
    folds: Sequence[int]
    """Numbers of the folds to train now."""
    caches: dict[int, Cache]
    """Cached images by size."""
    extra: dict[str, ExtraData]
    """Extra data by the value of `extra.data`."""
    extra_caches: dict[str, dict[int, Cache]]
    """Cached images of the extra data, by the value of `extra.data`, then by size."""
    inputs: Inputs
    """Inputs without the extra data."""
    launch: Callable[[], "Fabric"]
    """Returns Fabric, which takes seconds to import: a finished run does without."""
    team: Team
    clock: "EtaEstimator"

    @property
    def image_keys(self) -> tuple[bytes, ...]:
        """Store key of each training image with its label rows."""
        return next(iter(self.caches.values())).keys

    def inputs_of(self, recipe: Recipe) -> Inputs:
        """Inputs of a recipe with its extra data, or of all its members."""
        keys = {}
        for source in {part.extra.data for part in recipe.parts() if part.extra}:
            cached = next(iter(self.extra_caches[source].values()))
            keys[self.extra[source].name] = self.extra[source].key(cached.keys)
        return self.inputs.model_copy(update={"extra": keys})

    def fold_data(self, recipe: Recipe, fold: int, size: int) -> "FoldData":
        """Training and validation data of a fold, for a recipe without members."""
        from kit.data.dataset import FoldData

        cached = self.caches[size]
        training = self.readable(self.split.training(fold, recipe.folds.train_share, recipe.seed), cached)
        validation = self.readable(self.split.validation(fold), cached)
        data = FoldData(cached, training, validation, self.split.positive[training])
        if recipe.extra is None:
            return data
        source = recipe.extra.data
        return self.extra[source].join(data, self.extra_caches[source][size], fold, recipe.extra)

    def readable(self, rows: np.ndarray, cached: Cache) -> np.ndarray:
        """Filters row numbers to images that could be read."""
        return rows[~cached.bad[rows]]


def train(workspace: Workspace, job: Job) -> tuple[Run, bool]:
    """Trains every stage of every fold, predicts the out-of-fold maps and chooses the thresholds.

    Returns:
        The run, and whether there was anything to do.

    Raises:
        KitError: the run was begun with another recipe, data or folds, the disk is too small, or an input is missing.
    """
    recipe = job.recipe
    workspace.draw_demo(job.data)
    competition = workspace.open_data(job.data)
    run = workspace.run(competition, recipe)
    if not competition.sample_ids:
        log.info("%s: has no test images: `kit submit` will end with the out-of-fold Dice", competition.folder)
    for part in (recipe, *recipe.parts()):  # before hours of training
        lineage.check_recipe(run.part(part), part)
    path = fold_file_of(workspace, competition, recipe, run)
    split = read(path, competition)
    if job.fold is not None and job.fold not in split.numbers:
        raise KitError(f"--fold {job.fold}: the folds of {path} are {', '.join(map(str, split.numbers))}")
    session = _open(workspace, competition, run, job, path, split)
    done = [any(_train_part(session, run.part(part), part)) for part in recipe.parts()]
    with logged(run):
        if recipe.members:
            done += _average_members(session, run, recipe)
        # The search needs the predictions of every fold; of several processes, the last one to finish runs it.
        parts, numbers = (*recipe.parts(), recipe), session.split.numbers
        is_predicted = all(run.is_predicted(part, fold) for part in parts for fold in numbers)
        if session.team.first and recipe.role == "segment" and is_predicted:
            if recipe.is_gated:
                thresholds.stack_oof(run, recipe, session.split)
            done.append(thresholds.ensure(OpenRun(run, recipe, competition, session.split, session.image_keys)))
            if done[-1]:
                record(run, summary.outcome(run))
    return run, any(done)


def _open(workspace: Workspace, competition: Competition, run: Run, job: Job, path: Path, split: Folds) -> Session:
    """Checks the job and completes the cache; under `torchrun`, joins the other processes first.

    Args:
        path: Path to the fold file of `split`.
    """
    recipe = job.recipe
    if job.logger is not None:
        from kit.training import hooks

        hooks.check(job.logger)

    @cache
    def launch() -> "Fabric":
        from kit.training import fabric_setup

        return fabric_setup.launch(recipe)

    extra = open_extra(workspace, competition, recipe, split)
    team = ALONE
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        team = Team(launch().global_rank, launch().world_size, launch().barrier)
    numbers = split.numbers if job.fold is None else [job.fold]
    alone = JOB not in os.environ  # in a job, the parent process has checked and logged all this
    if team.first and alone:
        space.check(space.of_training(workspace, competition, run, recipe, split, numbers, extra))

    def cached(data: Competition, source: str | None = None) -> dict[int, Cache]:
        parts = [part for part in recipe.parts() if source is None or (part.extra and part.extra.data == source)]
        sizes = {stage.size for part in parts for stage in part.stages}
        return ensure(
            data, sizes, workspace.cache(data), team, skip_bad=job.skip_bad, mask_resizing=recipe.mask_resizing
        )

    caches = cached(competition)
    extra_caches = {source: cached(data.competition, source) for source, data in extra.items()}
    inputs = lineage.inputs_of(next(iter(caches.values())).keys, path)
    log.info("%s: %s, folds of %s", run.folder, ", ".join(f"fold {number}" for number in numbers), path)
    if alone:
        for data in extra.values():
            log.info("%s", data)
    clock = _clock(run, recipe, split, numbers, extra)
    if alone and clock.is_waiting:
        from kit.training import hooks

        log.info("to watch it: %s", hooks.tensorboard_command(run.folder))
        log.info(
            "the Dice of an epoch uses fixed thresholds, where a few false pixels turn the 1 of an image without a "
            "finding into 0: it may lie below that of an empty submission, and fall when weights are averaged; the "
            "search at the end chooses the thresholds that count"
        )
    return Session(
        job, workspace, competition, split, numbers, caches, extra, extra_caches, inputs, launch, team, clock
    )


def _clock(
    run: Run, recipe: Recipe, split: Folds, numbers: Sequence[int], extra: dict[str, ExtraData]
) -> "EtaEstimator":
    """Estimates the time of all unfinished stages."""
    from kit.training.eta import EtaEstimator

    def pixels_of(part: Recipe, fold: int, number: int) -> int:
        from kit.training.fit import pixels_per_epoch

        positive = split.positive[split.training(fold, part.folds.train_share, part.seed)]
        extra_positive = np.zeros(0, bool)
        if part.extra is not None:
            data = extra[part.extra.data]
            extra_positive = data.positive[data.rows(fold)]
        return pixels_per_epoch(part, number, np.concatenate([positive, extra_positive]), len(extra_positive))

    remaining = [
        (stage.epochs, pixels_of(part, fold, number))
        for part in recipe.parts()
        for fold in numbers
        for number, stage in enumerate(part.stages)
        if not run.part(part).weights(fold, number).is_file()
    ]
    largest = max((work for _, work in remaining), default=0)
    return EtaEstimator(sum(epochs * work for epochs, work in remaining), largest)


def fold_file_of(workspace: Workspace, competition: Competition, recipe: Recipe, run: Run) -> Path:
    """Returns the fold file that a run was begun with, or for a new run that of the recipe.

    Raises:
        KitError: there is no fold file for the recipe.
    """
    begun = run.inputs_path.is_file() and run.recipe_path.is_file()
    return workspace.folds / lineage.read_inputs(run).fold_file if begun else workspace.fold_file(competition, recipe)


def _train_part(session: Session, run: Run, recipe: Recipe) -> list[bool]:
    """Trains one network over its folds and stages, and predicts each validation part; whether each step had work."""
    starts: dict[int, Path | None] = dict.fromkeys(session.folds)
    inputs = session.inputs_of(recipe)
    if recipe.start is not None:
        paths = {fold: _starting_weights(session, recipe, fold) for fold in session.folds}
        hashes = {f"weights of fold {fold} of {recipe.start}": sha256(path) for fold, path in paths.items()}
        starts = {**paths}
        inputs = inputs.model_copy(update={"starts": hashes})
    if session.team.first:
        with locked(run.inputs_path):  # processes that train a fold each add their starting weights
            lineage.begin(run, recipe, inputs)
    session.team.barrier()
    done = []
    for fold in session.folds:
        busy = "another process trains this fold: wait until it has finished"
        with logged(run), locked(run.folder / f"fold{fold}", busy) if session.team.first else nullcontext():
            done += _train_fold(session, run, recipe, fold, starts[fold])
            done.append(_predict_fold(session, run, recipe, fold))
    return done


def _starting_weights(session: Session, recipe: Recipe, fold: int) -> Path:
    """Returns the starting weights of a fold, for a recipe with a `start`."""
    start = str(recipe.start)
    if recipe.start_data is None:
        return lineage.last_weights(session.workspace.run(session.competition, start), fold, session.inputs)
    source = Run(session.workspace.runs / recipe.start_data / start)
    source_fold = lineage.matching_fold(source, fold)
    inputs = lineage.read_inputs(source)
    path = session.workspace.folds / inputs.fold_file
    if path.is_file():
        table = read_table(path)
        trained_on = set(table.image_id[table.fold != source_fold])
        validation = session.split.table.image_id.iloc[session.split.validation(fold)]
        if leaked := sum(image_id in trained_on for image_id in validation):
            log.warning(
                "fold %d starts from fold %d of %s, which has trained on %d of the %d images that validate it: its "
                "out-of-fold scores will be optimistic",
                fold,
                source_fold,
                source.folder,
                leaked,
                len(validation),
            )
    # Checked against the source's own inputs, because `start_data` asks for weights of other data.
    return lineage.last_weights(source, source_fold, inputs)


def _train_fold(session: Session, run: Run, recipe: Recipe, fold: int, start: Path | None) -> list[bool]:
    """Trains the unfinished stages of one fold; `start` is the path to the weights to begin with."""
    done = []
    for number, stage in enumerate(recipe.stages):
        weights = run.weights(fold, number)
        if not weights.is_file():
            from kit.training import hooks
            from kit.training.fit import Task, fit

            data = session.fold_data(recipe, fold, stage.size)
            folder = run.stage(fold, number)
            loggers = hooks.make_hooks(folder, data, recipe, session.job.logger)
            fit(session.launch(), Task(recipe, number, fold, data, folder, start), loggers, session.clock)
            member = f"{recipe.label} " if "/" in recipe.name else ""
            log.info("%s%s", member, summary.stage(run, fold, number))
            done.append(True)
        if session.team.first:
            (run.stage(fold, number) / "last.ckpt").unlink(missing_ok=True)  # the stage is finished
        start = run.weights(fold, number)
    return done


def _predict_fold(session: Session, run: Run, recipe: Recipe, fold: int) -> bool:
    """Predicts a fold's validation images by the network of that fold; returns whether any map was missing."""
    cached = session.caches[recipe.stages[-1].size]
    rows = session.readable(session.split.validation(fold), cached)
    ids = np.array(list(session.competition.train))[rows]
    images = Images(
        tuple(ids.tolist()),
        tuple(cached.keys[row] for row in rows),
        lambda index: np.array(cached.images[rows[index]]),
    )
    trained = Trained(recipe, {recipe.label: run.stage_weights(fold, len(recipe.stages) - 1)}, run.thresholds)
    files = predictions.files_of(trained, partial(run.oof, fold), images)
    return predictions.predict(trained, files, images, session.team, f"fold {fold} OOF maps")


def _average_members(session: Session, run: Run, recipe: Recipe) -> list[bool]:
    """Averages the segmenting members' maps of each fold, with and without TTA; returns whether each was missing."""
    if session.team.first:
        lineage.begin(run, recipe, session.inputs_of(recipe))
    session.team.barrier()
    members = [run.part(part) for part in recipe.members_that("segment")]
    return [
        write_mean(
            [member.oof(fold, tta=tta) for member in members], run.oof(fold, tta=tta), session.team, recipe.weights
        )
        for fold in session.folds
        for tta in (True, False)
    ]
