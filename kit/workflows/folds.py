"""The verb `folds`: makes the fold file of a data set."""

import logging
from pathlib import Path

from kit.core.errors import KitError
from kit.core.files import is_file_or_raise, sha256
from kit.core.store import inputs_of
from kit.data import folds
from kit.data.folds import Folds, Split
from kit.recipes.schema import Recipe
from kit.workflows.extra import open_extra
from kit.workflows.workspace import Workspace

log = logging.getLogger(__name__)


def make_folds(
    workspace: Workspace,
    data: Path | str,
    recipe: Recipe,
    *,
    count: int | None = None,
    seed: int | None = None,
    holdout: float | None = None,
    out: Path | str | None = None,
    allow_missing: bool = False,
    hash_patients: bool = False,
) -> tuple[Path, Folds, bool]:
    """Makes the fold file of a data set; the recipe has the defaults of all options.

    Neither a file that the user supplied or edited nor the file of another split is ever overwritten.

    Args:
        out: File to write; default: `folds/NAME.csv`, or `folds/NAME-SPLIT.csv` if that has another split.

    Returns:
        The file, the folds, and whether the file is new.

    Raises:
        KitError: the options contradict each other, or the user supplied the file.
    """
    if count is not None and holdout is not None:
        raise KitError(f"--folds {count} --holdout {holdout}: give one of them")
    workspace.draw_demo(data)
    competition = workspace.open_data(data, allow_missing=allow_missing)
    splits = competition.folder / folds.SPLITS
    by_recipe = count is None and holdout is None
    if is_file_or_raise(splits) and not by_recipe:
        raise KitError(f"{splits}: says how to split: leave --folds and --holdout out, or remove it")
    first = workspace.folds / f"{competition.name}.csv"
    if by_recipe and seed is None and out is None and first.is_file() and folds.is_user_supplied(first):
        return first, folds.read(first, competition), False
    holdout = recipe.folds.holdout if by_recipe else holdout
    split = Split(count or recipe.folds.count, holdout, recipe.folds.seed if seed is None else seed, hash_patients)
    path = Path(out) if out else folds.file_of(workspace.folds, competition.name, split)
    inputs = folds.provenance(competition, split)
    if path.is_file():
        if folds.is_user_supplied(path):
            problem = "was not written by `make folds`, or was edited since, and is kept"
            raise KitError(f"{path}: {problem}: remove it or give --out")
        if inputs_of(path).items() >= (inputs | {"content": sha256(path)}).items():
            return path, folds.read(path, competition), False
        _check_owner(workspace, path, competition.folder)
    if competition.unlabelled:
        log.warning(
            "%s: %d of %d training images have no row there, and are left out (first: %s)",
            competition.labels_path,
            len(competition.unlabelled),
            len(competition.unlabelled) + len(competition.train),
            competition.unlabelled[0],
        )
    result = folds.make(competition, split)
    folds.write(path, result, inputs | {"data": str(competition.folder.resolve())})
    return path, result, True


def describe_extra(workspace: Workspace, data: Path | str, recipe: Recipe, split: Folds) -> list[str]:
    """Describes what a training leaves out of each extra data set of a recipe, one line each."""
    if not any(part.extra for part in recipe.parts()):
        return []
    return [str(extra) for extra in open_extra(workspace, workspace.open_data(data), recipe, split).values()]


def _check_owner(workspace: Workspace, path: Path, folder: Path) -> None:
    """Refuses to overwrite the folds of another data set whose folder has the same name."""
    other = Path(inputs_of(path).get("data") or folder)
    if other.resolve() != folder.resolve() and other.is_dir():
        raise KitError(f"{path}: holds the folds of {other}, a data set of the same name: rename one of the folders")
