"""Images and masks at the size of a stage: one way for training, prediction and kernels."""

import cv2
import numpy as np


def resize_image(pixels: np.ndarray, size: int) -> np.ndarray:
    """The radiograph at `size` pixels a side, each the mean of what it covers. uint8 (H, W) → uint8 (size, size)."""
    return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """The mask at `size` pixels a side: foreground where at least half of a pixel is covered.

    A component that nowhere covers half a pixel would vanish; it keeps the pixels that it covers most.

    Args:
        mask: bool (H, W).
        size: Pixels a side.

    Returns:
        bool (size, size); it has foreground wherever each component of `mask` lies.

    >>> speck = np.zeros((1024, 1024), bool)
    >>> speck[500, 500] = True
    >>> int(resize_mask(speck, 64).sum())
    1
    """
    if not mask.any():
        return np.zeros((size, size), bool)
    small = _coverage(mask, size) >= 0.5
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    count, components = cv2.connectedComponents(mask[box].astype(np.uint8), connectivity=8)
    if count == 2 and small.any():  # the one component
        return small
    for component in range(1, count):
        alone = np.zeros_like(mask)
        alone[box] = components == component
        covered = _coverage(alone, size)
        if not (small & (covered > 0)).any():
            small |= covered >= covered.max()
    return small


def _coverage(mask: np.ndarray, size: int) -> np.ndarray:
    """The share of each pixel that is foreground. bool (H, W) → float32 (size, size) in [0, 1]."""
    return cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)
