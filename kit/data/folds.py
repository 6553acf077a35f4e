"""Folds that are stratified by negative / single / multiple and never share a patient.

A data set's first split is `folds/NAME.csv`, others lie beside it as `folds/NAME-SPLIT.csv`: a split names its file,
whatever else lies there. A fold file has the columns image_id, patient_id, stratum, fold and is sorted by image_id.
Folds count from 0; with a hold-out share, fold 0 is the held-out part and all other images are in fold -1, which
validates nothing. Beside it `folds/NAME.origin.json` says what they were made from, so that changed labels are noticed.
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
from kit.competition.layout import Competition
from kit.core import store
from kit.core.errors import KitError, printable
from kit.core.files import is_file_or_raise, read_bytes, sha256, write_text
from kit.data import patients

COLUMNS = ["image_id", "patient_id", "stratum", "fold"]
ONLY_TRAINING = -1
SPLITS = "splits.csv"
"""The split that comes with a data set."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """How folds are made."""

    count: int | None = 5
    """Number of folds; None with a hold-out."""
    holdout: float | None = None
    """Share of the images to hold out instead (the paper: 0.2 in Exp1, 0.1 in the others), kept to the nearest
    fraction with a denominator of at most 20."""
    seed: int = 0
    hash_patients: bool = field(default=False, compare=False)
    """Write a hash in the place of each patient's id; the folds are the same."""

    def __post_init__(self) -> None:
        if self.holdout is not None:
            object.__setattr__(self, "count", None)

    def __str__(self) -> str:
        how = f"{self.count} folds" if self.holdout is None else f"a hold-out of {self.holdout:g}"
        return f"{how} of seed {self.seed}" if self.seed else how

    @property
    def slug(self) -> str:
        """What tells the fold files of a data set apart.

        >>> Split(5).slug, Split(holdout=0.1, seed=3).slug
        ('5fold', 'holdout10-seed3')
        """
        how = f"{self.count}fold" if self.holdout is None else f"holdout{100 * self.holdout:g}"
        return f"{how}-seed{self.seed}" if self.seed else how


@dataclass(frozen=True)
class Folds:
    """The split of the training images."""

    table: pd.DataFrame
    """Columns image_id, patient_id, stratum, fold; sorted by image_id."""

    @property
    def positive(self) -> np.ndarray:
        """Whether each image has pneumothorax, bool (N,)."""
        return (self.table.stratum != "negative").to_numpy()

    @property
    def numbers(self) -> list[int]:
        """The folds that validate, ascending."""
        return sorted(int(fold) for fold in self.table.fold.unique() if fold != ONLY_TRAINING)

    def validation(self, fold: int) -> np.ndarray:
        """Row numbers of the images that validate `fold`'s network."""
        return np.flatnonzero(self.table.fold == fold)

    def training(self, fold: int, share: float = 1.0, seed: int = 0) -> np.ndarray:
        """Row numbers of the images that train it.

        Args:
            share: Of each stratum, in (0, 1]; at least one image. A smaller share is part of a larger one.
            seed: Of the draw.
        """
        rows = np.flatnonzero(self.table.fold != fold)
        if share == 1:
            return rows
        drawn = np.random.default_rng((seed, fold)).permutation(rows)
        strata = self.table.stratum.iloc[drawn]
        place = strata.groupby(strata).cumcount()
        return np.sort(drawn[place < np.ceil(share * strata.map(strata.value_counts()))])

    def counts(self) -> pd.DataFrame:
        """Images by stratum (rows) and fold (columns), with totals."""
        counts = pd.crosstab(self.table.stratum, self.table.fold, margins=True, margins_name="all")
        return counts.reindex([*labels.STRATA, "all"], fill_value=0)


