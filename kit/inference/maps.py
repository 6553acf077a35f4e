"""Probability maps: arrays of levels on the disk, read one image at a time.

A map is uint8; level v stands for p = v / 255. The maps of N images are one memory-mapped .npy file of shape (N, H, W),
with the image ids in a text file beside it (`x.npy`, `x.ids.txt`, one id a line).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kit.core.arrays import open_array, save_array
from kit.core.errors import KitError
from kit.core.files import is_file_or_raise, read_bytes, write_bytes
from kit.core.store import id_lines, ids_path, keys_path, unreadable_rows

PROBABILITIES = np.arange(256) / 255
"""Probability of each level."""
QUANTISER = "floor"
"""How `to_levels` rounds: part of the key of every stored map, so that maps of another quantiser are stale."""


@dataclass(frozen=True)
class Maps:
    """The maps of one file; `maps[i]` and iteration read uint8 levels (H, W), one image at a time."""

    ids: tuple[str, ...]
    array: np.ndarray
    """(N, H, W), uint8 levels or float probabilities."""
    name: str
    """Path to the file."""
    named: bool
    """Whether the file has ids; if not, `ids` are 0, 1, 2, …"""
    unreadable: frozenset[str] = frozenset()
    """Ids of images that could not be read; their maps are all 0."""

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> np.ndarray:
        try:
            return to_levels(read_row(self.name, index))
        except KitError as error:
            raise KitError(f"{self.name}: image {self.ids[index]}: {error}") from None

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))


def open_maps(path: Path | str) -> Maps:
    """Memory-maps a file of maps; without a file of ids, the images are numbered from 0.

    Raises:
        KitError: not a readable .npy file of shape (N, H, W), of uint8 or float, or not as many ids as maps.
    """
    array = open_stack(path)
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise KitError(f"{path}: maps are {array.dtype}: give uint8 levels or float probabilities")
    path = Path(path)
    named = is_file_or_raise(ids_path(path))
    ids = read_ids(path) if named else tuple(map(str, range(len(array))))
    if len(ids) != len(array):
        raise KitError(
            f"{ids_path(path)}: {len(ids)} ids for {len(array)} maps: give one a line, in the order of the maps"
        )
    if repeated := next((name for name, times in Counter(ids).items() if times > 1), None):
        raise KitError(f"{ids_path(path)}: {repeated} appears twice: give each map its own id")
    skipped = unreadable_rows(path) if is_file_or_raise(keys_path(path)) else np.zeros(len(array), bool)
    if len(skipped) != len(array):
        raise KitError(f"{keys_path(path)}: {len(skipped)} keys for {len(array)} maps: run `make train predict`")
    return Maps(ids, array, str(path), named, frozenset(np.array(ids)[skipped].tolist()))


def read_ids(path: Path | str) -> tuple[str, ...]:
    """Reads the ids of a file of predictions, in the order of its rows.

    Raises:
        KitError: the file of ids is missing or is not text.
    """
    path = ids_path(Path(path))
    try:
        lines = read_bytes(path).decode().removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        remedy = "`make train predict` restores that of a run"
        raise KitError(f"{path}: is not a text of ids ({error}): {remedy}") from None
    return tuple(line.rstrip("\r") for line in lines)


def open_stack(path: Path | str) -> np.ndarray:
    """Memory-maps a non-empty array of shape (N, H, W)."""
    try:
        array = open_array(path)
    except KitError as error:
        raise KitError(f"{error}; `make train predict` restores those of a run") from None
    if array.ndim != 3:
        raise KitError(f"{path}: has shape {array.shape}: give one .npy array (images, height, width)")
    if not array.size:
        raise KitError(f"{path}: is empty, of shape {array.shape}: give at least one image")
    return array


def read_row(path: Path | str, index: int) -> np.ndarray:
    """Reads one image (H, W) of a file (N, H, W) through a new memory map, so that its memory is freed with it."""
    return open_array(path)[index]


def save(path: Path | str, ids: Sequence[str], array: np.ndarray) -> None:
    """Writes predictions (N, ...), one row an image, and the image ids."""
    write_bytes(ids_path(Path(path)), id_lines(ids))
    save_array(path, array)


_ROUNDING = 1e-5
"""Rounding error by which a 32-bit mean or resized map may lie outside [0, 1]."""


def to_levels(probabilities: np.ndarray) -> np.ndarray:
    """Converts probabilities to levels: the highest L with p ≥ L / 255, compared in the precision of the input.

    This is the only quantiser, for the kit's own maps and external ones. "level ≥ L" and "p ≥ L / 255" are therefore
    the same mask for every L, and a float map computed as v / 255 gives v again.

    Args:
        probabilities: Floats in [0, 1] of any shape, or uint8 levels, which are returned unchanged.

    Raises:
        KitError: a value is NaN or outside [0, 1] by more than rounding.

    >>> to_levels(np.array([[0.0, 0.5, 0.75, 1.0]]))
    array([[  0, 127, 191, 255]], dtype=uint8)
    """
    if probabilities.dtype == np.uint8:
        return probabilities
    low, high = probabilities.min(), probabilities.max()
    if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # also false for NaN
        raise KitError(f"probabilities lie in [{low:.9g}, {high:.9g}]: give values in [0, 1] without NaN")
    if low < 0 or high > 1:
        probabilities = probabilities.clip(0, 1)
    steps = np.append(PROBABILITIES, 2).astype(probabilities.dtype)
    levels = (probabilities * probabilities.dtype.type(255)).astype(np.int16)  # exact but for rounding
    levels -= probabilities < steps[levels]
    levels += probabilities >= steps[levels + 1]
    return levels.astype(np.uint8)


def upsample(levels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes a map by bilinear interpolation of its levels.

    Args:
        levels: uint8 (h, w).
        shape: New shape (H, W).

    Returns:
        uint8 (H, W); the map itself if it has this shape already.
    """
    if levels.shape == tuple(shape):
        return levels
    return cv2.resize(levels, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
