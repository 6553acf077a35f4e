"""Folds that are stratified by negative / single / multiple and never share a patient.

A data set's first split is `folds/NAME.csv`, others lie beside it as `folds/NAME-SPLIT.csv`. A fold file has the
columns image_id, patient_id, stratum, fold and is sorted by image_id. Folds count from 0; with a hold-out share, fold 0
is the held-out part and all other images are in fold -1, which validates nothing. Beside it `folds/NAME.origin.json`
says what they were made from, so that changed labels are noticed.
"""

import glob
import hashlib
import io
import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedGroupKFold

from kit.competition import labels
from kit.competition.layout import Competition
from kit.core.errors import KitError, printable
from kit.core.files import present, read_bytes, sha256, write_text
from kit.core.origins import mark
from kit.data import brought, patients
from kit.data.split import SLUG, Split, made_as, origin_of

COLUMNS = ["image_id", "patient_id", "stratum", "fold"]
ONLY_TRAINING = -1

log = logging.getLogger(__name__)


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

    def training(self, fold: int) -> np.ndarray:
        """Row numbers of the images that train it."""
        return np.flatnonzero(self.table.fold != fold)

    def counts(self) -> pd.DataFrame:
        """Images by stratum (rows) and fold (columns), with totals."""
        counts = pd.crosstab(self.table.stratum, self.table.fold, margins=True, margins_name="all")
        return counts.reindex([*labels.STRATA, "all"], fill_value=0)


def make(competition: Competition, split: Split) -> Folds:
    """Splits the labelled training images; the same input and split give the same folds.

    Raises:
        KitError: there are fewer patients than folds, or a count or share that makes no sense.
    """
    count, holdout = split.count, split.holdout
    splits = competition.folder / brought.NAME
    if present(splits):  # before the patients are asked for: their headers take a while
        given = brought.folds_of(splits, competition.train)
        table = _table(competition)
        table["fold"] = given
        if split.hash_patients:
            table["patient_id"] = [patients.pseudonym(patient) for patient in table.patient_id]
        _check_numbers(table, splits, "fix it, or remove it")
        log.info("%s: its split is used", splits)
        return Folds(table)
    if holdout is None:
        if count is None or count < 2:
            raise KitError(f"--folds {count}: at least 2 folds are needed, or a --holdout share")
        held, parts = 1, count
    else:
        share = Fraction(holdout).limit_denominator(20) if 0 < holdout < 1 else 0
        if not 0 < share < 1:
            raise KitError(f"--holdout {holdout}: give a share between 0.05 and 0.95")
        held, parts = share.numerator, share.denominator
    table = _table(competition)
    if table.patient_id.nunique() < parts:
        raise KitError(
            f"{competition.folder}: {table.patient_id.nunique()} patients cannot make {parts} folds: ask for fewer"
        )
    sizes = table.stratum.value_counts().sort_index()
    if sizes.max() < parts:
        raise KitError(f"{competition.folder}: no stratum has an image for each of {parts} folds: ask for fewer")
    for stratum, size in sizes.items():
        if size < parts:
            short = f"the {parts} folds: some folds have" if holdout is None else f"{parts}: the held-out part may have"
            log.warning("%d images are %s, fewer than %s none", size, stratum, short)
    splitter = StratifiedGroupKFold(n_splits=parts, shuffle=True, random_state=split.seed)
    table["fold"] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the strata that were named above
        for fold, (_, rows) in enumerate(splitter.split(table, table.stratum, table.patient_id)):
            table.loc[rows, "fold"] = fold
    if holdout is not None:
        table["fold"] = np.where(table.fold < held, 0, ONLY_TRAINING)
    if split.hash_patients:
        table["patient_id"] = [patients.pseudonym(patient) for patient in table.patient_id]
    return Folds(table)


def _table(competition: Competition) -> pd.DataFrame:
    """The columns that do not depend on the split."""
    ids = list(competition.train)
    return pd.DataFrame(
        {
            "image_id": ids,
            "patient_id": patients.of(competition),
            "stratum": [labels.stratum(competition.labels[image_id]) for image_id in ids],
        }
    )


