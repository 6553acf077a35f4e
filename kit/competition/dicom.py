"""DICOM files of chest radiographs: pixels as 8-bit grey levels, bright where the body is dense, and who they show.

The competition's headers break the standard (illegal UIDs, ages without a unit); this reader is quiet about that,
and leaves pydicom's settings as they are for everyone else. pydicom converts an element when it is first asked for,
so all that touches one is inside `_refusing`. What it refuses never quotes an element: elements name patients.
"""

import functools
import logging
import math
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000TransferSyntaxes, JPEGBaseline8Bit

from kit.competition import jpeg, levels
from kit.competition.jpeg import Undecodable
from kit.core.errors import KitError, printable
from kit.core.files import opened

log = logging.getLogger(__name__)
_LOCK = threading.RLock()
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1, "": 1}
MOST_PIXELS = 2**26
"""8192 × 8192, more than any radiograph; what claims more would only exhaust the memory."""
TOO_LARGE = "at most 8192×8192 are read: scale it down, or leave it out"
_UNDEFINED = 2**32 - 1
_BARE = re.compile(rb"[\x02\x08]\x00[\x00-\x18]\x00[A-Z\x00-\xff][A-Z\x00-\xff]", re.DOTALL)
"""How a DICOM file without a preamble begins: with an element of its first group."""
_NOT_GREY = "is not one grey image (but colour, a palette, or several frames): convert it to MONOCHROME2 first"
_TOLD: set[str] = set()
"""Doubts that have been logged."""


@dataclass(frozen=True)
class Metadata:
    """Who and what an image shows."""

    sex: str | None
    """`F`, `M` or `O`."""
    age: int | None
    """Years."""
    view_position: str | None
    """`AP` or `PA`."""
    patient_id: str | None
    shape: tuple[int, int]
    """(height, width) in pixels."""
    pixel_area: float | None
    """Square millimetres of a pixel, at the patient or else at the detector."""
    burned_in: bool
    """Whether the header says that text which may name the patient is part of the picture."""
    inverted: bool
    """Whether it is stored with black bones (MONOCHROME1), which reading turns round."""


@dataclass(frozen=True)
class Radiograph(Metadata):
    """An image with its metadata."""

    pixels: np.ndarray
    """uint8 (height, width)."""
    doubt: str = ""
    """What of its header was not believed; empty where all was."""


def read(path: Path | str) -> Radiograph:
    """Reads a file: JPEG baseline, JPEG 2000, RLE or uncompressed, 8 to 16 bits.

    MONOCHROME1 is inverted. Colour is read where its three channels are equal, as converters make it of a grey image.
    Images of more than 8 bits are scaled to 8 by their window, else by their full range. That
    a window was not believed is logged once.

    Raises:
        KitError: the file is missing, empty, truncated, not DICOM, or not one grey image.
    """
    with _as_kit_error(path):
        with ignore_invalid_values():
            dataset = _dataset(path)
            metadata = _metadata(dataset)
            if int(dataset.get("SamplesPerPixel") or 1) == 3:
                return Radiograph(**vars(metadata), pixels=_grey_of_colour(dataset))
            frame, pixels, doubt = _decoded(dataset)
        if pixels is None:  # out of the lock: this is what takes the time, and it runs in parallel
            pixels = jpeg.decode(frame, metadata.shape)
        if pixels.shape != metadata.shape:
            raise Undecodable(f"pixels are {pixels.shape}, not {metadata.shape} as its header says: fetch it again")
    if doubt and doubt not in _TOLD:
        _TOLD.add(doubt)
        log.warning("%s: %s (said once; `kit check` lists all such files)", printable(path), doubt)
    return Radiograph(**vars(metadata), pixels=255 - pixels if metadata.inverted else pixels, doubt=doubt)


def read_metadata(path: Path | str) -> Metadata:
    """The header alone, without decoding pixels."""
    with _as_kit_error(path), ignore_invalid_values():
        return _metadata(_dataset(path, stop_before_pixels=True))


def holds_image(path: Path | str) -> bool | None:
    """Whether a file is a DICOM image by the mark and the class at its beginning; None where it has no such mark.

    A class that pydicom does not know counts as one of images.
    """
    if not Path(path).is_file():
        return None
    try:
        with open(path, "rb") as handle:
            head = handle.read(512)
    except OSError:
        return None
    if head[128:132] != b"DICM":
        return True if _BARE.match(head) else None
    place = head.find(b"\x02\x00\x02\x00UI", 132)  # Media Storage SOP Class UID, stored in explicit little endian
    length = int.from_bytes(head[place + 6 : place + 8], "little")
    return place < 0 or _is_image_class(head[place + 8 : place + 8 + length].decode("ascii", "replace").strip(" \0"))


@functools.cache
def _is_image_class(uid: str) -> bool:
    name = UID(uid).name
    return not name or name == uid or "Image Storage" in name


def report_bad(errors: list[KitError], skip_bad: bool) -> None:
    """Logs files that are left out, or refuses to go on without them.

    Raises:
        KitError: lists every error, unless they are to be skipped.
    """
    if errors and not skip_bad:
        count = "1 file" if len(errors) == 1 else f"{len(errors)} files"
        raise KitError(f"{count} cannot be read: fix them or use --skip-bad: " + "; ".join(map(str, errors)))
    for error in errors:
        log.warning("skipping %s", error)


