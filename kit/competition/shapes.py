"""Sizes of images: one size for a whole data set, or one per image (`sizes.csv`, `ImageId,Height,Width`)."""

import re
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from kit.competition import labels
from kit.core.errors import KitError

Shape = tuple[int, int] | Mapping[str, tuple[int, int]]
"""(H, W) of all images, or of each image by id."""
NAME = "sizes.csv"
COLUMNS = ("ImageId", "Height", "Width")


def shape_of(shape: Shape, image_id: str) -> tuple[int, int]:
    """Returns the (H, W) of an image.

    Raises:
        KitError: there is one size per image, but none for this image.

    >>> shape_of((4, 6), "a"), shape_of({"a": (2, 3)}, "a")
    ((4, 6), (2, 3))
    """
    if not isinstance(shape, Mapping):
        return shape
    if image_id not in shape:
        raise KitError(f"image {image_id}: has no row in {NAME}: add its height and width")
    return shape[image_id]


def are_proportional(shape: tuple[int, ...], other: tuple[int, int]) -> bool:
    """Whether two sizes have the same aspect ratio, up to rounding.

    >>> are_proportional((60, 80), (30, 40)), are_proportional((80, 60), (60, 80))
    (True, False)
    """
    return abs(shape[0] * other[1] - shape[1] * other[0]) < max(shape[0] + shape[1], sum(other))  # off by a pixel


def resized(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resizes a mask of bool or region numbers to (height, width) by the nearest pixel."""
    if mask.shape == shape:
        return mask
    return cv2.resize(mask.astype(np.int32), shape[::-1], interpolation=cv2.INTER_NEAREST).astype(mask.dtype)


def read(path: Path | str) -> dict[str, tuple[int, int]]:
    """Reads the (H, W) of each image from a `sizes.csv`."""
    sizes = {}
    for line, (image, *sides) in labels.rows(path, COLUMNS):
        if not all(re.fullmatch("0*[1-9][0-9]{0,4}", side) for side in sides):
            raise KitError(f"{path}:{line}: {image} is {'×'.join(sides)}: give its height and width in pixels")
        sizes[image] = int(sides[0]), int(sides[1])
    return sizes
