"""Every training image and mask once, at the size of a stage, as memory-mapped uint8 arrays.

A row is made from the bytes of its DICOM file and its label rows, by one version of the reader and of the resizer; when
one of them changes, that row is made again.
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
    """The rows of one array behind those of another, neither of them copied."""

    first: "np.ndarray | Joined"
    """(M, size, size)."""
    second: "np.ndarray | Joined"
    """(N, size, size): rows M to M + N."""

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, row: int) -> np.ndarray:
        return self.first[row] if row < len(self.first) else self.second[row - len(self.first)]


@dataclass(frozen=True)
class Cache:
    """The training images at one size; row i is the i-th image of the competition's sorted training images."""

    images: np.ndarray | Joined
    """uint8 (N, size, size), memory-mapped."""
    masks: np.ndarray | Joined
    """uint8 (N, size, size), 0 or 1, memory-mapped."""
    keys: tuple[bytes, ...]
    """What each row is of: `image_keys`."""
    bad: np.ndarray
    """bool (N,): the file could not be read and is left out."""

    def joined(self, other: "Cache") -> "Cache":
        """The rows of another data set's cache of the same size behind these."""
        return Cache(
            Joined(self.images, other.images),
            Joined(self.masks, other.masks),
            self.keys + other.keys,
            np.concatenate([self.bad, other.bad]),
        )


def image_keys(competition: Competition) -> tuple[bytes, ...]:
    """What each training image is: the file's content and the image's label rows."""

    def key(image_id: str) -> bytes:
        return key_of(content_of(competition.train[image_id]), *competition.labels[image_id])

    return tuple(progress(map_in_order(key, competition.train), "checking images", len(competition.train)))


def files(mask_resizing: str) -> tuple[str, str]:
    """Names of the files of images and of masks, of which every way of making masks smaller has one.

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
    """Makes what is missing of the cache and opens it.

    Args:
        sizes: Pixels a side, one cache each; an image is decoded once for all of them.

    Raises:
        KitError: files that cannot be read, each with its reason; labels that cannot be decoded.
    """
    sizes, keys = sorted(set(sizes)), image_keys(competition)
    ids, paths = list(competition.train), list(competition.train.values())
    made_from = [key_of(levels.READER, resize.RESIZER, key) for key in keys]
    arrays = {
        size: tuple(
            store.Array(folder / str(size) / name, ids, made_from, (size, size)) for name in files(mask_resizing)
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
            made
            for size in sizes
            for made in (resize_image(image.pixels, size), resize_mask(mask, size, mask_resizing))
        ]

    def make(rows: Sequence[int]) -> Iterator[tuple[int, list[np.ndarray] | KitError]]:
        return progress(map_in_order(read, rows), f"caching images at {', '.join(map(str, sizes))} px", len(rows))

    wanted = [array for pair in arrays.values() for array in pair]
    with locked(folder) if team.first else nullcontext():  # of processes that train a fold each, one makes it
        _, errors = store.fill(wanted, make, team, skip_unreadable=skip_bad)
    warn_burned_in_text(sorted(burned_in))
    dicom.report_bad(errors, skip_bad)
    return {
        size: Cache(open_array(images.path), open_array(masks.path), keys, store.unreadable_rows(masks.path))
        for size, (images, masks) in arrays.items()
    }
