"""Caches all training images and masks at the size of a stage, as memory-mapped uint8 arrays.

The key of a row is a hash of its DICOM file, its label rows, and the versions of reader and resizer; when one of them
changes, only that row is made again.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.competition import dicom, levels, pictures, rle, shapes
from kit.competition.layout import Competition
from kit.core import store
from kit.core.arrays import open_array
from kit.core.distributed import ALONE, Team
from kit.core.errors import KitError
from kit.core.files import locked
from kit.core.parallel import map_in_order
from kit.core.progress import progress
from kit.core.store import content_of, key_of
from kit.data import resize
from kit.data.patients import warn_burned_in_text
from kit.data.resize import resize_image, resize_mask


@dataclass(frozen=True)
class Joined:
    """The concatenation of two arrays, without a copy."""

    first: "np.ndarray | Joined"
    """(M, size, size)."""
    second: "np.ndarray | Joined"
    """(N, size, size)."""

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.first[row] if row < len(self.first) else self.second[row - len(self.first)]


@dataclass(frozen=True)
class Cache:
    """All training images at one size, in the order of `Competition.train`."""

    images: np.ndarray | Joined
    """uint8 (N, size, size), memory-mapped."""
    masks: np.ndarray | Joined
    """uint8 (N, size, size), 0 or 1, memory-mapped."""
    keys: tuple[bytes, ...]
    """Key of each row's image, by `image_keys`."""
    bad: np.ndarray
    """bool (N,): the file is unreadable, and the image is left out."""

    def joined(self, other: "Cache") -> "Cache":
        """Returns this cache followed by that of another data set, at the same size."""
        return Cache(
            Joined(self.images, other.images),
            Joined(self.masks, other.masks),
            self.keys + other.keys,
            np.concatenate([self.bad, other.bad]),
        )


def image_keys(competition: Competition) -> tuple[bytes, ...]:
    """Returns a hash of each training image's file and label rows."""

    def key(image_id: str) -> bytes:
        return key_of(content_of(competition.train[image_id]), *competition.labels[image_id])

    return tuple(progress(map_in_order(key, competition.train), "checking images", len(competition.train)))


def files(mask_resizing: str) -> tuple[str, str]:
    """Returns the names of the arrays of images and of masks; each way of resizing masks has its own array.

    >>> files("area"), files("bilinear")
    (('images.npy', 'masks.npy'), ('images.npy', 'masks-bilinear.npy'))
    """
    return "images.npy", "masks.npy" if mask_resizing == "area" else f"masks-{mask_resizing}.npy"


def ensure(
    competition: Competition,
    sizes: Iterable[int],
    folder: Path,
    team: Team = ALONE,
    *,
    skip_bad: bool = False,
    mask_resizing: str = "area",
) -> dict[int, Cache]:
    """Makes the missing parts of the caches and opens them.

    Args:
        sizes: Image sizes, in pixels, of one cache each; an image is decoded once for all of them.

    Raises:
        KitError: files that cannot be read, each with the reason, or labels that cannot be decoded.
    """
    sizes, keys = sorted(set(sizes)), image_keys(competition)
    ids, paths = list(competition.train), list(competition.train.values())
    row_keys = [key_of(levels.READER, resize.RESIZER, key) for key in keys]
    arrays = {
        size: tuple(
            store.Array(folder / str(size) / name, ids, row_keys, (size, size)) for name in files(mask_resizing)
        )
        for size in sizes
    }
    burned_in = []

    def read(index: int) -> tuple[int, list[np.ndarray] | KitError]:
        try:
            image = pictures.read_image(paths[index], shapes.shape_of(competition.shapes, ids[index]))
        except KitError as error:
            return index, error
        if image.burned_in:
            burned_in.append(ids[index])
        mask = rle.union(competition.labels[ids[index]], image.pixels.shape, ids[index])
        return index, [
            row for size in sizes for row in (resize_image(image.pixels, size), resize_mask(mask, size, mask_resizing))
        ]

    def make(rows: Sequence[int]) -> Iterator[tuple[int, list[np.ndarray] | KitError]]:
        return progress(map_in_order(read, rows), f"caching images at {', '.join(map(str, sizes))} px", len(rows))

    with locked(folder) if team.first else nullcontext():  # processes that train one fold each wait for the first
        _, errors = store.fill(
            [array for pair in arrays.values() for array in pair], make, team, skip_unreadable=skip_bad
        )
    warn_burned_in_text(sorted(burned_in))
    dicom.report_bad(errors, skip_bad=skip_bad)
    return {
        size: Cache(open_array(images.path), open_array(masks.path), keys, store.unreadable_rows(masks.path))
        for size, (images, masks) in arrays.items()
    }
