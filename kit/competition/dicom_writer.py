"""Writes grey images as DICOM files like the competition's, lossless."""

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, SecondaryCaptureImageStorage, generate_uid

from kit.competition import dicom
from kit.competition.dicom import Radiograph

_SMALLEST_SIDE = 32
"""Pixels per side that the encoder's six resolutions need."""


def write(path: Path | str, image_id: str, image: Radiograph, *, compress: bool = True) -> None:
    """Writes an image as lossless JPEG 2000; the same image gives the same bytes.

    An image with a side too small for the encoder is written uncompressed.

    Args:
        image_id: Id from which the UIDs are derived.
        image: Pixels and metadata; unknown metadata are written empty.
        compress: If false, the image is written uncompressed, which needs no library besides pydicom.
    """
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = SecondaryCaptureImageStorage
    data.SOPInstanceUID, data.SeriesInstanceUID, data.StudyInstanceUID = (
        generate_uid(entropy_srcs=[kind, image_id]) for kind in ("image", "series", "study")
    )
    data.StudyDate = data.StudyTime = data.AccessionNumber = data.ReferringPhysicianName = data.StudyID = ""
    data.Modality, data.ConversionType = "CR", "WSD"
    patient = (image.patient_id or "").replace("\\", "/")  # a backslash would separate two values
    if not patient.isascii():
        data.SpecificCharacterSet = "ISO_IR 192"  # UTF-8; by default, other letters would become question marks
    data.PatientName = data.PatientID = patient
    data.PatientBirthDate, data.PatientSex, data.ViewPosition = "", image.sex or "", image.view_position or ""
    data.SeriesNumber, data.InstanceNumber, data.PatientOrientation = "1", "1", ""
    data.BurnedInAnnotation = "YES" if image.burned_in else "NO"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = image.pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    pixels = np.ascontiguousarray(image.pixels)
    data.PixelData = pixels.tobytes() + bytes(pixels.size % 2)
    data["PixelData"].VR = "OB"
    with dicom.ignore_invalid_values():
        if image.age is not None:
            data.PatientAge = f"{image.age:03d}Y"
        if compress and min(pixels.shape) >= _SMALLEST_SIDE:
            data.compress(JPEG2000Lossless, generate_instance_uid=False)
        pydicom.dcmwrite(path, data, enforce_file_format=True)
