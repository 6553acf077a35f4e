"""Counts that say all about maps and their truth that the choice of a rule needs. The maps are read once."""

from functools import cached_property

import cv2
import numpy as np

from kit.inference.rules import size_of
from kit.thresholds.cleaning import kept_of
from kit.thresholds.components import sweep
from kit.thresholds.curves import Steps

ALL = slice(None)


class Histograms:
    """How many pixels, and how many of them foreground, each image has at and above every level.

    All that the rules `image`, `triplet` and `expected` need. Filled an image at a time; 2 KiB an image, or 4 where
    masks are cleaned.

    Args:
        cleaned: Whether masks are cleaned: what they are worth is then not what was decided on.
    """

    def __init__(self, count: int, cleaned: bool = False) -> None:
        self.area = np.zeros((256, count), np.int32)  # pixels with v >= level
        self.overlap = np.zeros((256, count), np.int32)  # and in the truth
        self.mask_area = np.zeros_like(self.area) if cleaned else self.area  # of the mask that is written
        self.mask_overlap = np.zeros_like(self.overlap) if cleaned else self.overlap
        self.pixels = np.ones(count, np.int64)
        """Number of each image's pixels (H · W), (N,)."""

    def add(self, index: int, levels: np.ndarray, truth: np.ndarray, cleaned: np.ndarray | None = None) -> None:
        """Counts image `index`: levels uint8 (H, W), truth bool (H, W); where masks are cleaned, `cleaned_regions`."""
        self.pixels[index] = levels.size
        self.area[:, index] = _at_least(cv2.calcHist([levels], [0], None, [256], [0, 256]).ravel())
        rows = np.flatnonzero(truth.any(axis=1))
        if len(rows):
            inside = slice(rows[0], rows[-1] + 1)
            self.overlap[:, index] = _at_least(np.bincount(levels[inside][truth[inside]], minlength=256))
        if cleaned is not None:
            level, _, area, overlap = cleaned.T
            self.mask_area[:, index] = np.bincount(level, area, 256)
            self.mask_overlap[:, index] = np.bincount(level, overlap, 256)

    @property
    def truth(self) -> np.ndarray:
        """Foreground pixels of each image, (N,)."""
        return self.overlap[0]

    @property
    def empty(self) -> np.ndarray:
        """Dice of an empty mask for each image, (N,): 1 for a negative."""
        return (self.truth == 0).astype(np.float64)

    def size(self, level: int | slice, images: slice | np.ndarray = ALL) -> np.ndarray:
        """Area of {v ≥ level} of some images in pixels of a 1024×1024 image, (n,), or (L, n) for L levels."""
        return size_of(self.area[level, images].astype(np.int64), self.pixels[images])

    def gain(self, level: int | slice | np.ndarray = ALL, images: slice | np.ndarray = ALL) -> np.ndarray:
        """Dice of the mask of {v ≥ level} less Dice of an empty one, float64.

        Args:
            level: One, a slice of them, or one for each of the images (n,).
            images: Which; as numbers (n,) where each has its own level.

        Returns:
            (n,), or (L, n) for a slice of L levels.
        """
        at = level, images
        return dice(self.mask_area[at], self.mask_overlap[at], self.truth[images]) - self.empty[images]

    def steps(self, *levels: int) -> Steps:
        """Each image's mask at the last level, which stands while the area at the first one is large enough."""
        return Steps(np.arange(len(self.pixels)), self.size(levels[0]), self.gain(levels[-1]))

    def is_filled(self, level: int | np.ndarray) -> np.ndarray:
        """Whether the mask of {v ≥ level} has a pixel, at one level or at one for each image, up to 256; bool (N,)."""
        level = np.broadcast_to(level, self.pixels.shape)
        images = np.flatnonzero(level < 256)
        found = np.zeros(len(level), bool)
        found[images] = self.mask_area[level[images], images] > 0
        return found


class Components:
    """What each image's components are worth at every level. All that the rule `component` needs."""

    def __init__(self, count: int) -> None:
        self.empty = np.ones(count)
        """Dice of an empty mask for each image."""
        self.pixels = np.ones(count, np.int64)
        """Number of each image's pixels (H · W), (N,)."""
        self._parts: list[tuple[np.ndarray, ...]] = [()] * count

    def add(self, index: int, levels: np.ndarray, truth: np.ndarray, cleaned: np.ndarray | None = None) -> None:
        """Takes image `index`: levels uint8 (H, W), truth bool (H, W); where masks are cleaned, `cleaned_regions`."""
        self.pixels[index] = levels.size
        foreground = int(np.count_nonzero(truth))
        self.empty[index] = foreground == 0
        level, area, kept, overlap = sweep(levels, truth).T
        if cleaned is not None:
            kept, overlap = kept_of(cleaned, level, area)
        with_it = dice(kept, overlap, foreground)
        without = np.where(np.diff(level, prepend=-1) == 0, np.roll(with_it, 1), self.empty[index])
        image = np.full(len(level), index, np.int32)
        self._parts[index] = level.astype(np.uint8), image, area.copy(), with_it - without

    def steps(self, level: int) -> Steps:
        """The components at a level, one for each distinct area of an image: it adds to the Dice of all larger ones."""
        levels, images, areas, gains = self._sorted
        entries = slice(*np.searchsorted(levels, [level, level + 1]))
        pixels = self.pixels[images[entries]]
        return Steps(images[entries], size_of(areas[entries].astype(np.int64), pixels), gains[entries])

    @cached_property
    def _sorted(self) -> list[np.ndarray]:
        columns = [np.concatenate(column) for column in zip(*self._parts, strict=True)]
        order = np.argsort(columns[0], kind="stable")
        return [column[order] for column in columns]


def dice(area: np.ndarray, overlap: np.ndarray, truth: np.ndarray | int) -> np.ndarray:
    """2 · overlap / (area + truth), 1 where both are empty."""
    total = area.astype(np.float64) + truth
    return np.divide(2.0 * overlap, total, out=np.ones_like(total), where=total > 0)


def _at_least(histogram: np.ndarray) -> np.ndarray:
    return np.cumsum(histogram[::-1].astype(np.int64))[::-1]
