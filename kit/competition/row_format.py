"""The format of label rows: gaps or absolute starts, down the columns or along the rows, and the size of the images.

The competition's rows are gaps down the columns of 1024×1024 images. For rows of other origin the user names a format,
as in `starts-1,rows,900x700`, or it is guessed and reported. Both are checked against the resulting masks.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from kit.competition import rle, shapes
from kit.core.errors import KitError

_MASKS, _RUNS = 20, 8
"""Number of masks to examine, each of which takes milliseconds, and number of runs that a useful mask has at least."""


@dataclass(frozen=True)
class RowFormat:
    """How RLE texts become masks."""

    first: int | None = None
    """Number of the first pixel if each pair begins with its absolute start; None for gaps."""
    along_rows: bool = False
    """Whether pixels run along the rows instead of down the columns."""
    shape: tuple[int, int] | None = None
    """(height, width) of the images that the masks were drawn on; if None, each image's own size."""

    def mask(self, rows: Iterable[str], shape: tuple[int, int], image: str) -> np.ndarray:
        """Returns the union of an image's rows, bool (H, W)."""
        if self.first is not None:
            rows = [from_absolute(text, self.first) for text in rows]
        return rle.union(rows, shape[::-1], image).T if self.along_rows else rle.union(rows, shape, image)

    def as_gaps(self, text: str, shape: tuple[int, int], image: str) -> str:
        """Converts a row to the competition's format."""
        if self.along_rows:
            return rle.encode(self.mask([text], shape, image))
        return text if self.first is None else from_absolute(text, self.first)

    def __str__(self) -> str:
        """The format as `parse` reads it."""
        parts = ["gaps" if self.first is None else f"starts-{self.first}", "rows" if self.along_rows else "columns"]
        return ",".join(parts + (["{}x{}".format(*self.shape)] if self.shape else []))


def parse(text: str) -> RowFormat:
    """Parses a format written by the user: `gaps`, `starts-0` or `starts-1`, `columns` or `rows`, `HEIGHTxWIDTH`.

    >>> parse("starts-1,rows,900x700")
    RowFormat(first=1, along_rows=True, shape=(900, 700))
    """
    parsed = RowFormat()
    for word in text.lower().replace("×", "x").split(","):
        if word in ("gaps", "starts-0", "starts-1"):
            parsed = replace(parsed, first=None if word == "gaps" else int(word[-1]))
        elif word in ("columns", "rows"):
            parsed = replace(parsed, along_rows=word == "rows")
        elif sides := re.fullmatch(r"0*([1-9]\d{0,4})x0*([1-9]\d{0,4})", word):
            parsed = replace(parsed, shape=(int(sides[1]), int(sides[2])))
        else:
            raise KitError(f"--rle {text}: {word!r} is not gaps, starts-0, starts-1, columns, rows or HEIGHTxWIDTH")
    return parsed


def guess(labels: Mapping[str, tuple[str, ...]], sizes: Mapping[str, tuple[int, int]]) -> RowFormat:
    """Guesses the format in which most rows are valid.

    Rows that do not fit their images are taken as drawn on the competition's 1024×1024 originals. Starts are taken as
    absolute if more rows are valid as absolute starts alone than as gaps alone.

    Args:
        sizes: (H, W) of each readable image.
    """
    texts = [(image, text) for image, rows in labels.items() for text in rows if text.strip() not in ("", rle.EMPTY)]

    def count(shape: tuple[int, int] | None) -> Counter[tuple[bool, bool]]:
        return Counter(_validity(text, math.prod(shape or sizes.get(image, rle.SHAPE))) for image, text in texts)

    at_own_size, at_full_size = count(None), count(rle.SHAPE)
    neither = False, False  # valid neither as gaps nor as starts
    broken = at_full_size[neither]  # at either size, so that they show nothing
    too_large = at_own_size[neither] - broken
    # Not all need be too large: small masks near the first pixel fit any size.
    shape = rle.SHAPE if too_large > (len(texts) - broken) / 4 else None
    counts = at_full_size if shape else at_own_size
    if counts[False, True] <= counts[True, False]:
        return RowFormat(shape=shape)
    starts = [int(text.split()[0]) for _, text in texts if text.split()[0].isdecimal()]
    return RowFormat(first=min(1, *starts), shape=shape)


