"""DICOM files of chest radiographs: 8-bit grey levels, dense tissue bright, and metadata of the patient.

The competition's headers violate the standard (illegal UIDs, ages without a unit). The reader accepts them silently
and leaves pydicom's settings unchanged for other code. pydicom converts an element on first access, so every access
is inside `_as_kit_error`. Error messages never quote an element, because elements can name the patient.
"""

import functools
import io
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
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.pixels import pixel_array
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000TransferSyntaxes, JPEGBaseline8Bit

from kit.competition import levels
from kit.core.errors import KitError, counted, printable
from kit.core.files import opened

log = logging.getLogger(__name__)
_LOCK = threading.RLock()
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1, "": 1}
MOST_PIXELS = 2**26
"""8192 × 8192, more than any radiograph; a larger header would only exhaust the memory."""
TOO_LARGE = "at most 8192×8192 are read: scale it down, or leave it out"
_UNDEFINED = 2**32 - 1
_NO_PREAMBLE = re.compile(rb"[\x02\x08]\x00[\x00-\x18]\x00[A-Z\x00-\xff][A-Z\x00-\xff]", re.DOTALL)
"""First bytes of a DICOM file without a preamble: an element of the first group."""
_NOT_GREY = "is not one grey image (but colour, a palette, or several frames): convert it to MONOCHROME2 first"
_JPEG_END = b"\xff\xd9"
_JPEG_SCAN = b"\xff\xda"
_JPEG_PADDINGS = bytes(range(1, 251)) * 2, b"\xfe" * 500, b"\x5a" * 500
_MISSING_BLOCK = 128
"""Grey level of blocks that a JPEG decoder could not read."""
_LOGGED_DOUBTS: set[str] = set()


class Undecodable(ValueError):
    """A file that cannot be used: what is wrong and what to do next, without the file's name."""


@dataclass(frozen=True)
class Metadata:
    """Patient and acquisition data of an image."""

    sex: str | None
    """`F`, `M` or `O`."""
    age: int | None
    """In years."""
    view_position: str | None
    """`AP` or `PA`."""
    patient_id: str | None
    shape: tuple[int, int]
    """(height, width) in pixels."""
    pixel_area: float | None
    """Area of a pixel in mm², at the patient or else at the detector."""
    burned_in: bool
    """Whether the header declares text in the picture, which may name the patient."""
    inverted: bool
    """Whether the file stores bones black (MONOCHROME1); `read` inverts such levels."""


@dataclass(frozen=True)
class Radiograph(Metadata):
    """An image with its metadata."""

    pixels: np.ndarray
    """uint8 (height, width)."""
    doubt: str = ""
    """The header value that was ignored as implausible, and why; empty if none was."""


def read(path: Path | str) -> Radiograph:
    """Reads a DICOM file: JPEG baseline, JPEG 2000, RLE or uncompressed, 8 to 16 bits.

    MONOCHROME1 is inverted. Colour is read if its three channels are equal, as converters write grey images. More than
    8 bits are scaled to 8 by the file's window, else by the full range; the first ignored window is logged.

    Raises:
        KitError: the file is missing, empty, truncated, not DICOM, or not one grey image.
    """
    with _as_kit_error(path):
        with ignore_invalid_values():
            dataset = _dataset(path)
            metadata = _metadata(dataset)
            if int(dataset.get("SamplesPerPixel") or 1) == 3:
                return Radiograph(**vars(metadata), pixels=_decode_equal_channels(dataset))
            frame, pixels, doubt = _decode(dataset)
        if pixels is None:  # decoding JPEG takes most of the time; outside the lock it runs in parallel
            pixels = decode_jpeg(frame, metadata.shape)
        if pixels.shape != metadata.shape:
            raise Undecodable(f"pixels are {pixels.shape}, not {metadata.shape} as its header says: fetch it again")
    if doubt and doubt not in _LOGGED_DOUBTS:
        _LOGGED_DOUBTS.add(doubt)
        log.warning("%s: %s (logged once; `kit check` lists all such files)", printable(path), doubt)
    return Radiograph(**vars(metadata), pixels=255 - pixels if metadata.inverted else pixels, doubt=doubt)


