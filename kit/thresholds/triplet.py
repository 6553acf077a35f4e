"""The exact search of the `triplet` rule, whose surface has 65,536 curves."""

from collections.abc import Sequence

import numpy as np

from kit.core.compiled import compiled
from kit.inference.rules import TripletRule
from kit.thresholds.exact import LevelSearch
from kit.thresholds.tables import ALL, Histograms

_SOME = 256
"""Images at a time: as many as stay in the processor's cache."""


class TripletSearch(LevelSearch[TripletRule]):
    """The search of the `triplet` rule."""

    tables: Histograms

    def __init__(self, tables: Histograms, removal: Sequence[int] | None = None) -> None:
        super().__init__(TripletRule, tables, removal)

    def peaks(self, weights: np.ndarray) -> np.ndarray:
        """The best mean Dice at each top and binarization, (256, 256)."""
        if self.removal is not None:
            return self.at(weights, self.removal).max(axis=-1)
        weights = weights / weights.sum()
        counts = np.flatnonzero(weights)
        gain = self._gains(weights, counts)
        sizes = (self.tables.size(top, counts) for top in range(256))
        return weights @ self.empty + np.stack([_highest_sums(size, np.argsort(size), gain) for size in sizes])

    def at(self, weights: np.ndarray, removal: np.ndarray) -> np.ndarray:
        """Mean Dice at each top, binarization and value of `removal`, (256, 256, R)."""
        weights = weights / weights.sum()
        sums = np.zeros((256, len(removal) + 1, 256))  # at each top, for each number of values that let the mask stand
        for first in range(0, len(weights), _SOME):
            some = np.arange(first, min(first + _SOME, len(weights)))
            lets = np.searchsorted(removal, self.tables.size(ALL, some), "right")  # (256, n)
            _add_by_cell(sums, lets, self._gains(weights, some))
        stands = np.cumsum(sums[:, :0:-1], axis=1)[:, ::-1]  # (256, R, 256)
        return weights @ self.empty + stands.transpose(0, 2, 1)

    def _gains(self, weights: np.ndarray, images: np.ndarray) -> np.ndarray:
        """What the mask at each level of some images (n,) adds to the mean Dice, (n, 256).

        Made of a few images at a time: what comes in between takes three times the memory of the result.
        """
        found = np.empty((len(images), 256))
        for first in range(0, len(images), _SOME):
            some = images[first : first + _SOME]
            found[first : first + _SOME] = (weights[some] * self.tables.gain(images=some)).T
        return found


@compiled()
def _highest_sums(size: np.ndarray, order: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The highest sum of the gains (n, 256) of all images down to some size (n,), or of none, at each level, (256,)."""
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
    """Adds the gains (n, 256) of the images to their cells of `sums` (256, cells, 256), given by number (256, n)."""
    for top in range(256):
        for image in range(len(gain)):
            here = cell[top, image]
            for level in range(256):
                sums[top, here, level] += gain[image, level]
