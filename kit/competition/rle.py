"""The competition's run-length encoding: column-major pairs `gap length`, each gap counted from the last run's end.

`-1` or an empty text is no mask. Pixels run down the columns, the columns from left to right.
"""

import re
from collections.abc import Iterable

import numpy as np

from kit.errors import KitError

EMPTY = "-1"
SHAPE = (1024, 1024)
_NUMBERS = re.compile(r"\s*(?:[+-]?\d+\s+)*[+-]?\d+\s*", re.ASCII)


def decode(text: str, shape: tuple[int, int] = SHAPE, image: str | None = None) -> np.ndarray:
    """The mask of one text.

    Args:
        text: Pairs `gap length` separated by white space; `-1` or empty for no mask.
        shape: (height, width) of the image.
        image: Its id, for messages.

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
    lengths = ends - starts
    # Every foreground pixel's place at once: counting on from the start of its run.
    before = np.cumsum(lengths) - lengths
    flat[np.repeat(starts - before, lengths) + np.arange(lengths.sum())] = True
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
    # Look at memory in its own order, and only at the box that holds the mask.
    by_columns = mask.flags.f_contiguous
    lines = mask.T if by_columns else mask
    touched = np.flatnonzero(lines.any(axis=1))
    if not len(touched):
        return EMPTY
    low, high = int(touched[0]), int(touched[-1]) + 1
    across = np.flatnonzero(lines[low:high].any(axis=0))
    left, right = int(across[0]), int(across[-1]) + 1
    box = lines[low:high, left:right]
    (box, first_column, first_row) = (box, low, left) if by_columns else (box.T, left, low)  # (columns, rows)
    columns, rows = box.shape
    # A row of background below each column, and one pixel before all, so that every run has two edges.
    flat = np.zeros(columns * (rows + 1) + 1, bool)
    flat[1:].reshape(columns, rows + 1)[:, :rows] = box
    column, row = np.divmod(np.flatnonzero(flat[1:] != flat[:-1]), rows + 1)
    edges = (first_column + column) * mask.shape[0] + first_row + row  # start, end, start, end, …
    # A run that leaves a column at its foot goes on at the next one's head.
    apart = np.append(True, edges[2::2] != edges[1:-1:2])
    edges = np.stack([edges[::2][apart], edges[1::2][np.append(apart[1:], True)]], axis=1).ravel()
    return " ".join(map(str, np.diff(edges, prepend=0).tolist()))


def union(rows: Iterable[str], shape: tuple[int, int] = SHAPE, image: str | None = None) -> np.ndarray:
    """The mask of an image: the union of its rows, which may overlap. bool (height, width)."""
    mask = np.zeros(shape, bool)
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
        text: As in `decode`.
        pixels: Of the whole image.
        image: Its id, for messages.

    Raises:
        KitError: as `decode`.
    """
    where = f"image {image}: " if image else ""
    if not isinstance(text, str):
        raise KitError(f"{where}RLE is {text!r}, not text: write '-1' for an empty mask")
    if text.strip() in ("", EMPTY):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if not _NUMBERS.fullmatch(text):
        number, word = next((i, word) for i, word in enumerate(text.split()) if not _NUMBERS.fullmatch(word))
        raise KitError(f"{where}RLE pair {number // 2 + 1}: {word!r} is not a whole number of pixels")
    values = np.fromstring(text, np.int64, sep=" ")  # what is too large for it becomes the largest number there is
    if len(values) % 2:
        raise KitError(
            f"{where}RLE pair {len(values) // 2 + 1}: has a gap but no length ({len(values)} numbers, an odd count)"
        )
    gaps, lengths = values[::2], values[1::2]
    # Sums of numbers that are each in the image cannot overflow before the first run that leaves it is seen.
    for wrong, reason in (
        (gaps < 0, "the gap {gap} is negative: runs overlap"),
        (lengths <= 0, "the length {length} is not positive"),
        (
            (gaps > pixels) | (lengths > pixels),
            "gap {gap} and length {length} run past the last pixel ({pixels} pixels)",
        ),
    ):
        if wrong.any():
            pair = int(wrong.argmax())
            reason = reason.format(gap=gaps[pair], length=lengths[pair], pixels=pixels)
            raise KitError(f"{where}RLE pair {pair + 1}: {reason}")
    stops = np.cumsum(values)
    starts, ends = stops[::2], stops[1::2]
    if ends[-1] > pixels:
        pair = int((ends > pixels).argmax())
        raise KitError(f"{where}RLE pair {pair + 1}: runs past the last pixel ({ends[pair]} of {pixels} pixels)")
    return starts, ends
