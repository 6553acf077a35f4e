"""Cleaning masks of small contours: small regions are dropped with everything inside, and small holes are filled."""

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np


def clean(mask: np.ndarray, limit: float) -> np.ndarray:
    """Returns a mask without its contours of small area: small regions dropped, small holes filled.

    Args:
        mask: bool (H, W). Regions are 8-connected; a contour runs through the centres of a region's outer pixels, or
            of the pixels around a hole.
        limit: Largest area of a contour that is removed, in pixels.

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
    # All contours are filled in one call, so that a hole whose contour is kept stays a hole.
    return cv2.drawContours(np.zeros(mask.shape, np.uint8), kept, -1, 1, cv2.FILLED).astype(bool)


class Region(NamedTuple):
    """An 8-connected region of a mask that cleaning does not drop. Cleaned regions of a mask do not overlap."""

    area: int
    """Number of pixels before cleaning."""
    box: tuple[slice, slice]
    """Bounding box: rows and columns."""
    cleaned: np.ndarray
    """The region with its small holes filled, uint8 of the box's shape, 0 or 1."""


def regions(mask: np.ndarray, limit: float) -> Iterator[Region]:
    """Yields the regions of a mask that `clean` keeps; their union is the cleaned mask.

    A region inside a hole is smaller than the hole and disappears wherever the hole is filled, so each region can be
    cleaned separately.
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
    """Fills the pixels on or inside an odd number of contours, uint8 (height, width) of a box."""
    canvas = np.zeros((height, width), np.uint8)
    return cv2.drawContours(canvas, contours, -1, 1, cv2.FILLED, offset=(-left, -top))
