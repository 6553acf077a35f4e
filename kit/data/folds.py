"""Folds stratified by negative / single / multiple, which never share a patient.

The file of a data set's first split is `folds/NAME.csv`; other splits are `folds/NAME-SPLIT.csv`. A fold file has the
columns image_id, patient_id, stratum and fold, and is sorted by image_id. Folds count from 0. With a hold-out share,
fold 0 is the held-out part, and all other images are in fold -1, which validates nothing. `folds/NAME.origin.json`
records what the folds were made from, so that changed labels are noticed.
"""

import io
import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kit.competition import labels
from kit.competition.layout import PATIENTS, Competition
from kit.core import store
from kit.core.errors import KitError, printable
from kit.core.files import is_file_or_raise, read_bytes, sha256, write_text
from kit.data import patients

COLUMNS = ["image_id", "patient_id", "stratum", "fold"]
ONLY_TRAINING = -1
SPLITS = "splits.csv"
"""Name of a data set's own split, in its folder."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """Parameters of a split into folds."""

    count: int | None = 5
    """Number of folds; None with a hold-out part."""
    holdout: float | None = None
    """Share of the images to hold out instead (paper: 0.2 in Exp1, 0.1 in the other experiments), rounded to the
    nearest fraction with a denominator of at most 20."""
    seed: int = 0
    hash_patients: bool = field(default=False, compare=False)
    """Whether to write hashes in place of patient ids; the folds are the same."""

    def __post_init__(self) -> None:
        if self.holdout is not None:
            object.__setattr__(self, "count", None)

    def __str__(self) -> str:
        how = f"{self.count} folds" if self.holdout is None else f"a hold-out of {self.holdout:g}"
        return f"{how} of seed {self.seed}" if self.seed else how

    @property
    def slug(self) -> str:
        """Suffix of the fold file's name.

        >>> Split(5).slug, Split(holdout=0.1, seed=3).slug
        ('5fold', 'holdout10-seed3')
        """
        how = f"{self.count}fold" if self.holdout is None else f"holdout{100 * self.holdout:g}"
        return f"{how}-seed{self.seed}" if self.seed else how


@dataclass(frozen=True)
class Folds:
    """The training images, divided into folds."""

    table: pd.DataFrame
    """Columns image_id, patient_id, stratum, fold; sorted by image_id."""

    @property
    def positive(self) -> np.ndarray:
        """Whether each image has pneumothorax, bool (N,)."""
        return (self.table.stratum != "negative").to_numpy()

    @property
    def numbers(self) -> list[int]:
        """Numbers of the folds with validation images, ascending."""
        return sorted(int(fold) for fold in self.table.fold.unique() if fold != ONLY_TRAINING)

    def validation(self, fold: int) -> np.ndarray:
        """Returns the row numbers of a fold's validation images."""
        return np.flatnonzero(self.table.fold == fold)

    def training(self, fold: int, share: float = 1.0, seed: int = 0) -> np.ndarray:
        """Returns the row numbers of a fold's training images.

        Args:
            share: Share to draw from each stratum, in (0, 1], at least one image. Smaller shares are subsets of larger.
            seed: Random seed of the draw.
        """
        rows = np.flatnonzero(self.table.fold != fold)
        if share == 1:
            return rows
        drawn = np.random.default_rng((seed, fold)).permutation(rows)
        strata = self.table.stratum.iloc[drawn]
        rank = strata.groupby(strata).cumcount()
        return np.sort(drawn[rank < np.ceil(share * strata.map(strata.value_counts()))])

    def counts(self) -> pd.DataFrame:
        """Returns the number of images by stratum (rows) and fold (columns), with totals."""
        counts = pd.crosstab(self.table.stratum, self.table.fold, margins=True, margins_name="all")
        return counts.reindex([*labels.STRATA, "all"], fill_value=0)


def make(competition: Competition, split: Split) -> Folds:
    """Divides the labelled training images into folds; the same input and split give the same folds.

    Raises:
        KitError: there are fewer patients than folds, or the count or share is invalid.
    """
    splits = competition.folder / SPLITS
    if is_file_or_raise(splits):  # before the headers are read, which takes a while
        fold_by_id = read_splits(splits)
        if missing := [image for image in competition.train if image not in fold_by_id]:
            raise KitError(f"{splits}: has no row for {len(missing)} training images (first: {missing[0]}): add them")
        table = _table(competition)
        table["fold"] = [fold_by_id[image] for image in table.image_id]
        _check_numbers(table, splits, "fix it, or remove it")
        log.info("%s: its split is used", splits)
    else:
        table = _draw(competition, split)
    if split.hash_patients:
        table["patient_id"] = table.patient_id.map(patients.pseudonym)
    return Folds(table)


