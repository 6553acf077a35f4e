"""The competition's run-length encoding: column-major pairs `gap length`, each gap counted from the last run's end.

`-1` or an empty text is no mask. Pixels run down the columns, the columns from left to right.
"""

import re
from collections.abc import Iterable

import cv2
import numpy as np

from kit.core.errors import KitError

EMPTY = "-1"
SHAPE = (1024, 1024)
_NUMBER = re.compile(r"([+-]?)0*(\d{1,18})\d*", re.ASCII)  # 18 digits tell that a number leaves any image


def decode(text: str, shape: tuple[int, int] = SHAPE, image: str | None = None) -> np.ndarray:
    """The mask of one text.

    Args:
        text: Pairs `gap length` separated by white space; `-1` or empty for no mask.
        shape: (height, width) of the image.

    Returns:
        bool (height, width).

    Raises:
        KitError: the text is malformed; the message names the image, the pair and the reason.

    >>> decode("1 2 2 1", (3, 2)).astype(int)
    array([[0, 0],
           [1, 0],
           [1, 1]])
    """
    flat = np.zeros(shape[0] * shape[1], bool)  # column after column
    starts, ends = runs(text, len(flat), image)
    if len(starts):
        # Gap after gap and run after run, from the first run on: each value as often as it has pixels.
        borders = np.stack([starts, ends], axis=1).ravel()
        flat[starts[0] : ends[-1]] = np.repeat(np.arange(len(borders) - 1) % 2 == 0, np.diff(borders))
    return flat.reshape(shape[1], shape[0]).T


def encode(mask: np.ndarray) -> str:
    """The text of a mask, `-1` for an empty one; `decode` gives the mask back.

    Args:
        mask: (height, width), bool or numbers that are 0 outside the mask.

    >>> encode(np.array([[0, 0], [1, 0], [1, 1]]))
    '1 2 2 1'
    >>> encode(np.ones((3, 2)))
    '0 6'
    """
    mask = np.asarray(mask)
    if mask.dtype != bool:
        mask = mask != 0
    height, width = mask.shape
    pixels = mask.view(np.uint8)
    if mask.flags.f_contiguous and width % 8 == 0:  # eight columns at once, of which eight pixels at once
        step, groups = 8, pixels.T.reshape(width // 8, 8 * height).view(np.uint64)
        touched = np.flatnonzero(np.bitwise_or.reduce(groups, axis=1))
    else:
        step, touched = 1, np.flatnonzero(np.bitwise_or.reduce(pixels, axis=0))
    if not len(touched):
        return EMPTY
    left, right = step * int(touched[0]), step * (int(touched[-1]) + 1)
    box = pixels[:, left:right]
    columns = box.T if mask.flags.f_contiguous else cv2.transpose(box)  # 6× numpy's copy
    return _text(_edges(columns.ravel()) + left * height)


def _edges(flat: np.ndarray) -> np.ndarray:
    """Where pixels differ from the one before; beyond both ends lies background.

    Args:
        flat: uint8 (P,), 0 or 1.

    Returns:
        int64 (2K,): start, end, start, end, …
    """
    last = len(flat)
    edge = np.empty(last // 8 * 8 + 8, np.uint8)
    edge[0], edge[last], edge[last + 1 :] = flat[0], flat[-1], 0
    np.bitwise_xor(flat[1:], flat[:-1], out=edge[1:last])
    # Nearly all are 0, so they are searched eight at a time.
    words = edge.view(np.uint64)
    found = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[found].view(bool))  # of the bytes of these words
    return 8 * found[inside >> 3] + (inside & 7)


_WORDS = np.array([f"{number} " for number in range(2048)], "S8").view(np.uint64)
"""Each number as text and a space, in eight bytes, with NULs behind."""


def _text(edges: np.ndarray) -> str:
    """The first edge and each one's distance from the one before as text, with a space between; int64 (N,), N > 1."""
    steps = edges[1:] - edges[:-1]
    try:
        text = _WORDS[steps].tobytes().translate(None, b"\0").decode()
    except IndexError:
        text = "%d " * len(steps) % tuple(steps.tolist())  # twice as fast as join
    return f"{edges[0]} {text[:-1]}"


def union(rows: Iterable[str], shape: tuple[int, int] = SHAPE, image: str | None = None) -> np.ndarray:
    """The mask of an image: the union of its rows, which may overlap. bool (height, width)."""
    mask = np.zeros(shape, bool, order="F")  # as `decode` gives them
    for row in rows:
        mask |= decode(row, shape, image)
    return mask


def area(text: str, shape: tuple[int, int] = SHAPE, image: str | None = None) -> int:
    """Number of pixels of a mask, without drawing it."""
    starts, ends = runs(text, shape[0] * shape[1], image)
    return int((ends - starts).sum())


def runs(text: str, pixels: int, image: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """First and past-the-last pixel of each run, column-major; both int64 (K,), ascending.

    Args:
        pixels: Of the whole image.
    """
    where = f"image {image}: " if image else ""
    if not isinstance(text, str):
        raise KitError(f"{where}RLE is {text!r}, not text: write '-1' for an empty mask")
    if text.strip() in ("", EMPTY):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if text.isascii() and text.replace(" ", "").isdigit():
        values = np.fromstring(text, np.int64, sep=" ")  # what is too large becomes the largest number there is
        # Numbers that are each within the image cannot overflow their sum.
        if len(values) % 2 == 0 and values[1::2].all() and values.max() <= pixels:
            borders = np.cumsum(values)
            if borders[-1] <= pixels:
                return borders[::2], borders[1::2]
    return _walk(text, pixels, where)


def _walk(text: str, pixels: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """`runs` pair by pair: names the first wrong one, and reads other white space and signs."""
    words, place = text.split(), 0
    borders: list[int] = []
    for start in range(0, len(words), 2):
        here = f"{where}RLE pair {start // 2 + 1}:"
        pair = []
        for word in words[start : start + 2]:
            if not (number := _NUMBER.fullmatch(word)):
                raise KitError(f"{here} {word!r} is not a whole number of pixels")
            pair.append(int("".join(number.groups())))
        if len(pair) < 2:
            raise KitError(f"{here} has a gap but no length ({len(words)} numbers, an odd count)")
        gap, length = pair
        if gap < 0:
            raise KitError(f"{here} the gap {gap} is negative: runs overlap")
        if length <= 0:
            raise KitError(f"{here} the length {length} is not positive")
        borders += place + gap, place + gap + length
        place = borders[-1]
        if place > pixels:
            raise KitError(f"{here} runs past the last pixel ({place} of {pixels} pixels)")
    return np.array(borders[::2], np.int64), np.array(borders[1::2], np.int64)
