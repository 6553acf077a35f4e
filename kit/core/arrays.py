"""Arrays in .npy and .npz files: never unpickled, never half-written."""

import io
import threading
import zipfile
from pathlib import Path
from typing import Literal

import numpy as np

from kit.core.errors import KitError, printable
from kit.core.files import opened, write_bytes

_PARSING = threading.Lock()
"""Python 3.11 counts the parsing depth of all threads together, and may fail if two parse a header at once."""


def open_array(path: Path | str, mode: Literal["r", "r+"] = "r") -> np.memmap:
    """Memory-maps the array of a .npy file."""
    with opened(path):  # raises unless it is a readable file
        pass
    try:
        with _PARSING, np.errstate(over="ignore"):  # from an impossible shape
            return np.lib.format.open_memmap(path, mode)
    except Exception as error:  # numpy parses the header as Python
        raise KitError(
            f"{printable(path)}: is not a .npy file of numbers ({type(error).__name__}): save it with numpy.save"
        ) from error


def read_arrays(path: Path | str, *required: str) -> dict[str, np.ndarray]:
    """Reads the arrays of a .npz file, by name, and checks that it has the required ones."""
    remedy = "remove it and run `make thresholds` again"
    try:
        with opened(path) as handle, np.load(handle, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
    except KitError:
        raise
    except Exception as error:  # from the archive or from an array in it
        raise KitError(f"{printable(path)}: is not a .npz file of numbers: {remedy}") from error
    if missing := sorted(set(required) - arrays.keys()):
        raise KitError(f"{printable(path)}: lacks {', '.join(missing)}: {remedy}")
    return arrays


def save_array(path: Path | str, array: np.ndarray) -> None:
    """Writes an array as .npy, buffered in memory."""
    content = io.BytesIO()  # numpy itself does not say why writing to a full disk fails
    np.save(content, array, allow_pickle=False)
    write_bytes(path, content.getvalue())


def save_arrays(path: Path | str, **arrays: np.ndarray) -> None:
    """Writes arrays as one .npz, at the fastest compression level: numpy's default takes several times as long."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    write_bytes(path, content.getvalue())
