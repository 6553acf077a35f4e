"""Areas of an image's cleaned masks at every level.

A rule decides on the uncleaned mask, and the mask that it keeps is cleaned. Each region is cleaned separately, so an
exact search needs just two areas of each region at every level: before cleaning, which the rule decides on, and after.
They are measured on the masks themselves, at each level that occurs in the map and within the bounding box of the
mask at that level: 30 to 300 ms for an image of 1024×1024 pixels.
"""

import cv2
import numpy as np

from kit.inference import cleaning
from kit.inference.rules import contour_limit


def cleaned_regions(levels: np.ndarray, truth: np.ndarray, smallest_contour: int) -> np.ndarray:
    """Measures the regions of {v ≥ level} that are left after cleaning, at every level.

    Args:
        levels: uint8 (H, W).
        truth: bool (H, W).

    Returns:
        int64 (K, 4), rows (level, area before, cleaned area, cleaned overlap with the truth), one row per region.
    """
    limit = contour_limit(smallest_contour, levels.size)
    rows: list[tuple[int, int, int, int]] = []
    present = np.flatnonzero(cv2.calcHist([levels], [0], None, [256], [0, 256]))
    for previous, level in zip([-1, *present[:-1].tolist()], present.tolist(), strict=True):
        mask = levels >= level
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
        box = slice(top, top + height), slice(left, left + width)
        levels, truth = levels[box], truth[box]  # contains the masks of all higher levels
        for region in cleaning.regions(np.ascontiguousarray(mask[box]), limit):
            overlap = cv2.countNonZero(region.cleaned & truth[region.box])
            counts = region.area, cv2.countNonZero(region.cleaned), overlap
            rows += [(same, *counts) for same in range(previous + 1, level + 1)]
    return np.array(rows, np.int64).reshape(-1, 4)


def kept_areas(cleaned: np.ndarray, level: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measures the cleaned mask of an image that keeps all regions of at least some area at a level.

    Args:
        cleaned: Rows of `cleaned_regions`.
        level: Levels to measure at, (K,), descending.
        area: Smallest area that is kept, (K,), descending within a level. At each level, every region's area is there.

    Returns:
        Area and overlap of the mask for each pair of level and area, int64 (K,) each.
    """
    points, regions = (_key(*pair) for pair in ((level, area), cleaned[:, :2].T))  # points ascend
    index = np.searchsorted(points, regions)  # each region's place among the pairs
    first = np.searchsorted(points, _key(level, np.full_like(area, _MOST)))  # first pair of each pair's level, (K,)
    kept = []
    for column in cleaned[:, 2:].T:
        sums = np.concatenate([[0], np.cumsum(np.bincount(index, column, len(points)).astype(np.int64))])
        kept.append(sums[1:] - sums[first])
    return kept[0], kept[1]


_MOST = (1 << 31) - 1
"""An upper bound of any area."""


def _key(level: np.ndarray, area: np.ndarray) -> np.ndarray:
    """A number that rises as the level falls, and within a level as the area falls."""
    return ((255 - level.astype(np.int64)) << 32) + _MOST - area
