"""8-bit grey levels from DICOM pixels of any depth.

Headers of deep images often contradict their pixels, so depth, windows and lookup tables are checked against the
pixels. The order of steps and the formulas are those of DICOM PS3.3 C.11.1 and C.11.2.
"""

import math
from collections.abc import Iterator

import numpy as np
import pydicom
from pydicom.pixels import pixel_array

READER = "5"
"""Version of the image reader, part of the key of whatever is stored of images and masks: cached rows, maps, imports.
Raise it when `dicom`, `levels` or `pictures` reads other pixels from a file than before, or a file that it refused."""

_MOST_CLIPPED = 0.95
"""Largest share of the pixels between the darkest and the brightest that a window may turn black or white."""


def scaled(dataset: pydicom.Dataset, depth: int | None = None) -> tuple[np.ndarray, str]:
    """Returns grey levels of 8 bits; deeper levels are scaled by the file's table or window, else by their full range.

    Args:
        depth: Bits per pixel declared by the compressed stream itself; None if it declares none.

    Returns:
        uint8 (H, W), MONOCHROME1 not yet inverted, and which header value was ignored as implausible, one sentence or
        empty. Padding gets the level that is black after the inversion.
    """
    stored = _stored(dataset, depth)
    padding = _padding(stored, dataset)
    doubt = ""
    if int(dataset.BitsStored) <= 8 and not int(dataset.PixelRepresentation) and stored.max() <= 255:
        levels = stored.astype(np.uint8)
    else:
        values = _rescaled(stored, dataset)
        shown, doubt = _brightness(values, values[~padding], dataset)
        levels = np.rint(shown * 255).astype(np.uint8)
    levels[padding] = 255 if dataset.PhotometricInterpretation == "MONOCHROME1" else 0
    return levels, doubt


def _stored(dataset: pydicom.Dataset, depth: int | None) -> np.ndarray:
    """Returns the stored values (H, W) without foreign data in the bits above BitsStored, such as an overlay.

    A stream that declares a depth between BitsStored and BitsAllocated is believed, since no encoder does so by chance.
    Otherwise the smoother picture wins: foreign data make a picture rougher, and so does removing its own bits.
    """
    stored = pixel_array(dataset, correct_unused_bits=False)
    bits, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    unused = 8 * stored.itemsize - bits
    if unused <= 0 or (depth is not None and bits < depth < allocated):
        return stored
    cut = np.right_shift(np.left_shift(stored, unused), unused)
    return cut if (cut == stored).all() or _roughness(cut) <= _roughness(stored) else stored


def _roughness(values: np.ndarray) -> float:
    """Returns the sum of absolute differences between neighbouring pixels."""
    steps = (np.diff(values.astype(np.float64), axis=axis) for axis in (0, 1))
    return sum(float(np.abs(step).sum()) for step in steps)


def _padding(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Returns which pixels only pad the image to a rectangle, bool (H, W)."""
    ends = _numbers(dataset, "PixelPaddingValue")[:1]
    if not ends:
        return np.zeros(stored.shape, bool)
    ends += _numbers(dataset, "PixelPaddingRangeLimit")[:1]
    if int(dataset.PixelRepresentation):  # signed pixels, but the value may be written unsigned
        half = 2 ** (int(dataset.BitsAllocated) - 1)
        ends = [(end + half) % (2 * half) - half for end in ends]
    return (stored >= min(ends)) & (stored <= max(ends))


def _rescaled(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Applies the modality's lookup table or slope and intercept, float64 (H, W); a slope of 0 counts as 1."""
    values = stored.astype(np.float64)
    for item in dataset.get("ModalityLUTSequence") or ():
        if (looked_up := _look_up(values, item)) is not None:
            return looked_up
    slope, intercept = (_numbers(dataset, name) for name in ("RescaleSlope", "RescaleIntercept"))
    return values * ((slope and slope[0]) or 1) + (intercept[0] if intercept else 0)


def _brightness(values: np.ndarray, image_values: np.ndarray, dataset: pydicom.Dataset) -> tuple[np.ndarray, str]:
    """Returns brightness in [0, 1] by the first table or window that fits the pixels, else by their full range.

    Args:
        values: float64 (H, W).
        image_values: The values outside the padding, (P,).
    """
    low, high = (image_values.min(), image_values.max()) if image_values.size else (0.0, 0.0)
    between = (values > low) & (values < high)
    doubt = ""
    for shown in _presentations(values, dataset):
        clipped = (shown <= 1 / 510) | (shown >= 1 - 1 / 510)
        if low == high or not between.any() or clipped[between].mean() <= _MOST_CLIPPED:
            return shown, ""
        doubt = "its window does not cover its pixels: shown by their full range"
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1), doubt


def _presentations(values: np.ndarray, dataset: pydicom.Dataset) -> Iterator[np.ndarray]:
    """Yields brightness in [0, 1] by each valid lookup table, then by each valid window, in the file's order."""
    for item in dataset.get("VOILUTSequence") or ():
        looked_up = _look_up(values, item)
        # The depth that a table declares is often not that of its entries, so the largest entry is white.
        if looked_up is not None and (brightest := _entries(item).max()) > 0:
            yield looked_up / brightest
    function = str(dataset.get("VOILUTFunction") or "LINEAR")
    for centre, width in zip(_numbers(dataset, "WindowCenter"), _numbers(dataset, "WindowWidth"), strict=False):
        if not (math.isfinite(centre) and 0 < width < math.inf):
            continue
        if function == "SIGMOID":
            yield 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -99, 99)))
        elif function == "LINEAR" and width > 1:
            yield np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)
        elif function in ("LINEAR", "LINEAR_EXACT"):
            yield np.clip((values - centre) / width + 0.5, 0, 1)


def _look_up(values: np.ndarray, item: pydicom.Dataset) -> np.ndarray | None:
    """Applies a lookup table to values, float64 (H, W); None if the table is empty."""
    entries, first = _entries(item), _numbers(item, "LUTDescriptor")[1:2]
    if not (entries.size and first):
        return None
    return entries[np.clip(values - first[0], 0, len(entries) - 1).astype(np.int64)].astype(np.float64)


def _entries(item: pydicom.Dataset) -> np.ndarray:
    data, declared = item.get("LUTData"), _numbers(item, "LUTDescriptor")[:1]
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray([] if data is None else data, np.int64))
    one_byte = declared == [len(data)]
    return np.frombuffer(data[: len(data) // 2 * 2] if not one_byte else data, np.uint8 if one_byte else "<u2")


def _numbers(dataset: pydicom.Dataset, name: str) -> list[float]:
    """Returns the values of an element that may be missing, empty, single or multiple."""
    value = dataset.get(name)
    multiple = isinstance(value, pydicom.multival.MultiValue | list | tuple)
    return [float(number) for number in (value if multiple else [value]) if number not in (None, "")]