def make(competition: Competition, split: Split) -> Folds:
    """Splits the labelled training images; the same input and split give the same folds.

    Raises:
        KitError: there are fewer patients than folds, or a count or share that makes no sense.
    """
    splits = competition.folder / SPLITS
    if is_file_or_raise(splits):  # before the patients are asked for: their headers take a while
        given = read_splits(splits)
        if missing := [image for image in competition.train if image not in given]:
            raise KitError(f"{splits}: has no row for {len(missing)} training images, as {missing[0]}: add them")
        table = _table(competition)
        table["fold"] = [given[image] for image in table.image_id]
        _check_numbers(table, splits, "fix it, or remove it")
        log.info("%s: its split is used", splits)
    else:
        table = _dealt(competition, split)
    if split.hash_patients:
        table["patient_id"] = table.patient_id.map(patients.pseudonym)
    return Folds(table)


def _dealt(competition: Competition, split: Split) -> pd.DataFrame:
    """The table of the folds that are drawn."""
    if split.holdout is None:
        if split.count is None or split.count < 2:
            raise KitError(f"--folds {split.count}: at least 2 folds are needed, or a --holdout share")
        held, parts, how = 1, split.count, f"{split.count} folds: ask for fewer"
    else:
        share = Fraction(split.holdout).limit_denominator(20) if 0 < split.holdout < 1 else 0
        if not 0 < share < 1:
            raise KitError(f"--holdout {split.holdout}: give a share between 0.05 and 0.95")
        held, parts = share.numerator, share.denominator
        how = f"{parts} equal parts for a hold-out of {split.holdout:g}: hold out 0.5"
    table = _table(competition)
    of_patients, of_stratum = table.patient_id.nunique(), table.stratum.value_counts().max()
    if min(of_patients, of_stratum) < parts:
        raise KitError(
            f"{competition.folder}: {len(table)} images of {of_patients} patients, at most {of_stratum} of a stratum, "
            f"cannot make {how}, or say in patients.csv (ImageId,PatientId) who is who"
        )
    from sklearn.model_selection import StratifiedGroupKFold  # takes longer to load than all else of a verb

    splitter = StratifiedGroupKFold(n_splits=parts, shuffle=True, random_state=split.seed)
    table["fold"] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of strata with fewer images than folds: the table of the folds shows them
        for fold, (_, rows) in enumerate(splitter.split(table, table.stratum, table.patient_id)):
            table.loc[rows, "fold"] = fold
    numbers = np.bincount(table.fold, minlength=parts).tolist()
    if split.holdout is not None:
        numbers = [sum(numbers[:held])]
        table["fold"] = np.where(table.fold < held, 0, ONLY_TRAINING)
    _check_sizes(numbers, len(table) * held / parts, table, competition.folder)
    return table


def _check_sizes(sizes: Sequence[int], wanted: float, table: pd.DataFrame, folder: Path) -> None:
    """Warns of folds of unequal size, and refuses an empty one: few patients with many images cannot be dealt evenly.

    Args:
        sizes: Images in each fold that validates.
        wanted: How many each should have.
    """
    counts = table.patient_id.value_counts()
    told = " and ".join(map(str, sizes))
    one = f"of {len(counts)} patients, one has {counts.iloc[0]} of the {len(table)} images"
    why = one if counts.iloc[0] > 1 else "few images of a stratum cannot be dealt evenly"
    if not all(sizes):
        raise KitError(f"{folder}: folds of {told} images: {why}: ask for fewer folds, or give another --seed")
    most, least = max(*sizes, wanted), min(*sizes, wanted)
    if most >= 1.5 * least and most - least > 1:
        log.warning("folds of %s images instead of %.0f each: %s", told, wanted, why)


def _table(competition: Competition) -> pd.DataFrame:
    """The columns that do not depend on the split."""
    ids = list(competition.train)
    return pd.DataFrame(
        {
            "image_id": ids,
            "patient_id": patients.patient_ids(competition),
            "stratum": [labels.stratum(competition.labels[image_id]) for image_id in ids],
        }
    )


