"""Images and masks at the size of a stage: one way for training, prediction and kernels."""

import math

import cv2
import numpy as np

RESIZER = "1"
"""Version of resizing, part of the key of cached rows and of maps. Raise it whenever `resize_image` or `resize_mask`
gives other pixels than before."""


def resize_image(pixels: np.ndarray, size: int) -> np.ndarray:
    """The radiograph at `size` pixels a side, each the mean of what it covers. uint8 (H, W) → uint8 (size, size)."""
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)


def resize_mask(mask: np.ndarray, size: int, how: str = "area") -> np.ndarray:
    """The mask at `size` pixels a side.

    A component that would vanish keeps the pixels that it covers most.

    Args:
        mask: bool (H, W).
        size: Pixels a side.
        how: `area`: foreground where at least half of a pixel is covered; `bilinear`: where bilinear interpolation
            gives more than nothing, as the paper's authors do (generator.py of Ens4B-UNet); `touched`: where any of a
            pixel is covered. Masks grow by both.

    Returns:
        bool (size, size); it has foreground wherever each component of `mask` lies.

    >>> speck = np.zeros((1024, 1024), bool)
    >>> speck[500, 500] = True
    >>> int(resize_mask(speck, 64).sum())
    1
    """
    small = np.zeros((size, size), bool)
    if mask.any():
        (tall, low), (wide, across) = (_around(np.asarray(mask.any(axis=axis)), size) for axis in (1, 0))
        if how != "area" and size > min(mask.shape):  # an enlarged pixel reaches into its neighbours
            tall = low = wide = across = slice(None)
        part = small[low, across]
        part[:] = _resized(np.ascontiguousarray(mask[tall, wide]), part.shape, how)
    return small


def _around(filled: np.ndarray, size: int) -> tuple[slice, slice]:
    """The part of a side that everything filled lies in, before and after resizing, by borders that fall on borders.

    Args:
        filled: bool (H,), some of it true.
        size: What H becomes.
    """
    common = math.gcd(len(filled), size)
    touched = np.flatnonzero(filled.reshape(common, -1).any(axis=1))
    first, end = int(touched[0]), int(touched[-1]) + 1
    before, after = (slice(first * side // common, end * side // common) for side in (len(filled), size))
    return before, after


def _resized(mask: np.ndarray, shape: tuple[int, int], how: str) -> np.ndarray:
    """`resize_mask` of a mask that is not empty, bool (H, W), to bool (h, w)."""
    if how == "bilinear":
        small = cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_LINEAR) > 0
    else:
        coverage = _coverage(mask, shape)
        small = coverage > 0 if how == "touched" else coverage >= 0.5
    count, components = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    if count == 2 and small.any():  # the one component
        return small
    for component in range(1, count):
        covered = _coverage(components == component, shape)
        if not (small & (covered > 0)).any():
            small |= covered >= covered.max()
    return small


def _coverage(mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The share of each pixel that is foreground. bool (H, W) → float32 (h, w) in [0, 1]."""
    return cv2.resize(mask.astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA)
