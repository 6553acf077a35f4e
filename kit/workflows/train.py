"""The verb `train`: all stages of all folds, out-of-fold maps and thresholds.

Each step reads the files of the step before and leaves files that a person can open. A step whose files are there
does nothing; a step that was killed goes on where it was.
"""

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kit.competition import layout
from kit.core.distributed import Team
from kit.core.errors import KitError
from kit.core.files import locked, sha256
from kit.core.resumable import key_of
from kit.data import cache, folds
from kit.inference import predictions
from kit.recipes.schema import Recipe
from kit.report import summary
from kit.run import Run
from kit.workflows import ensemble, thresholds
from kit.workflows.workspace import CACHES, RUNS, fold_file, logged, open_data, run_of

if TYPE_CHECKING:  # it imports torch, which takes seconds, and most verbs do without
    from lightning_fabric import Fabric

log = logging.getLogger(__name__)


def train(data: Path, recipe: Recipe, only_fold: int | None = None, skip_bad: bool = False) -> tuple[Run, bool]:
    """Trains every stage of every fold, then makes the OOF maps.

    Args:
        data: The competition's folder.
        recipe: What to train.
        only_fold: Train that fold alone, as when each GPU or process takes one.
        skip_bad: Leave out images that cannot be read.

    Returns:
        The run, and whether there was anything to do.
    """
    from kit.training import fabric_setup

    competition = open_data(data)
    split = folds.read(fold_file(competition), competition)
    numbers = split.numbers if only_fold is None else [only_fold]
    if not set(numbers) <= set(split.numbers):
        raise KitError(f"--fold {only_fold}: the folds of {fold_file(competition)} are {split.numbers}")
    if other := folds.difference(fold_file(competition), recipe.folds.count, recipe.folds.holdout):
        log.warning("%s: %s", fold_file(competition), other)
    run, parts = run_of(competition, recipe), recipe.parts()
    fabric = fabric_setup.launch(recipe)
    team = Team(fabric.global_rank, fabric.world_size, fabric.barrier)
    sizes = {stage.size for part in parts.values() for stage in part.stages}
    caches = cache.ensure(competition, sizes, CACHES / competition.name, skip_bad, team)
    images = key_of(*next(iter(caches.values())).keys).hex()
    made_from = {"images or labels": images, "folds": sha256(fold_file(competition))}
    done = []
    for name, part in parts.items():
        done += train_part(run.member(name), part, competition, split, numbers, caches, made_from, fabric, team)
    with logged(run):
        if recipe.members:
            if team.first:
                run.begin(recipe, made_from)
            team.barrier()
            for fold in numbers:
                done.append(ensemble.average(run, recipe, partial(Run.oof, fold=fold), team))
        # The search wants every fold's predictions; it belongs to the process that makes the last of them.
        complete = all(
            run.member(name).oof(fold, tta, part.role).is_file()
            for name, part in {**parts, "": recipe}.items()
            for fold in split.numbers
            for tta in (True, False)
        )
        if team.first and complete and recipe.role == "segment":
            if recipe.is_gated:
                ensemble.stack_oof(run, recipe, split)
            done.append(thresholds.ensure(run, recipe, competition, split))
    return run, any(done)


def train_part(
    run: Run,
    recipe: Recipe,
    competition: layout.Competition,
    split: folds.Folds,
    numbers: Sequence[int],
    caches: dict[int, cache.Cache],
    made_from: dict[str, str],
    fabric: "Fabric",
    team: Team,
) -> list[bool]:
    """Trains one network over its stages and folds, and predicts what it has not seen; whether each had to be done."""
    from kit.training import stage as stages

    starts = {fold: None for fold in numbers}
    if recipe.start is not None:
        source = Run(RUNS / competition.name / recipe.start)
        starts = {fold: source.start(fold, made_from) for fold in numbers}
        made_from = made_from | {f"weights of fold {fold} of {recipe.start}": sha256(starts[fold]) for fold in numbers}
    if team.first:
        run.begin(recipe, made_from)
    team.barrier()
    done = []
    for fold in numbers:
        busy = "another process trains this fold: wait until it has ended"
        with logged(run), locked(run.folder / f"fold{fold}", busy) if team.first else nullcontext():
            start = starts[fold]
            for number, stage in enumerate(recipe.stages):
                cached, weights = caches[stage.size], run.weights(fold, number)
                if not weights.is_file():
                    training, validation = (
                        rows[~cached.bad[rows]] for rows in (split.training(fold), split.validation(fold))
                    )
                    data = stages.FoldData(cached, training, validation, split.positive[training])
                    stages.train(fabric, recipe, number, fold, data, run.stage(fold, number), start)
                    log.info("%s", f"{recipe.name.partition('/')[2]} {summary.stage(run, fold, number)}".strip())
                    done.append(True)
                start = weights
            done.append(predictions.predict_oof(run, recipe, split, cached, competition, fold, team))
    return done
