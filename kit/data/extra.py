"""Extra data: another data set's images, trained on in every fold, and never validated, scored or searched on.

No image of a patient trains a network that is validated on another one of that patient. Patients are told apart by
their ids, as `kit.data.patients` reads them in either data set: an id must mean the same person in both.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kit.competition.layout import Competition
from kit.core.store import key_of
from kit.data import patients
from kit.data.cache import Cache
from kit.data.folds import Folds
from kit.recipes.schema import Extra

if TYPE_CHECKING:  # it imports torch, and folds do without
    from kit.data.dataset import FoldData


@dataclass(frozen=True)
class ExtraData:
    """A data set that trains along, and what of it stays apart; N images in the order of `competition.train`."""

    competition: Competition
    own: str
    """Name of the data set that it trains along with."""
    patients: tuple[str, ...]
    """Of each image."""
    known: np.ndarray
    """bool (N,): is in the data set itself, by its id."""
    tested: np.ndarray
    """bool (N,): is of a patient of the data set's test images."""
    validating: dict[int, np.ndarray]
    """By fold, bool (N,): is of a patient of its validation part."""

    @property
    def name(self) -> str:
        """Its folder's."""
        return self.competition.name

    @property
    def positive(self) -> np.ndarray:
        """Whether each image has pneumothorax by its label rows, bool (N,)."""
        return np.array([bool(regions) for regions in self.competition.labels.values()], bool)

    def rows(self, fold: int) -> np.ndarray:
        """Row numbers of the images that train a fold."""
        return np.flatnonzero(~(self.known | self.tested | self.validating[fold]))

    def key(self, image_keys: tuple[bytes, ...]) -> str:
        """A hash of all that training takes from it: ids, patients, images and label rows, and what stays apart.

        Args:
            image_keys: What each image and its label rows are, by `kit.data.cache.image_keys`.
        """
        used = {fold: set(self.rows(fold).tolist()) for fold in sorted(self.validating)}
        rows = zip(self.competition.train, self.patients, image_keys, strict=True)
        return key_of(
            *(
                key_of(image_id, patient, key, ",".join(str(fold) for fold in used if row in used[fold]))
                for row, (image_id, patient, key) in enumerate(rows)
            )
        ).hex()

    def join(self, data: "FoldData", cached: Cache, fold: int, settings: Extra) -> "FoldData":
        """What a fold trains on with its part of the extra data behind its own."""
        from kit.data.dataset import FoldData

        rows, own = self.rows(fold), len(data.cache.images)
        rows = rows[~cached.bad[rows]]
        positive = self.positive[rows]
        return FoldData(
            cache=data.cache.joined(cached),
            training=np.concatenate([data.training, own + rows]),
            validation=data.validation,
            positive=np.concatenate([data.positive, positive]),
            extra=len(rows),
            unknown=own + rows[positive & (settings.labels == "image")],
        )

    def __str__(self) -> str:
        usable = ~(self.known | self.tested)
        shared = {fold: validating & usable for fold, validating in self.validating.items()}
        each = ", ".join(f"fold {fold} {mask.sum()}" for fold, mask in shared.items())
        whole = np.any(list(shared.values()), axis=0).sum()
        return (
            f"extra data {self.name}: {len(self.patients)} images, {self.positive.sum()} with pneumothorax; left out "
            f"for sharing a patient with the validation part: {each}, in all {whole}; left out of every fold: "
            f"{self.known.sum()} that are in {self.own}, {(self.tested & ~self.known).sum()} of patients of its test "
            "images"
        )


def keep_apart(extra: Competition, own: Competition, split: Folds) -> ExtraData:
    """Finds what of an extra data set may train which fold."""
    ids = {*own.train, *own.test, *own.unlabelled, *own.sample_ids}
    owners = patients.patient_ids(extra)

    def shared(theirs: set[str]) -> np.ndarray:
        # A fold file may have hashes in the place of patients' ids.
        return np.array([owner in theirs or patients.pseudonym(owner) in theirs for owner in owners], bool)

    return ExtraData(
        competition=extra,
        own=own.name,
        patients=tuple(owners),
        known=np.array([image_id in ids for image_id in extra.train], bool),
        tested=shared(set(patients.patient_ids(own, own.test))),
        validating={fold: shared(set(split.table.patient_id[split.validation(fold)])) for fold in split.numbers},
    )
