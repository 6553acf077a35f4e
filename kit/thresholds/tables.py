"""Pixel counts of maps and ground truth: all that a threshold search needs, so that each map is read just once."""

from functools import cached_property

import cv2
import numpy as np

from kit.inference.rules import size_of
from kit.thresholds.cleaning import kept_areas
from kit.thresholds.components import sweep
from kit.thresholds.curves import Steps

ALL = slice(None)


class Histograms:
    """Number of pixels, and of foreground pixels, of each image at and above every level.

    The rules `image`, `triplet` and `expected` need nothing else. Images are added one at a time and take 2 KiB each,
    or 4 KiB with cleaning.

    Args:
        count: Number of images.
        cleaned: Whether masks are cleaned: the mask then differs from the one that the rule decides on.
    """

    def __init__(self, count: int, *, cleaned: bool = False) -> None:
        self.area = np.zeros((256, count), np.int32)  # pixels with v >= level
        self.overlap = np.zeros((256, count), np.int32)  # pixels with v >= level in the truth
        self.mask_area = np.zeros_like(self.area) if cleaned else self.area  # of the mask after cleaning
        self.mask_overlap = np.zeros_like(self.overlap) if cleaned else self.overlap
        self.pixels = np.ones(count, np.int64)
        """Number of each image's pixels (H · W), (N,)."""

    def add(self, index: int, levels: np.ndarray, truth: np.ndarray, cleaned: np.ndarray | None = None) -> None:
        """Adds image `index`: levels uint8 (H, W), truth bool (H, W); with cleaning, rows of `cleaned_regions`."""
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
        """Area of {v ≥ level} in pixels of a 1024×1024 image, for n images, (n,), or for L levels, (L, n)."""
        return size_of(self.area[level, images].astype(np.int64), self.pixels[images])

    def gain(self, level: int | slice | np.ndarray = ALL, images: slice | np.ndarray = ALL) -> np.ndarray:
        """Dice of the mask of {v ≥ level} minus Dice of an empty one, float64.

        Args:
            level: One level, a slice of levels, or a level for each image (n,).
            images: Slice or numbers of the images; numbers (n,) if each image has its own level.

        Returns:
            (n,), or (L, n) for a slice of L levels.
        """
        at = level, images
        return dice(self.mask_area[at], self.mask_overlap[at], self.truth[images]) - self.empty[images]

    def steps(self, *levels: int) -> Steps:
        """Returns a step per image: its mask at the last level, kept while its area at the first reaches `removal`."""
        return Steps(np.arange(len(self.pixels)), self.size(levels[0]), self.gain(levels[-1]))

    def is_filled(self, level: int | np.ndarray) -> np.ndarray:
        """Whether the mask of {v ≥ level} has any pixel, bool (N,).

        Args:
            level: One for all images, or one for each; a mask at level 256 is empty.
        """
        level = np.broadcast_to(level, self.pixels.shape)
        images = np.flatnonzero(level < 256)
        filled = np.zeros(len(level), bool)
        filled[images] = self.mask_area[level[images], images] > 0
        return filled


class Components:
    """Dice gained by each image's components at every level: all that the rule `component` needs."""

    def __init__(self, count: int) -> None:
        self.empty = np.ones(count)
        """Dice of an empty mask for each image."""
        self.pixels = np.ones(count, np.int64)
        """Number of each image's pixels (H · W), (N,)."""
        self._parts: list[tuple[np.ndarray, ...]] = [()] * count

    def add(self, index: int, levels: np.ndarray, truth: np.ndarray, cleaned: np.ndarray | None = None) -> None:
        """Adds image `index`: levels uint8 (H, W), truth bool (H, W); with cleaning, rows of `cleaned_regions`."""
        self.pixels[index] = levels.size
        foreground = int(np.count_nonzero(truth))
        self.empty[index] = foreground == 0
        level, area, kept, overlap = sweep(levels, truth).T
        if cleaned is not None:
            kept, overlap = kept_areas(cleaned, level, area)
        dice_with = dice(kept, overlap, foreground)
        dice_without = np.where(np.diff(level, prepend=-1) == 0, np.roll(dice_with, 1), self.empty[index])
        image = np.full(len(level), index, np.int32)
        self._parts[index] = level.astype(np.uint8), image, area.copy(), dice_with - dice_without

    def steps(self, level: int) -> Steps:
        """The components at a level, one step for each distinct area: its gain over keeping only larger components."""
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