def _check_numbers(table: pd.DataFrame, path: Path, advice: str) -> None:
    """Refuses a split that nothing can be trained and validated on.

    Raises:
        KitError: a patient is in two folds, a fold's number is none, or there is one fold alone.
    """
    split = table.groupby("patient_id").fold.nunique()
    if (split > 1).any():
        raise KitError(f"{path}: patient {split.idxmax()} is in more than one fold: {advice}")
    if table.fold.min() < ONLY_TRAINING:
        raise KitError(f"{path}: fold {table.fold.min()}: folds count from 0, {ONLY_TRAINING} only trains: {advice}")
    if table.fold.nunique() < 2:
        raise KitError(
            f"{path}: all images are in fold {table.fold[0]}: some have to train and some to validate: {advice}"
        )


def provenance(competition: Competition, split: Split) -> dict[str, Any]:
    """What folds are made from, as it is written beside them."""
    patients_file, splits = competition.folder / "patients.csv", competition.folder / brought.NAME
    return {
        **({"splits": sha256(splits)} if present(splits) else {}),
        "labels": sha256(competition.labels_path),
        "patients": sha256(patients_file) if present(patients_file) else None,
        "images": len(competition.train),
        "folds": split.count,
        "holdout": split.holdout,
        "seed": split.seed,
        **({"patients hashed": True} if split.hash_patients else {}),
    }


def is_as_asked(path: Path | str, split: Split) -> bool:
    """Whether a fold file was made in that way."""
    return made_as(path) == split


def is_by_hand(path: Path | str) -> bool:
    """Whether a fold file was supplied or edited by the user: `make folds` did not write what it holds."""
    path = Path(path)
    made_from = origin_of(path)
    return not made_from.model_fields_set or made_from.content not in (None, sha256(path))


def files_of(folder: Path | str, name: str) -> list[Path]:
    """The fold files of a data set: `NAME.csv` first, then those of its other splits."""
    folder = Path(folder)
    others = (path for path in folder.glob(f"{glob.escape(name)}-*.csv"))
    split = [path for path in others if SLUG.fullmatch(path.stem.removeprefix(f"{name}-"))]
    return [path for path in (folder / f"{name}.csv", *sorted(split)) if path.is_file()]


def choose(paths: Sequence[Path], split: Split) -> Path | None:
    """The fold file to train on where folds are to be made in that way.

    One made so; else one that differs in its seed alone; else the first, if it is by hand or the only one.

    Args:
        paths: Of a data set, its first split first.
        split: What the recipe asks for.
    """
    for path in paths:
        if is_as_asked(path, split):
            return path
    for path in paths:
        made = made_as(path)
        if made is not None and (made.count, made.holdout) == (split.count, split.holdout):
            return path
    if paths and (len(paths) == 1 or is_by_hand(paths[0])):
        return paths[0]
    return None


def difference(path: Path | str, split: Split) -> str:
    """How a fold file differs from what is asked for, seeds aside; empty where it does not, or that is unknown."""
    made = made_as(path)
    if made is None or (made.count, made.holdout) == (split.count, split.holdout):
        return ""
    return f"has {replace(made, seed=0)}, where the recipe asks for {replace(split, seed=0)}"


def write(path: Path | str, folds: Folds, made_from: dict[str, Any]) -> None:
    """Writes the folds, and before them what they were made from.

    A kill between the two must not leave folds that look as if the user had supplied them.
    """
    path = Path(path)
    text = folds.table[COLUMNS].to_csv(index=False, lineterminator="\n")
    path.unlink(missing_ok=True)
    mark(path, made_from | {"content": hashlib.sha256(text.encode()).hexdigest()})
    write_text(path, text)


def read_table(path: Path | str) -> pd.DataFrame:
    """The columns of a fold file, by image id, whatever data it is of.

    Raises:
        KitError: the file is missing or malformed.
    """
    if not present(path):
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
    made_from = origin_of(path)
    if len(changed) or (made_from.labels and made_from.labels != sha256(competition.labels_path)):
        raise KitError(f"{path}: {competition.labels_path} has changed since the folds were made: {again}")
    _check_numbers(table, path, again)
    return Folds(table)
