"""Whose image each is: folds never share a patient."""

import hashlib
import logging
from collections import Counter

from kit.competition import dicom
from kit.competition.layout import Competition
from kit.core.errors import KitError

log = logging.getLogger(__name__)

_MANY = 20
"""Of fewer images, most may be of one patient."""


def of(competition: Competition) -> list[str]:
    """The patient of each training image: by patients.csv, else by the DICOM PatientID, else one of its own."""
    known = dict(competition.patients or {})
    unknown = {image_id: path for image_id, path in competition.train.items() if image_id not in known}
    if known and unknown:
        log.warning(
            "patients.csv: %d of %d training images have no row there: PatientID of their DICOM files groups them",
            len(unknown),
            len(competition.train),
        )
    headers = {}
    for image_id, path in unknown.items():
        try:
            headers[image_id] = dicom.read_metadata(path)
        except KitError as error:  # the training refuses it, or leaves it out
            log.warning("%s; it counts as a patient of its own", error)
    tell_burned_in([image_id for image_id, header in headers.items() if header.burned_in])
    in_headers = {image_id: header.patient_id for image_id, header in headers.items() if header.patient_id}
    for patient, times in Counter(in_headers.values()).most_common(1):
        if len(competition.train) >= _MANY and times > len(competition.train) / 2:
            log.warning(
                "%d of %d images have one PatientID, as anonymisers write it: it tells no patient, and each of these "
                "images counts as a patient of its own; patients.csv (ImageId,PatientId) says who is who",
                times,
                len(competition.train),
            )
            in_headers = {image_id: own for image_id, own in in_headers.items() if own != patient}
    known |= in_headers
    return [known.get(image_id, image_id) for image_id in competition.train]


def tell_burned_in(ids: list[str]) -> None:
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