def _draw(competition: Competition, split: Split) -> pd.DataFrame:
    """Draws the folds; returns their table."""
    # The images are dealt into `parts`, of which the first `held` are held out.
    if split.holdout is None:
        if split.count is None or split.count < 2:
            raise KitError(f"--folds {split.count}: at least 2 folds are needed, or a --holdout share")
        held, parts, goal, remedy = 1, split.count, f"{split.count} folds", "ask for fewer"
    else:
        share = Fraction(split.holdout).limit_denominator(20) if 0 < split.holdout < 1 else 0
        if not 0 < share < 1:
            raise KitError(f"--holdout {split.holdout}: give a share between 0.05 and 0.95")
        held, parts = share.numerator, share.denominator
        goal, remedy = f"{parts} equal parts for a hold-out of {split.holdout:g}", "hold out 0.5"
    table = _table(competition)
    people, largest = table.patient_id.nunique(), table.stratum.value_counts().max()
    if min(people, largest) < parts:
        raise KitError(
            f"{competition.folder}: {len(table)} images of {people} patients, at most {largest} of a stratum, "
            f"cannot make {goal}: {remedy}, or give the patients in patients.csv (ImageId,PatientId)"
        )
    from sklearn.model_selection import StratifiedGroupKFold  # slow to import

    splitter = StratifiedGroupKFold(n_splits=parts, shuffle=True, random_state=split.seed)
    table["fold"] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # strata with fewer images than folds, which the printed table shows
        for fold, (_, rows) in enumerate(splitter.split(table, table.stratum, table.patient_id)):
            table.loc[rows, "fold"] = fold
    sizes = np.bincount(table.fold, minlength=parts).tolist()
    if split.holdout is not None:
        sizes = [sum(sizes[:held])]
        table["fold"] = np.where(table.fold < held, 0, ONLY_TRAINING)
    _check_sizes(sizes, len(table) * held / parts, table, competition.folder)
    return table


def _check_sizes(sizes: Sequence[int], expected: float, table: pd.DataFrame, folder: Path) -> None:
    """Warns of folds of unequal size, as when few patients have many images, and refuses an empty one.

    Args:
        sizes: Number of images in each fold that validates.
        expected: Number of images that each fold should have.
    """
    counts = table.patient_id.value_counts()
    listed = " and ".join(map(str, sizes))
    reason = "few images of a stratum cannot be dealt evenly"
    if counts.iloc[0] > 1:
        reason = f"of {len(counts)} patients, one has {counts.iloc[0]} of the {len(table)} images"
    if not all(sizes):
        raise KitError(f"{folder}: folds of {listed} images: {reason}: ask for fewer folds, or give another --seed")
    most, least = max(*sizes, expected), min(*sizes, expected)
    if most >= 1.5 * least and most - least > 1:
        log.warning("folds of %s images instead of %.0f each: %s", listed, expected, reason)


def _table(competition: Competition) -> pd.DataFrame:
    """Returns the columns that do not depend on the split."""
    ids = list(competition.train)
    return pd.DataFrame(
        {
            "image_id": ids,
            "patient_id": patients.patient_ids(competition),
            "stratum": [labels.stratum(competition.labels[image_id]) for image_id in ids],
        }
    )


def _check_numbers(table: pd.DataFrame, path: Path, advice: str) -> None:
    """Refuses folds that share a patient, or that cannot be both trained and validated."""
    fold_counts = table.groupby("patient_id").fold.nunique()
    if (fold_counts > 1).any():
        raise KitError(f"{path}: patient {fold_counts.idxmax()} is in more than one fold: {advice}")
    if (lowest := table.fold.min()) < ONLY_TRAINING:
        raise KitError(f"{path}: fold {lowest}: folds count from 0, or {ONLY_TRAINING} for only training: {advice}")
    if table.fold.nunique() < 2:
        raise KitError(
            f"{path}: all images are in fold {table.fold[0]}: some have to train and some to validate: {advice}"
        )


