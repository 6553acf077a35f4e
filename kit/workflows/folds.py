"""The verb `folds`: from a data set to its fold file."""

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
    """Makes the fold file of a data set; what is not said is as in the recipe.

    A fold file that the user supplied or edited is never overwritten, and no split takes another's place.

    Args:
        out: File to write; None: `folds/NAME.csv`, or `folds/NAME-SPLIT.csv` where that is another split's.

    Returns:
        The file, the folds, and whether they were made now.

    Raises:
        KitError: the options contradict each other, or the file is the user's own.
    """
    if count is not None and holdout is not None:
        raise KitError(f"--folds {count} --holdout {holdout}: give one of them")
    workspace.draw_demo(data)
    competition = workspace.open_data(data, allow_missing=allow_missing)
    splits = competition.folder / folds.SPLITS
    if is_file_or_raise(splits) and not (count is None and holdout is None):
        raise KitError(f"{splits}: says how to split: leave --folds and --holdout out, or remove it")
    first = workspace.folds / f"{competition.name}.csv"
    nothing_asked = count is None and holdout is None and seed is None and out is None
    if nothing_asked and first.is_file() and folds.is_user_supplied(first):
        return first, folds.read(first, competition), False
    if count is None and holdout is None:
        holdout = recipe.folds.holdout
    split = Split(count or recipe.folds.count, holdout, recipe.folds.seed if seed is None else seed, hash_patients)
    path = Path(out) if out else folds.file_of(workspace.folds, competition.name, split)
    made_from = folds.provenance(competition, split)
    if path.is_file():
        if folds.is_user_supplied(path):
            why = "was not written by `make folds`, or was edited since, and is kept"
            raise KitError(f"{path}: {why}: remove it or give --out")
        if inputs_of(path).items() >= (made_from | {"content": sha256(path)}).items():
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
    made = folds.make(competition, split)
    folds.write(path, made, made_from | {"data": str(competition.folder.resolve())})
    return path, made, True


def describe_extra(workspace: Workspace, data: Path | str, recipe: Recipe, split: Folds) -> list[str]:
    """What a training leaves out of each extra data set of a recipe, a line each."""
    if not any(part.extra for part in recipe.parts()):
        return []
    return [str(extra) for extra in open_extra(workspace, workspace.open_data(data), recipe, split).values()]


def _check_owner(workspace: Workspace, path: Path, folder: Path) -> None:
    """Refuse to overwrite the folds of another data set whose folder has the same name."""
    other = Path(inputs_of(path).get("data") or folder)
    if other.resolve() != folder.resolve() and other.is_dir():
        raise KitError(f"{path}: are the folds of {other}, a data set of the same name: rename one of the folders")
