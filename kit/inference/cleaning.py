"""Cleaning masks: contours that enclose few pixels go, regions with what they hold, and holes by being filled."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np


def clean(mask: np.ndarray, limit: float) -> np.ndarray:
    """A mask without its contours of small area: those of regions dropped, those of holes filled.

    Args:
        mask: bool (H, W). Regions are 8-connected; a contour runs through the centres of a region's outer pixels, or of
            those around a hole.
        limit: Contours that enclose at most this area, in pixels, go.

    Returns:
        bool (H, W).

    >>> clean(np.array([[0, 0, 0, 0, 1], [1, 1, 1, 0, 0], [1, 0, 1, 0, 0], [1, 1, 1, 0, 0]], bool), 2).astype(int)
    array([[0, 0, 0, 0, 0],
           [1, 1, 1, 0, 0],
           [1, 1, 1, 0, 0],
           [1, 1, 1, 0, 0]])
    """
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    kept = [contour for contour in contours if cv2.contourArea(contour) > limit]
    # Filled together: a hole whose contour is kept stays a hole.
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), kept, -1, 1, cv2.FILLED).astype(bool)


class Region(NamedTuple):
    """An 8-connected region of a mask that outlives its cleaning. Cleaned regions of a mask do not overlap."""

    area: int
    """Pixels before."""
    box: tuple[slice, slice]
    """The rows and columns that it spans."""
    cleaned: np.ndarray
    """uint8 of the box's shape: 1 where it is afterwards, its small holes filled."""


def regions(mask: np.ndarray, limit: float) -> Iterator[Region]:
    """The regions that `clean` leaves of a mask, one after the other; their union is what it gives.

    A region inside a hole is smaller than the hole, so that it goes wherever the hole is filled: each region can be
    cleaned by itself.
    """
    contours, tree = cv2.findContours(mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for number, outer in enumerate(contours):
        if tree[0, number, 3] >= 0 or cv2.contourArea(outer) <= limit:  # a hole, or too small
            continue
        holes, hole = [], tree[0, number, 2]
        while hole >= 0:
            holes.append(contours[hole])
            hole = tree[0, hole, 0]
        left, top, width, height = cv2.boundingRect(outer)
        kept = [contour for contour in holes if cv2.contourArea(contour) > limit]
        cleaned, before = (_filled([outer, *inner], left, top, width, height) for inner in (kept, holes))
        yield Region(cv2.countNonZero(before), (slice(top, top + height), slice(left, left + width)), cleaned)


def _filled(contours: list[np.ndarray], left: int, top: int, width: int, height: int) -> np.ndarray:
    """What lies inside an odd number of contours, and on them, uint8 (height, width) of a box."""
    canvas = np.zeros((height, width), np.uint8)
    return cv2.drawContours(canvas, contours, -1, 1, cv2.FILLED, offset=(-left, -top))
