"""Patient ids of images, so that folds never share a patient."""

import hashlib
import logging
from collections import Counter
from pathlib import Path

from kit.competition import dicom
from kit.competition.layout import Competition
from kit.core.errors import KitError

log = logging.getLogger(__name__)

_MIN_IMAGES = 20
"""In a smaller data set, most images may well be of one patient."""


def patient_ids(competition: Competition, images: dict[str, Path] | None = None) -> list[str]:
    """Returns the patient id of each image: by patients.csv, else the DICOM PatientID, else the image's own id.

    Args:
        images: Mapping from ids to paths of test images; default: the training images.
    """
    kind, images = ("training", competition.train) if images is None else ("test", images)
    patients = dict(competition.patients or {})
    missing = {image_id: path for image_id, path in images.items() if image_id not in patients}
    if patients and missing:
        log.warning(
            "patients.csv: %d of %d %s images have no row: they are grouped by the PatientID of their DICOM files",
            len(missing),
            len(images),
            kind,
        )
    headers = {}
    for image_id, path in missing.items():
        try:
            headers[image_id] = dicom.read_metadata(path)
        except KitError as error:  # training refuses the image, or leaves it out
            log.warning("%s; it counts as a patient of its own", error)
    warn_burned_in_text([image_id for image_id, header in headers.items() if header.burned_in])
    in_headers = {image_id: header.patient_id for image_id, header in headers.items() if header.patient_id}
    for patient, count in Counter(in_headers.values()).most_common(1):
        if len(images) >= _MIN_IMAGES and count > len(images) / 2:
            log.warning(
                "%d of %d images have one PatientID, as anonymisers write it: it is ignored, and each of these images "
                "counts as a patient of its own; give the patients in patients.csv (ImageId,PatientId)",
                count,
                len(images),
            )
            in_headers = {image_id: other for image_id, other in in_headers.items() if other != patient}
    patients |= in_headers
    return [patients.get(image_id, image_id) for image_id in images]


def warn_burned_in_text(ids: list[str]) -> None:
    """Warns of images whose headers report text in the pixels, which tools that blank headers do not remove."""
    if ids:
        log.warning(
            "%d images say BurnedInAnnotation=YES (first: %s): look at them before you share them or pictures of them",
            len(ids),
            ids[0],
        )


def pseudonym(patient: str) -> str:
    """Returns 16 hexadecimal digits that stand for a patient id.

    The same id always gives the same digits, so whoever has a list of ids can look them up. This hides names and
    numbers only from reading.

    >>> pseudonym("p1")
    'f388bebeadfa43ce'
    """
    return hashlib.sha256(f"kit patient {patient}".encode()).hexdigest()[:16]