def read_metadata(path: Path | str) -> Metadata:
    """Reads the header alone, without decoding pixels."""
    with _as_kit_error(path), ignore_invalid_values():
        return _metadata(_dataset(path, stop_before_pixels=True))


def holds_image(path: Path | str) -> bool | None:
    """Whether a file is a DICOM image, by its first bytes and storage class; None if it is no DICOM file by these.

    A storage class that pydicom does not know counts as an image class.
    """
    if not Path(path).is_file():
        return None
    try:
        with open(path, "rb") as handle:
            head = handle.read(512)
    except OSError:
        return None
    if head[128:132] != b"DICM":
        return True if _NO_PREAMBLE.match(head) else None
    start = head.find(b"\x02\x00\x02\x00UI", 132)  # Media Storage SOP Class UID, stored in explicit little endian
    length = int.from_bytes(head[start + 6 : start + 8], "little")
    return start < 0 or _is_image_class(head[start + 8 : start + 8 + length].decode("ascii", "replace").strip(" \0"))


@functools.cache
def _is_image_class(uid: str) -> bool:
    name = UID(uid).name
    return not name or name == uid or "Image Storage" in name


def report_bad(errors: list[KitError], *, skip_bad: bool) -> None:
    """Logs files that are skipped, or refuses to go on without them.

    Raises:
        KitError: lists every error, unless `skip_bad` is set.
    """
    if errors and not skip_bad:
        count = counted(len(errors), "file")
        raise KitError(f"{count} cannot be read: fix them or use --skip-bad: " + "; ".join(map(str, errors)))
    for error in errors:
        log.warning("skipping %s", error)


@contextmanager
def ignore_invalid_values() -> Iterator[None]:
    """Lets pydicom read and write illegal values silently.

    pydicom's setting and Python's warning filters are global, so only one thread at a time runs the block.
    """
    with _LOCK, warnings.catch_warnings(), pydicom.config.disable_value_validation():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _as_kit_error(path: Path | str) -> Iterator[None]:
    """Turns any exception of pydicom and its decoders into one line that names the file."""
    try:
        yield
    except (KitError, MemoryError):  # running out of memory is no fault of the file
        raise
    except Undecodable as error:
        raise KitError(f"{printable(path)}: {error}") from None
    except Exception as error:  # each part of pydicom, and each decoder, raises its own types
        kind = type(error).__name__
        raise KitError(f"{printable(path)}: is truncated or broken ({kind}): fetch it again") from error


def _dataset(path: Path | str, *, stop_before_pixels: bool = False) -> pydicom.Dataset:
    with opened(path) as handle:
        head = handle.read(132)
        if head[128:] != b"DICM" and not _NO_PREAMBLE.match(head):
            raise Undecodable("is not a DICOM file: fetch it again")
        handle.seek(0)
        dataset = pydicom.dcmread(handle, stop_before_pixels=stop_before_pixels, force=True)
    if "Rows" not in dataset or "Columns" not in dataset:
        raise Undecodable("holds no image, or is truncated before it: leave it out, or fetch it again")
    pixels: Any = None if stop_before_pixels else dataset.get_item("PixelData")
    if not dataset.file_meta.get("TransferSyntaxUID") and getattr(pixels, "length", _UNDEFINED) != _UNDEFINED:
        # Not compressed: pydicom has found the encoding from the elements themselves.
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
    """Returns the area of a pixel in mm²; None if the header holds no two positive lengths."""
    for name in ("PixelSpacing", "ImagerPixelSpacing"):
        try:
            down, across = (float(length) for length in dataset.get(name) or ())
        except (TypeError, ValueError):
            continue
        if 0 < down < math.inf and 0 < across < math.inf:
            return down * across
    return None


def _text(dataset: pydicom.Dataset, name: str) -> str | None:
    return str(dataset.get(name) or "").strip() or None


