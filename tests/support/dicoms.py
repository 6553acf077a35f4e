"""DICOM files of every kind that the reader supports, written by pydicom and its encoders."""

import cv2
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
    SecondaryCaptureImageStorage,
)

COMPRESSED = (JPEG2000Lossless, RLELossless)


def write_dicom(path, pixels, syntax=ExplicitVRLittleEndian, bits=None, **elements):
    """Writes (H, W) pixels; further header elements by keyword."""
    bits = bits or pixels.itemsize * 8
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax in COMPRESSED else syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else pixels.shape[2]
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    if pixels.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = pixels.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PatientID, dataset.PatientSex, dataset.PatientAge, dataset.ViewPosition = "p1", "F", "045Y", "PA"
    if syntax == JPEGBaseline8Bit:
        dataset.PixelData = encapsulate([cv2.imencode(".jpg", pixels)[1].tobytes()])
        dataset["PixelData"].VR = "OB"
    else:
        dataset.PixelData = pixels.tobytes()
        dataset["PixelData"].VR = "OW" if pixels.itemsize > 1 else "OB"
        if syntax in COMPRESSED:
            dataset.compress(syntax)
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path
