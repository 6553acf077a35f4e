"""Grey levels of 8 bits from whatever depth a DICOM file stores.

Headers of deep films often say what is not so of their pixels: depths, windows and tables are held against the pixels
themselves. The order of steps and the formulas are those of DICOM PS3.3 C.11.1 and C.11.2.
"""

import math
from collections.abc import Iterator

import numpy as np
import pydicom
from pydicom.pixels import pixel_array

READER = "5"
"""Version of reading, part of the key of whatever is stored of an image or a mask picture: cached rows, maps, imports.
Raise it whenever `dicom`, `jpeg`, `levels` or `pictures` gives other pixels for a file than before, or any at all."""

_MOST_CLIPPED = 0.95
"""Share of the pixels between the darkest and the brightest that a window may make black or white."""


def scaled(dataset: pydicom.Dataset, depth: int | None = None) -> tuple[np.ndarray, str]:
    """Grey levels as 8 bits: as they are, or deeper ones by the file's table or window, else by their full range.

    Args:
        depth: Bits a pixel by the compressed stream itself, where it says so.

    Returns:
        uint8 (H, W), not yet inverted where the image is MONOCHROME1, and what of the header was not believed, a
        sentence that is empty where all was. Padding becomes what is black after the inversion.
    """
    stored = _stored(dataset, depth)
    padding = _padding(stored, dataset)
    doubt = ""
    if int(dataset.BitsStored) <= 8 and not int(dataset.PixelRepresentation) and stored.max() <= 255:
        levels = stored.astype(np.uint8)
    else:
        values = _rescaled(stored, dataset)
        shown, doubt = _shown(values, values[~padding], dataset)
        levels = np.rint(shown * 255).astype(np.uint8)
    levels[padding] = 255 if dataset.PhotometricInterpretation == "MONOCHROME1" else 0
    return levels, doubt


def _stored(dataset: pydicom.Dataset, depth: int | None) -> np.ndarray:
    """The stored values (H, W) without what else lies in the bits above BitsStored, such as an overlay.

    A stream that says a depth between BitsStored and BitsAllocated is right, since nobody codes it by chance. Otherwise
    the picture is smoother without these bits where something else is in them, and with them where they are its own.
    """
    stored = pixel_array(dataset, correct_unused_bits=False)
    bits, allocated = int(dataset.BitsStored), int(dataset.BitsAllocated)
    unused = 8 * stored.itemsize - bits
    if unused <= 0 or (depth is not None and bits < depth < allocated):
        return stored
    cut = np.right_shift(np.left_shift(stored, unused), unused)
    return cut if (cut == stored).all() or _roughness(cut) <= _roughness(stored) else stored


def _roughness(values: np.ndarray) -> float:
    """The sum of the steps from each pixel to the next and to the one below."""
    steps = (np.diff(values.astype(np.float64), axis=axis) for axis in (0, 1))
    return sum(float(np.abs(step).sum()) for step in steps)


def _padding(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Which pixels only fill the rectangle up, bool (H, W)."""
    ends = _numbers(dataset, "PixelPaddingValue")[:1]
    if not ends:
        return np.zeros(stored.shape, bool)
    ends += _numbers(dataset, "PixelPaddingRangeLimit")[:1]
    if int(dataset.PixelRepresentation):  # the value may be written without its sign
        half = 2 ** (int(dataset.BitsAllocated) - 1)
        ends = [(end + half) % (2 * half) - half for end in ends]
    return (stored >= min(ends)) & (stored <= max(ends))


def _rescaled(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Values after the modality's table or slope, float64 (H, W); as they are where there is none or it is flat."""
    values = stored.astype(np.float64)
    for item in dataset.get("ModalityLUTSequence") or ():
        if (found := _looked_up(values, item)) is not None:
            return found
    slope, intercept = (_numbers(dataset, name) for name in ("RescaleSlope", "RescaleIntercept"))
    return values * ((slope and slope[0]) or 1) + (intercept[0] if intercept else 0)


def _shown(values: np.ndarray, counted: np.ndarray, dataset: pydicom.Dataset) -> tuple[np.ndarray, str]:
    """Brightness in [0, 1] by the first table or window that fits the pixels, else by their full range.

    Args:
        values: float64 (H, W).
        counted: Those that are no padding.
    """
    low, high = (counted.min(), counted.max()) if counted.size else (0.0, 0.0)
    between = (values > low) & (values < high)
    doubt = ""
    for shown in _presentations(values, dataset):
        clipped = (shown <= 1 / 510) | (shown >= 1 - 1 / 510)
        if low == high or not between.any() or clipped[between].mean() <= _MOST_CLIPPED:
            return shown, ""
        doubt = "its window lies beside its pixels: shown by their full range"
    return np.clip((values - low) / max(high - low, 1e-9), 0, 1), doubt


def _presentations(values: np.ndarray, dataset: pydicom.Dataset) -> Iterator[np.ndarray]:
    """Brightness in [0, 1] by each valid table, then by each valid window, in the file's order."""
    for item in dataset.get("VOILUTSequence") or ():
        found = _looked_up(values, item)
        # What bits a table says it has is often not what its entries need: the largest one is white.
        if found is not None and (brightest := _entries(item).max()) > 0:
            yield found / brightest
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


def _looked_up(values: np.ndarray, item: pydicom.Dataset) -> np.ndarray | None:
    """What a table makes of values, float64 (H, W); None where it holds nothing."""
    entries, first = _entries(item), _numbers(item, "LUTDescriptor")[1:2]
    if not (entries.size and first):
        return None
    return entries[np.clip(values - first[0], 0, len(entries) - 1).astype(np.int64)].astype(np.float64)


def _entries(item: pydicom.Dataset) -> np.ndarray:
    data, said = item.get("LUTData"), _numbers(item, "LUTDescriptor")[:1]
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray([] if data is None else data, np.int64))
    one_byte = said == [len(data)]
    return np.frombuffer(data[: len(data) // 2 * 2] if not one_byte else data, np.uint8 if one_byte else "<u2")


def _numbers(dataset: pydicom.Dataset, name: str) -> list[float]:
    """The values of an element, which may be missing, empty, one or several."""
    value = dataset.get(name)
    several = isinstance(value, pydicom.multival.MultiValue | list | tuple)
    return [float(one) for one in (value if several else [value]) if one not in (None, "")]
