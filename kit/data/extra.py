"""Extra data: images of another data set that train every fold, but are never used for validation, scores or search.

No network is validated on a patient whose images trained it. Patients are identified by their ids, as read by
`kit.data.patients` in both data sets, so an id must mean the same person in both.
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

if TYPE_CHECKING:  # it imports torch, which folds do not need
    from kit.data.dataset import FoldData


@dataclass(frozen=True)
class ExtraData:
    """An extra data set, and which images are left out; N images, in the order of `competition.train`."""

    competition: Competition
    main: str
    """Name of the main data set."""
    patients: tuple[str, ...]
    """Patient id of each image."""
    duplicate: np.ndarray
    """bool (N,): whether the main data set has an image of the same id."""
    tested: np.ndarray
    """bool (N,): whether the patient has test images in the main data set."""
    validating: dict[int, np.ndarray]
    """For each fold, bool (N,): whether the patient is in the validation part."""

    @property
    def name(self) -> str:
        """Name of the data set's folder."""
        return self.competition.name

    @property
    def positive(self) -> np.ndarray:
        """Whether the label rows of each image have a pneumothorax, bool (N,)."""
        return np.array([bool(regions) for regions in self.competition.labels.values()], bool)

    def rows(self, fold: int) -> np.ndarray:
        """Returns the row numbers of the images that train a fold."""
        return np.flatnonzero(~(self.duplicate | self.tested | self.validating[fold]))

    def key(self, image_keys: tuple[bytes, ...]) -> str:
        """Returns a hash of everything that affects training: ids, patients, images, label rows, and the folds of each.

        Args:
            image_keys: Hashes of images and label rows, by `kit.data.cache.image_keys`.
        """
        used = {fold: set(self.rows(fold).tolist()) for fold in sorted(self.validating)}
        images = zip(self.competition.train, self.patients, image_keys, strict=True)
        return key_of(
            *(
                key_of(image_id, patient, key, ",".join(str(fold) for fold in used if row in used[fold]))
                for row, (image_id, patient, key) in enumerate(images)
            )
        ).hex()

    def join(self, data: "FoldData", cached: Cache, fold: int, settings: Extra) -> "FoldData":
        """Returns the data of a fold with the extra data appended to its training images."""
        from kit.data.dataset import FoldData

        rows, offset = self.rows(fold), len(data.cache.images)
        rows = rows[~cached.bad[rows]]
        positive = self.positive[rows]
        return FoldData(
            cache=data.cache.joined(cached),
            training=np.concatenate([data.training, offset + rows]),
            validation=data.validation,
            positive=np.concatenate([data.positive, positive]),
            extra=len(rows),
            unknown=offset + rows[positive & (settings.labels == "image")],
        )

    def __str__(self) -> str:
        usable = ~(self.duplicate | self.tested)
        shared = {fold: validating & usable for fold, validating in self.validating.items()}
        by_fold = ", ".join(f"fold {fold} {mask.sum()}" for fold, mask in shared.items())
        in_all = np.any(list(shared.values()), axis=0).sum()
        return (
            f"extra data {self.name}: {len(self.patients)} images, {self.positive.sum()} with pneumothorax; left out "
            f"for sharing a patient with the validation part: {by_fold}, in all {in_all}; left out of every fold: "
            f"{self.duplicate.sum()} that are in {self.main}, {(self.tested & ~self.duplicate).sum()} of patients of "
            "its test images"
        )


def keep_apart(extra: Competition, main: Competition, split: Folds) -> ExtraData:
    """Finds which images of an extra data set may train which fold of the main data set."""
    main_ids = {*main.train, *main.test, *main.unlabelled, *main.sample_ids}
    patient_ids = patients.patient_ids(extra)

    def among(others: set[str]) -> np.ndarray:
        # A fold file may have hashes in place of patient ids.
        return np.array([patient in others or patients.pseudonym(patient) in others for patient in patient_ids], bool)

    return ExtraData(
        competition=extra,
        main=main.name,
        patients=tuple(patient_ids),
        duplicate=np.array([image_id in main_ids for image_id in extra.train], bool),
        tested=among(set(patients.patient_ids(main, main.test))),
        validating={fold: among(set(split.table.patient_id[split.validation(fold)])) for fold in split.numbers},
    )
