"""DICOM files of chest radiographs: pixels as 8-bit grey levels, bright where the body is dense, and who they show.

The competition's headers break the standard (illegal UIDs, ages without a unit); this reader is quiet about that,
and leaves pydicom's settings as they are for everyone else.
"""

import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from pydicom.encaps import generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import JPEGBaseline8Bit

from kit.core.errors import KitError
from kit.core.progress import progress

log = logging.getLogger(__name__)
_LOCK = threading.Lock()
_YEARS = {"D": 1 / 365.25, "W": 7 / 365.25, "M": 1 / 12, "Y": 1, "": 1}


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


@dataclass(frozen=True)
class Radiograph(Metadata):
    """An image with its metadata."""

    pixels: np.ndarray
    """uint8 (height, width)."""


def read(path: Path | str, shape: tuple[int, int] | None = None) -> Radiograph:
    """Reads a file: JPEG baseline, JPEG 2000 or uncompressed, 8 to 16 bits.

    MONOCHROME1 is inverted. Images of more than 8 bits are scaled to 8 by their window, else by their full range.

    Args:
        path: The file.
        shape: (height, width) that it must have; None: any.

    Raises:
        KitError: the file is missing, empty, truncated, not DICOM, of another size, or not one grey image.
    """
    with _quiet():
        dataset = _dataset(path)
        metadata = _metadata(dataset, path)
        if shape is not None and metadata.shape != tuple(shape):
            sizes = ["×".join(map(str, size)) for size in (metadata.shape, shape)]
            raise KitError(f"{path}: is {sizes[0]} pixels, not {sizes[1]} as the others: leave it out or resize it")
        if int(dataset.get("SamplesPerPixel") or 1) != 1 or int(dataset.get("NumberOfFrames") or 1) != 1:
            raise KitError(f"{path}: is not one grey image (colour or several frames): convert it first")
        if "PixelData" not in dataset:
            raise KitError(f"{path}: has no pixels: fetch the file again")
        inverted = _text(dataset, "PhotometricInterpretation") == "MONOCHROME1"
        baseline = dataset.file_meta.get("TransferSyntaxUID") == JPEGBaseline8Bit
        try:
            pixels = None if baseline else _scaled(dataset)
        except Exception as error:  # every decoder has errors of its own
            raise _undecodable(path, error) from error
    if pixels is None:  # out of the lock: this is what takes the time, and it runs in parallel
        try:
            pixels = _jpeg(next(generate_frames(dataset.PixelData, number_of_frames=1)))
        except Exception as error:
            raise _undecodable(path, error) from error
    if pixels.shape != metadata.shape:
        raise KitError(f"{path}: pixels are {pixels.shape}, not {metadata.shape} as its header says: fetch it again")
    return Radiograph(**vars(metadata), pixels=255 - pixels if inverted else pixels)


def read_metadata(path: Path | str) -> Metadata:
    """The header alone, without decoding pixels.

    Raises:
        KitError: the file is missing, empty, or not DICOM.
    """
    with _quiet():
        return _metadata(_dataset(path, stop_before_pixels=True), path)


def check(paths: dict[str, Path], shape: tuple[int, int], skip_bad: bool) -> dict[str, KitError]:
    """Reads every file once and returns the errors of those that cannot be read, by id.

    Raises:
        KitError: there are such files and they are not to be skipped; it lists all of them.
    """

    def problem(path: Path) -> KitError | None:
        try:
            read(path, shape)
        except KitError as error:
            return error
        return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = list(progress(pool.map(problem, paths.values()), "checking files", len(paths)))
    bad = {image_id: error for image_id, error in zip(paths, problems, strict=True) if error}
    report_bad(list(bad.values()), skip_bad)
    return bad


def report_bad(errors: list[KitError], skip_bad: bool) -> None:
    """Logs files that are left out, or refuses to go on without them.

    Raises:
        KitError: lists every error, unless they are to be skipped.
    """
    if errors and not skip_bad:
        count = "1 file" if len(errors) == 1 else f"{len(errors)} files"
        raise KitError(f"{count} cannot be read; mend or use --skip-bad: " + "; ".join(map(str, errors)))
    for error in errors:
        log.warning("left out: %s", error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences pydicom about illegal values. Its setting and Python's are global, so one thread at a time."""
    with _LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = pydicom.config.settings.reading_validation_mode
        pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
        try:
            yield
        finally:
            pydicom.config.settings.reading_validation_mode = before


def _dataset(path: Path | str, stop_before_pixels: bool = False) -> pydicom.Dataset:
    try:
        dataset = pydicom.dcmread(path, stop_before_pixels=stop_before_pixels)
    except InvalidDicomError:
        empty = Path(path).stat().st_size == 0
        raise KitError(f"{path}: {'is empty' if empty else 'is not a DICOM file'}: fetch it again") from None
    except OSError as error:
        raise KitError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:  # a broken header fails in many ways
        raise KitError(f"{path}: is truncated or broken ({_line(error)}): fetch it again") from error
    if "Rows" not in dataset or "Columns" not in dataset:
        raise KitError(f"{path}: is truncated or holds no image: fetch it again")
    return dataset


def _metadata(dataset: pydicom.Dataset, path: Path | str) -> Metadata:
    try:
        return Metadata(
            sex=_text(dataset, "PatientSex"),
            age=age_in_years(_text(dataset, "PatientAge")),
            view_position=_text(dataset, "ViewPosition"),
            patient_id=_text(dataset, "PatientID"),
            shape=(int(dataset.Rows), int(dataset.Columns)),
        )
    except (TypeError, ValueError) as error:
        raise KitError(f"{path}: has a broken header ({_line(error)}): fetch it again") from error


def _text(dataset: pydicom.Dataset, name: str) -> str | None:
    return str(dataset.get(name) or "").strip() or None


def age_in_years(text: str | None) -> int | None:
    """An age as DICOM or the competition writes it; None where it cannot be told.

    >>> age_in_years("10"), age_in_years("045Y"), age_in_years("018M"), age_in_years("old")
    (10, 45, 1, None)
    """
    match = re.fullmatch(r"(\d+)([DWMY]?)", text or "")
    return int(int(match[1]) * _YEARS[match[2]]) if match else None


def _jpeg(frame: bytes) -> np.ndarray:
    # A cut stream would be decoded to its end in grey, without a word.
    if not frame.rstrip(b"\x00").endswith(b"\xff\xd9"):
        raise ValueError("the JPEG stream ends too early")
    pixels = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if pixels is None:
        raise ValueError("not a JPEG stream")
    return pixels


def _scaled(dataset: pydicom.Dataset) -> np.ndarray:
    """Grey levels as 8 bits: as they are, or deeper ones by the file's window, else by their full range."""
    if int(dataset.BitsStored) <= 8 and not int(dataset.PixelRepresentation):
        return dataset.pixel_array.astype(np.uint8)
    levels = apply_modality_lut(dataset.pixel_array, dataset)
    if dataset.get("VOILUTSequence") or None not in (dataset.get("WindowCenter"), dataset.get("WindowWidth")):
        values = apply_voi_lut(levels, dataset).astype(np.float64)
        low, high = _window_range(dataset)
    else:
        values = levels.astype(np.float64)
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


def _undecodable(path: Path | str, error: Exception) -> KitError:
    return KitError(f"{path}: pixels cannot be decoded ({_line(error)}): fetch the file again")


def _line(error: Any) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