def _check_numbers(table: pd.DataFrame, path: Path, advice: str) -> None:
    """Refuses a split that nothing can be trained and validated on."""
    split = table.groupby("patient_id").fold.nunique()
    if (split > 1).any():
        raise KitError(f"{path}: patient {split.idxmax()} is in more than one fold: {advice}")
    if table.fold.min() < ONLY_TRAINING:
        raise KitError(f"{path}: fold {table.fold.min()}: folds count from 0, {ONLY_TRAINING} only trains: {advice}")
    if table.fold.nunique() < 2:
        raise KitError(
            f"{path}: all images are in fold {table.fold[0]}: some have to train and some to validate: {advice}"
        )


def read_splits(path: Path | str) -> dict[str, int]:
    """The fold of each image by a `splits.csv`, `ImageId,Fold`, its folds counted as the kit counts them.

    Raises:
        KitError: the file is malformed, or an image has two folds.
    """
    found: dict[str, int] = {}
    for line, (image, text) in labels.rows(path, ("ImageId", "Fold")):
        if not re.fullmatch(r"-1|\d{1,4}", text):
            raise KitError(f"{path}:{line}: fold {text!r}: from 0, or -1 where it only trains")
        if found.setdefault(image, int(text)) != int(text):
            raise KitError(f"{path}:{line}: {image} has two folds, {found[image]} and {text}: keep one")
    return found


def provenance(competition: Competition, split: Split) -> dict[str, Any]:
    """What folds are made from, as it is written beside them."""
    patients_file, splits = competition.folder / "patients.csv", competition.folder / SPLITS
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
    """Whether a fold file was supplied or edited by the user: `make folds` did not write what it holds."""
    path = Path(path)
    made_from = store.inputs_of(path)
    return not made_from or made_from.get("content") not in (None, sha256(path))


def made_as(path: Path | str) -> Split | None:
    """How a fold file was made, by what lies beside it; None where nothing tells."""
    found = store.inputs_of(Path(path))
    if not {"folds", "holdout", "seed"} <= found.keys():
        return None
    return Split(found["folds"], found["holdout"], found["seed"])


def file_of(folder: Path | str, name: str, split: Split) -> Path:
    """The fold file of a split, there or not: `NAME-SPLIT.csv`, or `NAME.csv` where that is its own, or free."""
    first, own = Path(folder) / f"{name}.csv", Path(folder) / f"{name}-{split.slug}.csv"
    if not own.is_file() and (not first.exists() or made_as(first) == split):
        return first
    return own


def write(path: Path | str, folds: Folds, made_from: dict[str, Any]) -> None:
    """Writes the folds, with what they were made from beside them."""
    path = Path(path)
    path.unlink(missing_ok=True)  # a kill must not leave the folds of other inputs
    table = folds.table[COLUMNS]
    store.File(path, made_from).build(lambda: write_text(path, table.to_csv(index=False, lineterminator="\n")))


def read_table(path: Path | str) -> pd.DataFrame:
    """The columns of a fold file, by image id, whatever data it is of."""
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
        KitError: the file is missing or malformed, names other images than the labels, splits a patient,
            or the labels have changed since the folds were made.
    """
    table = read_table(path := Path(path))
    ids, again = list(competition.train), "run `make folds` again"
    if list(table.image_id) != ids:
        strange = sorted(set(table.image_id) ^ set(ids)) or ["an id twice"]
        raise KitError(f"{path}: has other images than {competition.labels_path} ({strange[0]}): {again}")
    strata = [labels.stratum(competition.labels[image_id]) for image_id in ids]
    changed = table.image_id[table.stratum != strata]
    before = store.inputs_of(path).get("labels")
    if len(changed) or (before and before != sha256(competition.labels_path)):
        raise KitError(f"{path}: {competition.labels_path} has changed since the folds were made: {again}")
    _check_numbers(table, path, again)
    return Folds(table)