def read_splits(path: Path | str) -> dict[str, int]:
    """Reads the fold of each image from a `splits.csv` (`ImageId,Fold`); folds count as in a fold file.

    Raises:
        KitError: the file is malformed, or an image has two folds.
    """
    fold_by_id: dict[str, int] = {}
    for line, (image, text) in labels.rows(path, ("ImageId", "Fold")):
        if not re.fullmatch(r"-1|\d{1,4}", text):
            raise KitError(f"{path}:{line}: fold {text!r}: folds count from 0, or -1 for only training")
        if fold_by_id.setdefault(image, int(text)) != int(text):
            raise KitError(f"{path}:{line}: {image} has two folds, {fold_by_id[image]} and {text}: keep one")
    return fold_by_id


def provenance(competition: Competition, split: Split) -> dict[str, Any]:
    """Returns the inputs of folds, as recorded beside their file."""
    patients_file, splits = competition.folder / PATIENTS, competition.folder / SPLITS
    return {
        **({"splits": sha256(splits)} if is_file_or_raise(splits) else {}),
        "labels": sha256(competition.labels_path),
        "patients": sha256(patients_file) if is_file_or_raise(patients_file) else None,
        "images": len(competition.train),
        "folds": split.count,
        "holdout": split.holdout,
        "seed": split.seed,
        **({"patients hashed": True} if split.hash_patients else {}),
    }


def is_user_supplied(path: Path | str) -> bool:
    """Whether a fold file was supplied or edited by the user, and not written by `make folds`."""
    inputs = store.inputs_of(path := Path(path))
    return not inputs or inputs.get("content") not in (None, sha256(path))


def split_of(path: Path | str) -> Split | None:
    """Returns the recorded split of a fold file, or None without a record."""
    inputs = store.inputs_of(Path(path))
    if not {"folds", "holdout", "seed"} <= inputs.keys():
        return None
    return Split(inputs["folds"], inputs["holdout"], inputs["seed"])


def file_of(folder: Path | str, name: str, split: Split) -> Path:
    """Returns the path for the folds of a split: `NAME.csv` if it is free or has this split, else `NAME-SPLIT.csv`."""
    first, other = Path(folder) / f"{name}.csv", Path(folder) / f"{name}-{split.slug}.csv"
    if not other.is_file() and (not first.exists() or split_of(first) == split):
        return first
    return other


def write(path: Path | str, folds: Folds, inputs: dict[str, Any]) -> None:
    """Writes the folds, and a record of their inputs."""
    path = Path(path)
    path.unlink(missing_ok=True)  # a kill must not leave the folds of other inputs
    table = folds.table[COLUMNS]
    store.File(path, inputs).build(lambda: write_text(path, table.to_csv(index=False, lineterminator="\n")))


def read_table(path: Path | str) -> pd.DataFrame:
    """Reads the columns of a fold file, sorted by image id, without checking them against data."""
    if not is_file_or_raise(path):
        raise KitError(f"{path}: there are no folds yet: run `make folds` first")
    content = io.BytesIO(read_bytes(path))
    try:
        types = {"image_id": str, "patient_id": str, "stratum": str, "fold": int}
        table = pd.read_csv(content, na_filter=False, dtype=types)  # an id may be "null" or "NA"
        return table[COLUMNS].sort_values("image_id", ignore_index=True)
    except (ValueError, KeyError, OverflowError) as error:
        raise KitError(
            f"{path}: is not a fold file with columns {','.join(COLUMNS)} ({printable(error)[:200]}): "
            "run `make folds` again"
        ) from None


def read(path: Path | str, competition: Competition) -> Folds:
    """Reads a fold file and checks it against the competition's labels.

    Raises:
        KitError: the file is missing or malformed, has other images than the labels, divides a patient, or the labels
            have changed since the folds were made.
    """
    table = read_table(path := Path(path))
    ids, remedy = list(competition.train), "run `make folds` again"
    if list(table.image_id) != ids:
        unexpected = sorted(set(table.image_id) ^ set(ids)) or ["an id twice"]
        raise KitError(f"{path}: has other images than {competition.labels_path} ({unexpected[0]}): {remedy}")
    strata = [labels.stratum(competition.labels[image_id]) for image_id in ids]
    changed = table.image_id[table.stratum != strata]
    recorded = store.inputs_of(path).get("labels")
    if len(changed) or (recorded and recorded != sha256(competition.labels_path)):
        raise KitError(f"{path}: {competition.labels_path} has changed since the folds were made: {remedy}")
    _check_numbers(table, path, remedy)
    return Folds(table)
