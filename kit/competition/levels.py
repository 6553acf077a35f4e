"""Grey levels of 8 bits, from whatever depth a DICOM file stores."""

import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut, apply_voi_lut

READER = "1"
"""Version of reading, part of the key of whatever is stored of an image or a mask picture: cached rows, maps, imports.
Raise it whenever `dicom`, `jpeg`, `levels` or `pictures` gives other pixels for a file than before."""


def scaled(dataset: pydicom.Dataset) -> np.ndarray:
    """Grey levels as 8 bits: as they are, or deeper ones by the file's window, else by their full range."""
    if int(dataset.BitsStored) <= 8 and not int(dataset.PixelRepresentation):
        return dataset.pixel_array.astype(np.uint8)
    stored = apply_modality_lut(dataset.pixel_array, dataset)
    if dataset.get("VOILUTSequence") or None not in (dataset.get("WindowCenter"), dataset.get("WindowWidth")):
        values = apply_voi_lut(stored, dataset).astype(np.float64)
        low, high = _window_range(dataset)
    else:
        values = stored.astype(np.float64)
        low, high = values.min(), values.max()
    if high == low:
        return np.zeros(values.shape, np.uint8)
    return np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def _window_range(dataset: pydicom.Dataset) -> tuple[float, float]:
    """What a window maps its ends to: the full range of a table's or of the stored values, after rescaling."""
    for table in ("VOILUTSequence", "ModalityLUTSequence"):
        if dataset.get(table):
            return 0.0, float(2 ** int(dataset[table][0].LUTDescriptor[2]) - 1)
    bits, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return low * slope + intercept, high * slope + intercept