@contextmanager
def ignore_invalid_values() -> Iterator[None]:
    """Lets pydicom read and write illegal values silently.

    Its setting and Python's filters of warnings are global, so one thread at a time.
    """
    with _LOCK, warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _as_kit_error(path: Path | str) -> Iterator[None]:
    """Turns whatever a broken file makes pydicom and its decoders raise into one line that names the file."""
    try:
        yield
    except (KitError, MemoryError):  # the second says nothing of the file
        raise
    except Undecodable as error:
        raise KitError(f"{printable(path)}: {error}") from None
    except Exception as error:  # every part of pydicom, and every decoder, has errors of its own
        kind = type(error).__name__
        raise KitError(f"{printable(path)}: is truncated or broken ({kind}): fetch it again") from error


def _dataset(path: Path | str, stop_before_pixels: bool = False) -> pydicom.Dataset:
    with opened(path) as handle:
        head = handle.read(132)
        if head[128:] != b"DICM" and not _BARE.match(head):
            raise Undecodable("is not a DICOM file: fetch it again")
        handle.seek(0)
        dataset = pydicom.dcmread(handle, stop_before_pixels=stop_before_pixels, force=True)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise Undecodable("holds no image, or is truncated before it: leave it out, or fetch it again")
    pixels: Any = None if stop_before_pixels else dataset.get_item("PixelData")
    if not dataset.file_meta.get("TransferSyntaxUID") and getattr(pixels, "length", _UNDEFINED) != _UNDEFINED:
        # Not compressed: the elements themselves have shown pydicom how they are written.
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def _metadata(dataset: pydicom.Dataset) -> Metadata:
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if not (rows > 0 and columns > 0):
        raise Undecodable(f"says that it is {rows}×{columns} pixels: fetch it again")
    if rows * columns > MOST_PIXELS:
        raise Undecodable(f"is {columns}×{rows} pixels: {TOO_LARGE}")
    return Metadata(
        sex=_text(dataset, "PatientSex"),
        age=age_in_years(_text(dataset, "PatientAge")),
        view_position=_text(dataset, "ViewPosition"),
        patient_id=_text(dataset, "PatientID"),
        shape=(rows, columns),
        pixel_area=_pixel_area(dataset),
        burned_in=_text(dataset, "BurnedInAnnotation") == "YES",
        inverted=_text(dataset, "PhotometricInterpretation") == "MONOCHROME1",
    )


def _pixel_area(dataset: pydicom.Dataset) -> float | None:
    """Square millimetres of a pixel; None where the header does not tell, or not as two lengths."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            down, across = (float(length) for length in dataset.get(name) or ())
        except (TypeError, ValueError):
            continue
        if 0 < down < math.inf and 0 < across < math.inf:
            return down * across
    return None


def _grey_of_colour(dataset: pydicom.Dataset) -> np.ndarray:
    """The grey levels of an image of 8-bit colours that are all grey."""
    pixels = pixel_array(dataset)  # (H, W, 3) as RGB
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or (pixels != pixels[..., :1]).any():
        raise Undecodable(_NOT_GREY)
    return pixels[..., 0]


def _text(dataset: pydicom.Dataset, name: str) -> str | None:
    return str(dataset.get(name) or "").strip() or None


def age_in_years(text: str | None) -> int | None:
    """An age as DICOM or the competition writes it; None where it is unknown.

    >>> age_in_years("10"), age_in_years("045Y"), age_in_years("018M"), age_in_years("old")
    (10, 45, 1, None)
    """
    match = re.fullmatch(r"(\d{1,6})([DWMY]?)", text or "")
    return int(int(match[1]) * _YEARS[match[2]]) if match else None


def _decoded(dataset: pydicom.Dataset) -> tuple[bytes, np.ndarray | None, str]:
    """The stream of a compressed image, its grey levels as 8 bits, and what of the header was not believed.

    The levels of a baseline JPEG are left to `jpeg`.
    """
    samples, frames = int(dataset.get("SamplesPerPixel") or 1), int(dataset.get("NumberOfFrames") or 1)
    colours = dataset.get("PhotometricInterpretation")
    if samples != 1 or frames != 1 or colours not in ("MONOCHROME1", "MONOCHROME2") or dataset.BitsAllocated == 1:
        raise Undecodable(_NOT_GREY)
    if "PixelData" not in dataset:
        raise Undecodable("has no pixels: fetch it again")
    syntax = UID(str(dataset.file_meta.get("TransferSyntaxUID") or ""))
    try:
        frame = next(generate_frames(dataset.PixelData, number_of_frames=1)) if syntax.is_compressed else b""
        if syntax == JPEGBaseline8Bit:
            return frame, None, ""
        depth = jpeg.depth_of_2000(frame) if syntax in JPEG2000TransferSyntaxes else None
        return frame, *levels.scaled(dataset, depth)
    except MemoryError:
        raise
    except Exception as error:  # cut, damaged, or of a kind that no decoder here knows
        how = f"{printable(syntax.name) or 'no transfer syntax'}, {type(error).__name__}"
        raise Undecodable(
            f"pixels cannot be decoded ({how}): fetch the file again, or convert it to JPEG 2000"
        ) from error
