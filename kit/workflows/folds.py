"""The verb `folds`: from a data set to its fold file."""

import logging
from pathlib import Path

from kit.core.errors import KitError
from kit.core.files import is_current
from kit.data import folds
from kit.recipes.schema import Recipe
from kit.workflows.workspace import fold_file, open_data

log = logging.getLogger(__name__)


def make_folds(
    data: Path,
    recipe: Recipe,
    count: int | None,
    seed: int | None,
    holdout: float | None,
    out: Path | None,
    allow_missing: bool = False,
    hash_patients: bool = False,
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
    made_from = folds.provenance(competition, count, seed, holdout, hash_patients)
    if is_current(path, made_from):
        return path, folds.read(path, competition), False
    if competition.unlabelled:
        log.warning(
            "%s: %d of %d training images have no row there, and are left out (first: %s)",
            competition.labels_path,
            len(competition.unlabelled),
            len(competition.unlabelled) + len(competition.train),
            competition.unlabelled[0],
        )
    split = folds.make(competition, count, seed, holdout, hash_patients)
    folds.write(path, split, made_from)
    return path, split, True
