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

from kit.core import store
from kit.core.arrays import open_array, save_array
from kit.core.distributed import ALONE, Team
from kit.core.errors import KitError
from kit.core.files import is_file_or_raise, read_bytes, write_bytes
from kit.core.store import id_lines, ids_path, key_of, keys_path, read_keys, unreadable_rows

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
        raise KitError(f"{path}: is not a text of ids ({error}): `make train predict` restores that of a run") from None
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


def write_mean(
    sources: Sequence[Path], target: Path | str, team: Team = ALONE, weights: Sequence[float] | None = None
) -> bool:
    """Makes the missing mean maps of an ensemble, at the size of its largest maps; returns whether any was missing.

    Args:
        sources: Maps of the same images by each member, .npy (N, h, w) uint8.
        weights: Weight of each member; equal by default.

    Raises:
        KitError: the files are of different images.
    """
    members = [open_maps(source) for source in sources]
    for member in members[1:]:
        if member.ids != members[0].ids:
            raise KitError(f"{member.name}: has other images than {members[0].name}: remove both and predict again")
    shape = max(member.array.shape[1:] for member in members)
    keys = mean_keys([read_keys(source) for source in sources], weights)
    skipped = np.any([unreadable_rows(source) for source in sources], axis=0)  # (N,)
    array = store.Array(Path(target), members[0].ids, keys, shape)

    def make(rows: Sequence[int]) -> store.Made:
        for index in rows:
            if skipped[index]:
                yield index, KitError(f"{members[0].ids[index]}: could not be predicted")
            else:
                yield index, [mean_map([member[index] for member in members], weights)]

    done, _ = store.fill([array], make, team, skip_unreadable=True)
    return done


def mean_keys(keys: Sequence[Sequence[bytes]], weights: Sequence[float] | None = None) -> list[bytes]:
    """Returns the store key of each image's mean map, from the keys of each member's maps."""
    prefix = [] if weights is None else [repr(list(weights))]
    return [key_of(*prefix, *parts) for parts in zip(*keys, strict=True)]


def mean_map(maps: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """Returns the mean of several maps of one image, uint8 (h, w) each, at the size of the largest.

    The mean is rounded down, like all levels (`to_levels`).

    Args:
        weights: Weight of each map; equal by default.

    >>> mean_map([np.array([[10, 20]], np.uint8), np.array([[11, 30]], np.uint8)])
    array([[10, 25]], dtype=uint8)
    >>> mean_map([np.array([[10, 20]], np.uint8), np.array([[11, 30]], np.uint8)], [0.6, 0.2])
    array([[10, 22]], dtype=uint8)
    """
    shape = max(levels.shape for levels in maps)
    enlarged = [upsample(levels, shape) for levels in maps]
    if weights is None:
        total = np.stack(enlarged).sum(axis=0, dtype=np.uint32)
        return (total // len(enlarged)).astype(np.uint8)
    weighted = np.tensordot(np.asarray(weights, np.float64), np.stack(enlarged), axes=1)
    return np.floor(weighted / sum(weights) + _MEAN_ROUNDING).astype(np.uint8)


_MEAN_ROUNDING = 1e-9
"""An upper bound of the rounding error of a weighted mean, so that a mean that is a whole level keeps it."""
