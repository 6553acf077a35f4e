"""What the cleaned masks of an image are at every level.

A rule decides on masks as they are, and what it lets stand is cleaned. Each region is cleaned by itself, so that the
cleaned areas of an image's regions at every level, beside those that the rule decides on, are all that an exact search
needs. They are measured on the masks themselves, at each level that occurs in the map and within the box of what is
left there: 30 to 300 ms an image of 1024×1024 pixels.
"""

import cv2
import numpy as np

from kit.inference.cleaning import regions
from kit.inference.rules import contour_limit


def cleaned_regions(levels: np.ndarray, truth: np.ndarray, smallest_contour: int) -> np.ndarray:
    """The regions of {v ≥ level} that cleaning leaves, at every level.

    Args:
        levels: uint8 (H, W).
        truth: bool (H, W).

    Returns:
        int64 (K, 4), rows (level, area before, cleaned area, cleaned overlap with the truth), one row per region.
    """
    limit = contour_limit(smallest_contour, levels.size)
    rows: list[tuple[int, int, int, int]] = []
    present = np.flatnonzero(cv2.calcHist([levels], [0], None, [256], [0, 256]))
    for below, level in zip([-1, *present[:-1].tolist()], present.tolist(), strict=True):
        mask = levels >= level
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
        box = slice(top, top + height), slice(left, left + width)
        levels, truth = levels[box], truth[box]  # the masks of all higher levels lie in here
        for region in regions(np.ascontiguousarray(mask[box]), limit):
            overlap = cv2.countNonZero(region.cleaned & truth[region.box])
            found = region.area, cv2.countNonZero(region.cleaned), overlap
            rows += [(at, *found) for at in range(below + 1, level + 1)]
    return np.array(rows, np.int64).reshape(-1, 4)


def kept_of(cleaned: np.ndarray, level: np.ndarray, area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is left of an image, cleaned, where its regions of at least some area are kept.

    Args:
        level: (K,) descending.
        area: Descending within a level, every area of a region among them, (K,).

    Returns:
        Area and overlap of the mask at each of these points, int64 (K,) each.
    """
    points, own = (_key(*pair) for pair in ((level, area), cleaned[:, :2].T))  # ascending
    at = np.searchsorted(points, own)
    first = np.searchsorted(points, _key(level, np.full_like(area, _MOST)))  # of the same level, (K,)
    kept = []
    for column in cleaned[:, 2:].T:
        sums = np.concatenate([[0], np.cumsum(np.bincount(at, column, len(points)).astype(np.int64))])
        kept.append(sums[1:] - sums[first])
    return kept[0], kept[1]


_MOST = (1 << 31) - 1
"""No area is larger."""


def _key(level: np.ndarray, area: np.ndarray) -> np.ndarray:
    """A number that rises as the level falls, and within a level as the area falls."""
    return ((255 - level.astype(np.int64)) << 32) + _MOST - area
