"""Writes masks as DICOM segmentation objects, which hospital viewers overlay on the image. Needs the extra `seg`."""

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pydicom
from pydicom.uid import generate_uid

from kit.competition import dicom
from kit.competition.finding import Finding
from kit.core.errors import KitError, printable
from kit.core.files import opened, replacing
from kit.core.version import VERSION

_PATIENT_ELEMENTS = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
_STUDY_ELEMENTS = ("StudyID", "StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName")
"""Elements that must be present but may be empty (type 2); anonymisers drop them."""


def library() -> ModuleType:
    """Imports highdicom, the optional package that writes segmentation objects."""
    try:
        return importlib.import_module("highdicom")
    except ImportError:
        raise KitError(
            "--save dicom-seg: highdicom is not installed: pip install highdicom into the kit's environment"
        ) from None


def write(path: Path | str, image: Path | str, mask: np.ndarray, recipe: str, finding: Finding) -> None:
    """Writes a mask, which may be empty, as a binary segmentation with one segment that refers to its image.

    Args:
        image: The DICOM file that was segmented, whose patient and study are copied.
        mask: bool (H, W) of the image's size.
        recipe: Recipe that predicted the mask, for the algorithm's identification.
        finding: Finding that the mask shows; without a code it becomes a morphologically abnormal structure.

    Raises:
        KitError: highdicom is not installed, or the image is no DICOM file that a segmentation can refer to.
    """
    from pydicom.sr.codedict import codes  # takes a third of a second, which every predicting verb would pay
    from pydicom.sr.coding import Code

    highdicom = library()
    if not dicom.holds_image(image):
        raise KitError(f"{printable(image)}: is no DICOM file, which a segmentation object could refer to: use png")
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=f"kit {recipe}", version=VERSION, family=codes.cid7162.ArtificialIntelligence
    )
    abnormal = codes.SCT.MorphologicallyAbnormalStructure
    segment = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label=finding.title,
        segmented_property_category=abnormal,
        segmented_property_type=Code(str(finding.code), "SCT", finding.title) if finding.code else abnormal,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=algorithm,
    )
    with opened(image) as handle, dicom.ignore_invalid_values():
        source = pydicom.dcmread(handle)
        for name in (*_PATIENT_ELEMENTS, *_STUDY_ELEMENTS):
            if name not in source:
                setattr(source, name, "")
        try:
            segmentation = highdicom.seg.Segmentation(
                source_images=[source],
                pixel_array=mask.astype(np.uint8)[None],
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=[segment],
                series_instance_uid=generate_uid(),
                series_number=1000,
                sop_instance_uid=generate_uid(),
                instance_number=1,
                manufacturer="kit",
                manufacturer_model_name="kit",
                software_versions=VERSION,
                device_serial_number="0",
                omit_empty_frames=False,
            )
        except (AttributeError, ValueError, TypeError, KeyError) as error:
            reason = printable(getattr(error, "name", None) or type(error).__name__)
            raise KitError(
                f"{printable(image)}: lacks what a segmentation object must refer to ({reason}): use png"
            ) from error
        with replacing(path) as temporary:
            segmentation.save_as(temporary, enforce_file_format=True)
