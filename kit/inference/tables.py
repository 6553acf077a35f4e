"""All that the rules `image`, `triplet` and `expected` need to know about a map and its truth: two histograms."""

import cv2
import numpy as np


class Histograms:
    """How many pixels, and how many of them foreground, each image has at and above every level.

    Filled an image at a time; 2 KiB an image.
    """

    def __init__(self, count: int):
        self.area = np.zeros((count, 256), np.int32)  # pixels with v >= level
        self.overlap = np.zeros((count, 256), np.int32)  # and in the truth
        self.pixels = 0
        """Of an image (H · W)."""

    def add(self, index: int, map: np.ndarray, truth: np.ndarray) -> None:
        """Counts image `index`: levels uint8 (H, W) and truth bool (H, W)."""
        self.pixels = map.size
        self.area[index] = _at_least(cv2.calcHist([map], [0], None, [256], [0, 256]).ravel())
        rows = np.flatnonzero(truth.any(axis=1))
        if len(rows):
            inside = slice(rows[0], rows[-1] + 1)
            self.overlap[index] = _at_least(np.bincount(map[inside][truth[inside]], minlength=256))

    @property
    def truth(self) -> np.ndarray:
        """Foreground pixels of each image, (N,)."""
        return self.overlap[:, 0]

    def dice(self) -> np.ndarray:
        """Dice of {v ≥ level} of every image and level, (N, 256) float64."""
        return dice(self.area, self.overlap, self.truth[:, None])


def dice(area: np.ndarray, overlap: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """2 · overlap / (area + truth), 1 where both are empty."""
    total = area.astype(np.float64) + truth
    return np.divide(2.0 * overlap, total, out=np.ones_like(total), where=total > 0)


def _at_least(histogram: np.ndarray) -> np.ndarray:
    return np.cumsum(histogram[::-1].astype(np.int64))[::-1]
