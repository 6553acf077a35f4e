"""The competition's run-length encoding: pairs `gap length` down the columns, each gap counted from the last run's end.

`-1` or an empty text means no mask. Pixels run down the columns, and the columns from left to right.
"""

import re
from collections.abc import Iterable

import cv2
import numpy as np

from kit.core.errors import KitError

EMPTY = "-1"
SHAPE = (1024, 1024)
_NUMBER = re.compile(r"([+-]?)0*(\d{1,18})\d*", re.ASCII)  # 18 digits suffice: such a number exceeds any image


def decode(text: str, shape: tuple[int, int] = SHAPE, image: str | None = None) -> np.ndarray:
    """Decodes one RLE text to a mask.

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
        # The pixels of each run and gap in turn, from the first run on.
        borders = np.stack([starts, ends], axis=1).ravel()
        flat[starts[0] : ends[-1]] = np.repeat(np.arange(len(borders) - 1) % 2 == 0, np.diff(borders))
    return flat.reshape(shape[1], shape[0]).T


def encode(mask: np.ndarray) -> str:
    """Encodes a mask as RLE text, `-1` if it is empty; the inverse of `decode`.

    Args:
        mask: (height, width), bool or numbers; nonzero is foreground.

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
    if mask.flags.f_contiguous and width % 8 == 0:  # eight columns at a time, eight pixels per word
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
    """Returns where pixels differ from the previous one; beyond both ends lies background.

    Args:
        flat: uint8 (P,), 0 or 1.

    Returns:
        int64 (2K,): start, end, start, end, …
    """
    last = len(flat)
    edge = np.empty(last // 8 * 8 + 8, np.uint8)
    edge[0], edge[last], edge[last + 1 :] = flat[0], flat[-1], 0
    np.bitwise_xor(flat[1:], flat[:-1], out=edge[1:last])
    # Nearly all values are 0, so they are searched eight at a time.
    words = edge.view(np.uint64)
    found = np.flatnonzero(words != 0)
    inside = np.flatnonzero(words[found].view(bool))  # bytes within the words found
    return 8 * found[inside >> 3] + (inside & 7)


_WORDS = np.array([f"{number} " for number in range(2048)], "S8").view(np.uint64)
"""Each number as text followed by a space, in eight bytes padded with NULs."""


def _text(edges: np.ndarray) -> str:
    """Returns the first edge and the distances between neighbouring edges, separated by spaces; int64 (N,), N > 1."""
    steps = edges[1:] - edges[:-1]
    try:
        text = _WORDS[steps].tobytes().translate(None, b"\0").decode()
    except IndexError:
        text = "%d " * len(steps) % tuple(steps.tolist())  # twice as fast as join
    return f"{edges[0]} {text[:-1]}"


def union(rows: Iterable[str], shape: tuple[int, int] = SHAPE, image: str | None = None) -> np.ndarray:
    """Decodes all rows of an image, which may overlap, to the union of their masks, bool (height, width)."""
    mask = np.zeros(shape, bool, order="F")  # the memory order of `decode`
    for row in rows:
        mask |= decode(row, shape, image)
    return mask


def area(text: str, shape: tuple[int, int] = SHAPE, image: str | None = None) -> int:
    """Returns the number of pixels of a mask without decoding it to an image."""
    starts, ends = runs(text, shape[0] * shape[1], image)
    return int((ends - starts).sum())


def runs(text: str, pixels: int, image: str | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Returns the first and the past-the-last pixel of each run, column-major; both int64 (K,), ascending.

    Args:
        pixels: Number of pixels in the image.
    """
    where = f"image {image}: " if image else ""
    if not isinstance(text, str):
        raise KitError(f"{where}RLE is {text!r}, not text: write '-1' for an empty mask")
    if text.strip() in ("", EMPTY):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if text.isascii() and text.replace(" ", "").isdigit():
        values = np.fromstring(text, np.int64, sep=" ")  # a number that is too large becomes the largest int64
        # If each number is within the image, their sum cannot overflow.
        if len(values) % 2 == 0 and values[1::2].all() and values.max() <= pixels:
            borders = np.cumsum(values)
            if borders[-1] <= pixels:
                return borders[::2], borders[1::2]
    return _walk(text, pixels, where)


def _walk(text: str, pixels: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Parses a text pair by pair, as `runs`: names the first malformed pair, and accepts signs and any white space."""
    words, place = text.split(), 0
    borders: list[int] = []
    for start in range(0, len(words), 2):
        where_pair = f"{where}RLE pair {start // 2 + 1}:"
        pair = []
        for word in words[start : start + 2]:
            if not (number := _NUMBER.fullmatch(word)):
                raise KitError(f"{where_pair} {word!r} is not a whole number of pixels")
            pair.append(int("".join(number.groups())))
        if len(pair) < 2:
            raise KitError(f"{where_pair} has a gap but no length ({len(words)} numbers, an odd count)")
        gap, length = pair
        if gap < 0:
            raise KitError(f"{where_pair} the gap {gap} is negative: runs overlap")
        if length <= 0:
            raise KitError(f"{where_pair} the length {length} is not positive")
        borders += place + gap, place + gap + length
        place = borders[-1]
        if place > pixels:
            raise KitError(f"{where_pair} runs past the last pixel ({place} of {pixels} pixels)")
    return np.array(borders[::2], np.int64), np.array(borders[1::2], np.int64)