def age_in_years(text: str | None) -> int | None:
    """Parses an age as DICOM or the competition writes it; None if it is unknown.

    >>> age_in_years("10"), age_in_years("045Y"), age_in_years("018M"), age_in_years("old")
    (10, 45, 1, None)
    """
    match = re.fullmatch(r"(\d{1,6})([DWMY]?)", text or "")
    return int(int(match[1]) * _YEARS[match[2]]) if match else None


def _decode_equal_channels(dataset: pydicom.Dataset) -> np.ndarray:
    pixels = pixel_array(dataset)  # (H, W, 3) as RGB
    if pixels.ndim != 3 or pixels.dtype != np.uint8 or (pixels != pixels[..., :1]).any():
        raise Undecodable(_NOT_GREY)
    return pixels[..., 0]


def _decode(dataset: pydicom.Dataset) -> tuple[bytes, np.ndarray | None, str]:
    """Returns the compressed stream, the 8-bit grey levels and the doubt about the header.

    The grey levels of a baseline JPEG are None, for `decode_jpeg` to decode.
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
        depth = _jpeg_2000_depth(frame) if syntax in JPEG2000TransferSyntaxes else None
        return frame, *levels.scaled(dataset, depth)
    except MemoryError:
        raise
    except Exception as error:  # truncated, damaged, or of a kind without an installed decoder
        how = f"{printable(syntax.name) or 'no transfer syntax'}, {type(error).__name__}"
        raise Undecodable(
            f"pixels cannot be decoded ({how}): fetch the file again, or convert it to JPEG 2000"
        ) from error


def _jpeg_2000_depth(frame: bytes) -> int | None:
    """Returns the bits per pixel that a JPEG 2000 stream itself declares; None for another stream."""
    start = frame.find(b"\xff\x4f\xff\x51")  # at 0, except in streams inside a .jp2
    depth = frame[start + 42 : start + 43] if start >= 0 else b""
    return (depth[0] & 127) + 1 if depth else None


def decode_jpeg(frame: bytes, shape: tuple[int, int]) -> np.ndarray:
    """Decodes a baseline JPEG that is complete and of the expected size.

    Decoders accept a damaged stream and silently fill missing blocks with grey. Pillow decodes like OpenCV, bit for
    bit (both use libjpeg), without OpenCV's warnings on the terminal.

    Args:
        frame: The JPEG stream.
        shape: Expected (height, width).

    Returns:
        uint8 (height, width).

    Raises:
        Undecodable: the stream is no JPEG, of another size, or lacks a part of the picture.
    """
    end = frame.rfind(_JPEG_END)
    ended = end > frame.rfind(_JPEG_SCAN)  # any padding follows the end mark, which some encoders omit
    # Without the mark, zeros at the end are padding, except the one that follows each byte 0xFF of the picture's data.
    frame = frame[:end] if ended else re.sub(rb"(\xff\x00)?\x00*\Z", rb"\1", frame)
    pixels = _decode_stream(frame + _JPEG_END, shape)
    # A decoder that runs out of data leaves the missing blocks middle grey, including the last one. In that case more
    # data before the end mark changes the picture; a complete picture stays the same. Without an end mark, only the
    # last block may be incomplete.
    last = pixels[(shape[0] - 1) // 8 * 8 :, (shape[1] - 1) // 8 * 8 :]
    doubtful = not ended or bool((last == _MISSING_BLOCK).all())
    if doubtful and any((_decode_stream(frame + more + _JPEG_END, shape) != pixels).any() for more in _JPEG_PADDINGS):
        raise Undecodable("pixels cannot be decoded (a part of the JPEG picture is missing): fetch the file again")
    return pixels


def _decode_stream(frame: bytes, shape: tuple[int, int]) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(frame), formats=["JPEG"]) as image:
            if (size := image.size[::-1]) == shape:  # nothing has been decoded yet
                image.draft("L", image.size)
                return np.asarray(image if image.mode == "L" else image.convert("L"))  # converting copies
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise many types
        raise Undecodable("pixels cannot be decoded (not a whole JPEG stream): fetch the file again") from error
    raise Undecodable(f"pixels are {size}, not {shape} as its header says: fetch it again")
