"""The exact search for the `triplet` rule, which has a curve over `removal` for each of 65,536 pairs of levels."""

from collections.abc import Sequence

import numpy as np

from kit.core.compiled import compiled
from kit.inference.rules import TripletRule
from kit.thresholds.exact import LevelSearch
from kit.thresholds.tables import ALL, Histograms

_BATCH = 256
"""Number of images at a time: as many as fit into the processor's cache."""


class TripletSearch(LevelSearch[TripletRule]):
    """The search for the `triplet` rule."""

    tables: Histograms

    def __init__(self, tables: Histograms, removal: Sequence[int] | None = None) -> None:
        super().__init__(TripletRule, tables, removal)

    def peaks(self, weights: np.ndarray) -> np.ndarray:
        """The best mean Dice at each top and binarization, (256, 256)."""
        if self.removal is not None:
            return self.mean_dice(weights, self.removal).max(axis=-1)
        weights = weights / weights.sum()
        images = np.flatnonzero(weights)
        gain = self._gains(weights, images)
        sizes = (self.tables.size(top, images) for top in range(256))
        return weights @ self.empty + np.stack([_highest_sums(size, np.argsort(size), gain) for size in sizes])

    def mean_dice(self, weights: np.ndarray, removal: np.ndarray) -> np.ndarray:
        """Mean Dice at each top, binarization and value of `removal`, (256, 256, R)."""
        weights = weights / weights.sum()
        sums = np.zeros((256, len(removal) + 1, 256))  # gains by top, number of values that the area reaches, and level
        for first in range(0, len(weights), _BATCH):
            images = np.arange(first, min(first + _BATCH, len(weights)))
            reached = np.searchsorted(removal, self.tables.size(ALL, images), "right")  # (256, n)
            _add_by_cell(sums, reached, self._gains(weights, images))
        gains = np.cumsum(sums[:, :0:-1], axis=1)[:, ::-1]  # (256, R, 256)
        return weights @ self.empty + gains.transpose(0, 2, 1)

    def _gains(self, weights: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Gain in mean Dice by the mask of each image (n,) at each level, (n, 256).

        Computed in batches, since the intermediate arrays take three times the memory of the result.
        """
        gains = np.empty((len(images), 256))
        for first in range(0, len(images), _BATCH):
            batch = images[first : first + _BATCH]
            gains[first : first + _BATCH] = (weights[batch] * self.tables.gain(images=batch)).T
        return gains


@compiled()
def _highest_sums(size: np.ndarray, order: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """For each level, the highest sum of gains (n, 256) of the images above any size (n,), or 0 for none, (256,)."""
    highest, total = np.zeros(256), np.zeros(256)
    for place in range(len(gain) - 1, -1, -1):
        image = order[place]
        for level in range(256):
            total[level] += gain[image, level]
        if place == 0 or size[order[place - 1]] < size[image]:
            for level in range(256):
                highest[level] = max(highest[level], total[level])
    return highest


@compiled()
def _add_by_cell(sums: np.ndarray, cell: np.ndarray, gain: np.ndarray) -> None:
    """Adds each image's gains (n, 256) to its cell of `sums` (256, cells, 256); `cell` (256, n) is its index."""
    for top in range(256):
        for image in range(len(gain)):
            column = cell[top, image]
            for level in range(256):
                sums[top, column, level] += gain[image, level]
