"""The exact search of the `triplet` rule, whose surface has 65,536 curves."""

from collections.abc import Sequence

import numpy as np
from numba import njit

from kit.inference.rules import TripletRule
from kit.thresholds.curves import Steps
from kit.thresholds.search import LevelSearch, histogram_steps
from kit.thresholds.tables import Histograms


class TripletSearch(LevelSearch[TripletRule]):
    """The search of the `triplet` rule: an image's mask stands as long as its sure part is large enough."""

    def __init__(self, tables: Histograms, removal: Sequence[int] | None = None) -> None:
        super().__init__(TripletRule, tables.empty, removal)
        self.tables = tables

    def steps(self, *levels: int) -> Steps:
        """Steps of all images."""
        top, level = levels
        return histogram_steps(self.tables, top, level)

    def peaks(self, weights: np.ndarray) -> np.ndarray:
        """The best mean Dice at each top and binarization, (256, 256)."""
        if self.removal is not None:
            return self.at(weights, self.removal).max(axis=-1)
        weights = weights / weights.sum()
        counts = np.flatnonzero(weights)
        area = self.tables.area[:, counts]  # (256, n)
        gain = np.ascontiguousarray((weights * self.tables.gain())[:, counts].T)  # (n, 256)
        return weights @ self.empty + _highest_sums(area, np.argsort(area, axis=1), gain)

    def at(self, weights: np.ndarray, removal: np.ndarray) -> np.ndarray:
        """Mean Dice at each top, binarization and value of `removal`, (256, 256, R)."""
        weights = weights / weights.sum()
        gain = np.ascontiguousarray((weights * self.tables.gain()).T)  # (N, 256)
        lets = np.stack([np.searchsorted(removal, self.tables.size(top), "right") for top in range(256)])  # (256, N)
        sums = _sums_by_cell(lets.astype(np.int32), gain, len(removal) + 1)  # (256, 1 + R, 256)
        stands = np.cumsum(sums[:, :0:-1], axis=1)[:, ::-1]  # (256, R, 256)
        return weights @ self.empty + stands.transpose(0, 2, 1)


@njit(cache=True)
def _highest_sums(area: np.ndarray, order: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The highest sum of the gains (n, 256) of all images down to some area, or of none, at each top (256, n)."""
    highest = np.zeros((256, 256))
    for top in range(256):
        total = np.zeros(256)
        for place in range(len(gain) - 1, -1, -1):
            image = order[top, place]
            for level in range(256):
                total[level] += gain[image, level]
            if place == 0 or area[top, order[top, place - 1]] < area[top, image]:
                for level in range(256):
                    highest[top, level] = max(highest[top, level], total[level])
    return highest


@njit(cache=True)
def _sums_by_cell(cell: np.ndarray, gain: np.ndarray, count: int) -> np.ndarray:
    """Sums of the gains (n, 256) of the images in each cell, (256, count, 256), given each image's cell (256, n)."""
    sums = np.zeros((256, count, 256))
    for first in range(0, len(gain), 256):  # as many images as stay in the processor's cache
        for top in range(256):
            for image in range(first, min(first + 256, len(gain))):
                here = cell[top, image]
                for level in range(256):
                    sums[top, here, level] += gain[image, level]
    return sums