def misfit(row_format: RowFormat, labels: Mapping[str, tuple[str, ...]], sizes: Mapping[str, tuple[int, int]]) -> str:
    """Explains why masks in a format fall apart; empty if they hang together, or are too few to tell.

    Neighbouring columns of a mask overlap, so a text decoded at the right height repeats itself after the height of a
    column. If it repeats itself after another number of pixels, the height or the direction is wrong.

    Args:
        sizes: (H, W) of each image.
    """
    whole = row_format.shape
    unlike = [image for image in labels if whole and not shapes.are_proportional(sizes.get(image, whole), whole)]
    if whole and unlike:
        drawn, image_size = ("{}×{}".format(*shape) for shape in (whole, sizes[unlike[0]]))
        return (
            f"the rows are taken for {drawn} pixels, and {len(unlike)} images are of another proportion, as "
            f"{unlike[0]} of {image_size} (height×width): give --rle HEIGHTxWIDTH of the images that they were drawn on"
        )
    groups: dict[tuple[int, int], list[str]] = {}
    for image, rows in labels.items():
        if (shape := row_format.shape or sizes.get(image)) is not None:
            groups.setdefault(shape, []).extend(rows)
    for shape, texts in groups.items():
        period, other = shape[::-1] if row_format.along_rows else shape
        better = _better_period(_mean_autocorrelation(row_format, texts, shape), period)
        if better is None:
            continue
        side, direction = ("width", "columns") if row_format.along_rows else ("height", "rows")
        why, how = "they are of images of another size", "HEIGHTxWIDTH of the images that they were drawn on"
        if period != other and abs(better - other) <= _tolerance(other):
            why, how = f"their pixels run along {direction}", direction
        return (
            f"the rows fall apart at a {side} of {period} pixels and hang together at {better}, so {why}: "
            f"give `kit import` --rle {how}"
        )
    return ""


def _mean_autocorrelation(row_format: RowFormat, texts: Iterable[str], shape: tuple[int, int]) -> np.ndarray:
    """Returns the mean autocorrelation of the longest texts' masks; zeros if fewer than three masks are useful."""
    correlations = []
    for text in sorted(texts, key=len, reverse=True)[:_MASKS]:
        try:
            mask = row_format.mask([text], shape, "")
        except KitError:  # reported elsewhere with its image
            continue
        flat = np.trim_zeros((mask if row_format.along_rows else mask.T).ravel())
        if np.count_nonzero(np.diff(flat)) >= 2 * (_RUNS - 1):
            correlations.append(_autocorrelation(flat, 2 * max(shape)))
    return np.mean(correlations, axis=0) if len(correlations) >= 3 else np.zeros(2 * max(shape) + 1)


def _autocorrelation(mask: np.ndarray, most: int) -> np.ndarray:
    """Returns the share of a mask's pixels, bool (P,), that are foreground again at each lag; float (most + 1,)."""
    from scipy import fft

    length = fft.next_fast_len(len(mask) + most + 1, real=True)
    correlation: np.ndarray = fft.irfft(np.abs(fft.rfft(mask.astype(np.float32), length)) ** 2, length)[: most + 1]
    return correlation / correlation[0]


def _better_period(overlap: np.ndarray, period: int) -> int | None:
    """Returns the lag at which masks overlap themselves most; None if it is the expected period, or uncertain."""
    near = _tolerance(period)  # tilted masks overlap best at a slightly different lag
    at_period = float(overlap[period - near : period + near + 1].max())
    apart = np.flatnonzero(overlap < 0.5 * max(at_period, 0.5))
    if not len(apart) or apart[0] >= period - near:
        return None  # masks as high as the image
    lags = np.arange(len(overlap))
    elsewhere = np.where((lags > apart[0]) & (np.abs(lags - period) > near), overlap, 0)
    elsewhere[lags > period] /= 1.1  # a mask that repeats itself at `period` does so, a little less, after two columns
    best = int(elsewhere.argmax())
    return best if elsewhere[best] > max(at_period, 0.3) else None


def _tolerance(period: int) -> int:
    return 1 + period * 3 // 200


def is_absolute(text: str, pixels: int) -> bool:
    """Whether a text is invalid as gaps, and valid as starts counted from the image's first pixel.

    >>> is_absolute("5 2 40 3 90 1", 100), is_absolute("5 2 40 3 20 1", 100), is_absolute("5 2 90 30", 100)
    (True, False, False)
    """
    return _validity(text, pixels) == (False, True)


def from_absolute(text: str, first: int = 1) -> str:
    """Converts a text of absolute starts, in which the first pixel has the number `first`, to gaps.

    Raises:
        KitError: the text has an odd number of values, or values that are not whole numbers.

    >>> from_absolute("5 2 40 3 90 1")
    '4 2 33 3 47 1'
    """
    words = text.split()
    if not words or text.strip() == rle.EMPTY:
        return rle.EMPTY
    if len(words) % 2 or not all(re.fullmatch(r"-?\d{1,18}", word, re.ASCII) for word in words):
        raise KitError("RLE is not pairs of a start and a length, in whole numbers")
    values = list(map(int, words))
    ends = [start + length for start, length in zip(values[::2], values[1::2], strict=True)]
    gaps = [start - end for start, end in zip(values[::2], [first, *ends], strict=False)]
    return " ".join(f"{gap} {length}" for gap, length in zip(gaps, values[1::2], strict=True))


def _validity(text: str, pixels: int) -> tuple[bool, bool]:
    """Whether a text is valid on an image of that many pixels as gaps, and as absolute starts."""
    try:
        rle.runs(text, pixels)
        as_gaps = True
    except KitError:
        as_gaps = False
    words = text.split()
    if not words or len(words) % 2 or not all(re.fullmatch(r"\d{1,18}", word, re.ASCII) for word in words):
        return as_gaps, False
    values = np.array(list(map(int, words)), np.int64)
    starts, lengths = values[::2], values[1::2]
    ends = starts + lengths
    return as_gaps, bool(lengths.all() and np.all(ends[:-1] <= starts[1:]) and ends[-1] <= pixels + 1)
