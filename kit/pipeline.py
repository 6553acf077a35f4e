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

import numpy as np

from kit import members, predictions
from kit.competition import layout, phantom, rle, submission
from kit.data import cache, folds
from kit.errors import KitError
from kit.files import copy, is_current, locked, mark, sha256
from kit.inference import maps, rules, thresholds
from kit.progress import progress
from kit.recipe import Recipe
from kit.report import summary
from kit.rows import key_of, keys_path
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
            done.append(ensure_thresholds(data, recipe))
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

    if team.first:
        run.begin(recipe, made_from)
    team.barrier()
    starts = {fold: None for fold in numbers}
    if recipe.start is not None:
        source = Run(RUNS / competition.name / recipe.start)
        starts = {fold: source.start(fold, made_from) for fold in numbers}
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
                    data = stages.FoldData(cached, training, validation)
                    stages.train(fabric, recipe, number, fold, data, run.stage(fold, number), start)
                    log.info("%s", f"{recipe.name.partition('/')[2]} {summary.stage(run, fold, number)}".strip())
                    done.append(True)
                start = weights
            done.append(predictions.predict_oof(run, recipe, split, cached, competition, fold, team))
    return done


def ensure_thresholds(data: Path, recipe: Recipe) -> bool:
    """Chooses the run's thresholds unless its OOF maps, labels and prevalence are those that they were chosen on.

    Returns:
        Whether they were chosen now.
    """
    competition = open_data(data)
    run = run_of(competition, recipe)
    split = folds.read(fold_file(competition), competition)
    made_from = {
        "oof": [sha256(keys_path(run.oof(fold, tta))) for fold in split.numbers for tta in (True, False)],
        "labels": sha256(competition.labels_path),
        "prevalence": recipe.prevalence,
        "tta": recipe.tta,
        "rules": list(thresholds.KINDS),
    }
    if recipe.is_gated:
        made_from["presence"] = [sha256(run.oof(fold, recipe.tta, "classify")) for fold in split.numbers]
    if is_current(run.thresholds, made_from):
        return False
    search_thresholds(data, recipe, thresholds.KINDS, None, recipe.prevalence)
    mark(run.thresholds, made_from)
    return True


def search_thresholds(
    data: Path, recipe: Recipe, kinds: Sequence[str], removal: Sequence[int] | None, prevalence: float | None
) -> dict[str, Path]:
    """Searches the thresholds of each rule on the OOF maps, with and without TTA, and keeps the best for `predict`.

    The run's thresholds.json becomes the rule with the best nested Dice on the maps that the recipe predicts with.

    Args:
        data: The competition's folder.
        recipe: Of the run.
        kinds: Names of rules.
        removal: Values to choose from, in pixels of a 1024×1024 image; None: all that make a difference.
        prevalence: Share of positives to expect; None: as in the training images.

    Returns:
        Where each search was written, by what to call it.
    """
    competition = open_data(data)
    run, split = run_of(competition, recipe), folds.read(fold_file(competition), competition)
    folders, nested = {}, {}
    for tta in (True, False):
        files = [run.oof(fold, tta) for fold in split.numbers]
        lacking = [file for file in files if not file.is_file()]
        if lacking:
            raise KitError(f"{lacking[0]}: there are no out-of-fold maps of every fold yet: run `make train` first")
        stacks = [maps.open_maps(file) for file in files]
        rows = split.table.set_index("image_id").loc[[id for stack in stacks for id in stack.ids]]
        presence = [run.oof(fold, tta, "classify") for fold in split.numbers] if recipe.is_gated else []
        results = thresholds.choose(
            (map for stack in stacks for map in stack),
            (rle.union(competition.labels[id], competition.shape, id) for id in rows.index),
            list(rows.patient_id),
            list(rows.fold),
            kinds,
            removal,
            prevalence,
            np.concatenate([np.load(file) for file in presence]) if presence else None,
        )
        hashes = {file.name: sha256(file) for file in files + presence} | {"labels": sha256(competition.labels_path)}
        for kind, result in results.items():
            folder = run.rule(kind, tta)
            folders[f"{kind}, {'with' if tta else 'without'} TTA"] = folder
            thresholds.write(result, folder, recipe.name, hashes)
            if tta == recipe.tta:
                # One patient alone leaves nothing to estimate on: then the Dice itself has to do.
                nested[folder] = result.dice if result.nested_dice is None else result.nested_dice
    best = max(nested, key=nested.__getitem__)
    for target in (run.surface, run.thresholds):
        source = best / target.name
        if source.is_file():
            copy(source, target)
        else:
            target.unlink(missing_ok=True)
    return folders


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
    if images is None:
        paths, order = competition.test, competition.sample_ids
        target = run
    else:
        paths = layout.find_dicoms(images)
        order, target = tuple(paths), Run(out or Path("predictions") / images.name)
    if not order:
        raise KitError(f"{images or competition.folder}: has no test images: nothing can be predicted")
    if not run.thresholds.is_file():
        raise KitError(f"{run.folder}: is not trained to its thresholds: run `make train` first")
    rule = rules.read(run.thresholds)
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
        chosen = target.test(recipe.tta)
        made_from = {
            "maps": sha256(keys_path(chosen)),
            "thresholds": sha256(run.thresholds),
            "ids": key_of(*order).hex(),
        }
        if not any(made) and is_current(target.submission, made_from):
            return target.submission, False
        stack = maps.open_maps(chosen)
        given = [(maps.upsample(map, competition.shape) for map in stack)]
        if recipe.is_gated:
            given.append(np.load(target.test(recipe.tta, "classify")))
        masks = {
            id: rle.encode(rule.mask(*inputs))
            for id, *inputs in progress(zip(stack.ids, *given, strict=True), "masks", len(stack))
        }
        # What could not be read counts as healthy: the competition wants a row for every image.
        submission.write(target.submission, [(id, masks.get(id, "-1")) for id in order])
        mark(target.submission, made_from)
    return target.submission, True


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
