"""The flow of each verb: which step runs after which, from which artefact to which.

Each step reads the files of the step before and leaves files that a person can open. A step whose files are there
does nothing; a step that was killed goes on where it was.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kit import choosing, members, predictions
from kit.competition import layout, phantom, submission
from kit.data import cache, folds
from kit.errors import KitError
from kit.files import is_current, locked, sha256
from kit.recipe import Recipe
from kit.report import summary
from kit.rows import key_of
from kit.run import Run
from kit.team import ALONE, Team

if TYPE_CHECKING:  # it imports torch, which takes seconds, and most verbs do without
    from lightning_fabric import Fabric

log = logging.getLogger("kit")

DEMO = Path("data/demo")
FOLDS, RUNS, SUBMISSIONS, CACHES = Path("folds"), Path("runs"), Path("submissions"), Path("data/cache")


def open_data(folder: Path, allow_missing: bool = True) -> layout.Competition:
    """The competition's folder; the built-in demo is made when it is missing.

    Label rows without an image are an error when folds are made, unless they are allowed there; what comes after
    goes by the fold file, which names the images.
    """
    if folder == DEMO and not folder.exists():
        phantom.write(folder)
    return layout.open_folder(folder, allow_missing)


def make_folds(
    data: Path,
    recipe: Recipe,
    count: int | None,
    seed: int | None,
    holdout: float | None,
    out: Path | None,
    allow_missing: bool = False,
) -> tuple[Path, folds.Folds, bool]:
    """Makes the fold file of a data set; what is not said is as in the recipe.

    Returns:
        The file, the folds, and whether they were made now.
    """
    if count is not None and holdout is not None:
        raise KitError(f"--folds {count} --holdout {holdout}: give one of them")
    competition = open_data(data, allow_missing)
    if count is None and holdout is None:
        holdout = recipe.folds.holdout
    count, seed = count or recipe.folds.count, recipe.seed if seed is None else seed
    path = out or fold_file(competition)
    made_from = folds.provenance(competition, count, seed, holdout)
    if is_current(path, made_from):
        return path, folds.read(path, competition), False
    split = folds.make(competition, count, seed, holdout)
    folds.write(path, split, made_from)
    return path, split, True


def fold_file(competition: layout.Competition) -> Path:
    """`folds/NAME.csv` of a data set."""
    return FOLDS / f"{competition.name}.csv"


def run_of(competition: layout.Competition, recipe: Recipe) -> Run:
    """The run of a recipe on a data set."""
    return Run(RUNS / competition.name / recipe.name)


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
    from kit import engine

    competition = open_data(data)
    split = folds.read(fold_file(competition), competition)
    numbers = split.numbers if only_fold is None else [only_fold]
    if not set(numbers) <= set(split.numbers):
        raise KitError(f"--fold {only_fold}: the folds of {fold_file(competition)} are {split.numbers}")
    if other := folds.difference(fold_file(competition), recipe.folds.count, recipe.folds.holdout):
        log.warning("%s: %s", fold_file(competition), other)
    run, parts = run_of(competition, recipe), recipe.parts()
    fabric = engine.launch(recipe)
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
                done.append(members.average(run, recipe, partial(Run.oof, fold=fold), team))
        # The search wants every fold's predictions; it belongs to the process that makes the last of them.
        complete = all(
            run.member(name).oof(fold, tta, part.role).is_file()
            for name, part in {**parts, "": recipe}.items()
            for fold in split.numbers
            for tta in (True, False)
        )
        if team.first and complete and recipe.role == "segment":
            if recipe.is_gated:
                members.stack_oof(run, recipe, split)
            done.append(choosing.ensure(run, recipe, competition, split))
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


def search_thresholds(
    data: Path, recipe: Recipe, kinds: Sequence[str], removal: Sequence[int] | None, prevalence: float | None
) -> dict[str, Path]:
    """Searches the thresholds of some rules on the run's OOF maps; where each search was written, by its name."""
    competition = open_data(data)
    run, split = run_of(competition, recipe), folds.read(fold_file(competition), competition)
    run.agree(recipe)
    return choosing.search(run, recipe, competition, split, kinds, removal, prevalence)


def predict(
    data: Path, recipe: Recipe, images: Path | None = None, out: Path | None = None, skip_bad: bool = False
) -> tuple[Path, bool]:
    """Predicts the test images, or any folder of DICOM files, and writes the submission.

    Args:
        data: The competition's folder, whose run of the recipe is used.
        recipe: Of the run.
        images: A folder of DICOM files instead of the test images.
        out: Where the maps (`test.npy`) and the submission of `images` go.
        skip_bad: Files that cannot be read get an empty mask instead of an error.

    Returns:
        The submission, and whether anything was to do.

    Raises:
        KitError: there is no trained run, or a file cannot be read.
    """
    competition = open_data(data)
    run = run_of(competition, recipe)
    run.agree(recipe)
    if images is None:
        paths, order = competition.test, competition.sample_ids
        target = run
    else:
        if not images.is_dir():
            raise KitError(f"--images {images}: there is no such folder: give one with DICOM files")
        paths = layout.find_dicoms(images)
        order, target = tuple(paths), Run(out or Path("predictions") / images.name)
    if not order:
        raise KitError(f"{images or competition.folder}: has no test images: nothing can be predicted")
    if not run.thresholds.is_file():
        raise KitError(f"{run.folder}: is not trained to its thresholds: run `make train` first")
    if not choosing.fits(run, recipe):
        kind = "without" if recipe.tta else "with"
        raise KitError(f"{run.thresholds}: was chosen on maps {kind} TTA: run `make train` with this setting of tta")
    with logged(run), locked(target.test()):
        paths = predictions.readable(paths, competition.shape, skip_bad)
        made = [
            predictions.predict_folder(run.member(name), part, paths, target.member(name), competition.shape, ALONE)
            for name, part in recipe.parts().items()
        ]
        if recipe.members:
            made.append(members.average(target, recipe, Run.test, ALONE))
        if recipe.is_gated:
            members.stack_test(run, recipe, target)
        made.append(predictions.write_submission(target, recipe, run.thresholds, order, competition.shape))
    return target.submission, any(made)


def validate(file: Path, data: Path, sample: Path | None = None) -> list[submission.Problem]:
    """The problems of a submission file, held against a sample submission or the data's own."""
    if sample is not None:
        return submission.validate(file, tuple(submission.read(sample)))
    competition = open_data(data)
    return submission.validate(file, competition.sample_ids, competition.shape)


@contextmanager
def logged(run: Run) -> Iterator[None]:
    """What is logged in the block goes to the run's log.txt too."""
    run.folder.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(run.log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        handler.close()
