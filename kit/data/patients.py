"""Whose image each is: folds never share a patient."""

import hashlib
import logging
from collections import Counter
from pathlib import Path

from kit.competition import dicom
from kit.competition.layout import Competition
from kit.core.errors import KitError

log = logging.getLogger(__name__)

_MANY = 20
"""Of fewer images, most may be of one patient."""


def patient_ids(competition: Competition, images: dict[str, Path] | None = None) -> list[str]:
    """The patient of each image: by patients.csv, else by the DICOM PatientID, else one of its own.

    Args:
        images: Files of some of its images by id; None: the training images.
    """
    kind, images = ("training", competition.train) if images is None else ("test", images)
    known = dict(competition.patients or {})
    unknown = {image_id: path for image_id, path in images.items() if image_id not in known}
    if known and unknown:
        log.warning(
            "patients.csv: %d of %d %s images have no row there: PatientID of their DICOM files groups them",
            len(unknown),
            len(images),
            kind,
        )
    headers = {}
    for image_id, path in unknown.items():
        try:
            headers[image_id] = dicom.read_metadata(path)
        except KitError as error:  # the training refuses it, or leaves it out
            log.warning("%s; it counts as a patient of its own", error)
    warn_burned_in_text([image_id for image_id, header in headers.items() if header.burned_in])
    in_headers = {image_id: header.patient_id for image_id, header in headers.items() if header.patient_id}
    for patient, times in Counter(in_headers.values()).most_common(1):
        if len(images) >= _MANY and times > len(images) / 2:
            log.warning(
                "%d of %d images have one PatientID, as anonymisers write it: it tells no patient, and each of these "
                "images counts as a patient of its own; patients.csv (ImageId,PatientId) says who is who",
                times,
                len(images),
            )
            in_headers = {image_id: own for image_id, own in in_headers.items() if own != patient}
    known |= in_headers
    return [known.get(image_id, image_id) for image_id in images]


def warn_burned_in_text(ids: list[str]) -> None:
    """Warns of images whose headers say that text is part of the picture: no tool that blanks headers removes it."""
    if ids:
        log.warning(
            "%d images say BurnedInAnnotation=YES (first: %s): look at them before you share them or pictures of them",
            len(ids),
            ids[0],
        )


def pseudonym(patient: str) -> str:
    """16 hexadecimal digits in the place of a patient's id.

    The same id always gives the same digits: who has a list of ids can find them out. It keeps names and numbers from
    being read, not from being looked up.

    >>> pseudonym("p1")
    'f388bebeadfa43ce'
    """
    return hashlib.sha256(f"kit patient {patient}".encode()).hexdigest()[:16]
