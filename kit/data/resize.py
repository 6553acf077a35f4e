"""Resizing of images and masks, in the same way for training, prediction and kernels."""

import math

import cv2
import numpy as np

RESIZER = "1"
"""Version of resizing, part of the keys of cached rows and maps. Raise it whenever `resize_image` or `resize_mask`
gives different pixels."""


def resize_image(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resizes a radiograph by averaging the area of each new pixel. uint8 (H, W) → uint8 (size, size)."""
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)


def resize_mask(mask: np.ndarray, size: int, how: str = "area") -> np.ndarray:
    """Resizes a mask; a component that would vanish keeps the pixels of which it covers most.

    Args:
        mask: bool (H, W).
        size: New width and height, in pixels.
        how: What makes a pixel foreground. `area`: at least half of it is covered; `bilinear`: bilinear interpolation
            is above 0, as in the code of the paper's authors (generator.py of Ens4B-UNet); `touched`: any of it is
            covered. `bilinear` and `touched` enlarge masks.

    Returns:
        bool (size, size), with foreground in the place of each component of `mask`.

    >>> speck = np.zeros((1024, 1024), bool)
    >>> speck[500, 500] = True
    >>> int(resize_mask(speck, 64).sum())
    1
    """
    small = np.zeros((size, size), bool)
    if mask.any():
        (tall, low), (wide, across) = (_around(np.asarray(mask.any(axis=axis)), size) for axis in (1, 0))
        if how != "area" and size > min(mask.shape):  # enlarged pixels reach into their neighbours
            tall = low = wide = across = slice(None)
        part = small[low, across]
        part[:] = _resized(np.ascontiguousarray(mask[tall, wide]), part.shape, how)
    return small


def _around(filled: np.ndarray, size: int) -> tuple[slice, slice]:
    """Returns the slice of everything filled, before and after resizing; its borders are whole pixels in both.

    Args:
        filled: bool (H,), not all false.
        size: Length after resizing.
    """
    common = math.gcd(len(filled), size)
    touched = np.flatnonzero(filled.reshape(common, -1).any(axis=1))
    first, end = int(touched[0]), int(touched[-1]) + 1
    before, after = (slice(first * side // common, end * side // common) for side in (len(filled), size))
    return before, after


def _resized(mask: np.ndarray, shape: tuple[int, int], how: str) -> np.ndarray:
    """Does the work of `resize_mask` for a mask that is not empty. bool (H, W) → bool (h, w)."""
    if how == "bilinear":
        small = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR) > 0
    else:
        coverage = _coverage(mask, shape)
        small = coverage > 0 if how == "touched" else coverage >= 0.5
    count, components = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    if count == 2 and small.any():  # the only component is there
        return small
    for component in range(1, count):
        covered = _coverage(components == component, shape)
        if not (small & (covered > 0)).any():
            small |= covered >= covered.max()
    return small


def _coverage(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Returns the share of each new pixel that is foreground. bool (H, W) → float32 (h, w) in [0, 1]."""
    return cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
