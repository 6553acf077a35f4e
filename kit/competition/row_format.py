"""What label rows mean: gaps or absolute starts, down the columns or along the rows, on images of which size.

The competition's rows are gaps down the columns of 1024×1024 images. Rows of other makers are told by a format of one's
own, `starts-1,rows,900x700`, or guessed and said; either is held against the masks that come out.
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
"""How many masks are looked at, each of which takes milliseconds, and how many runs each must have to tell anything."""


@dataclass(frozen=True)
class RowFormat:
    """How a text becomes a mask."""

    first: int | None = None
    """Number of the first pixel where each pair begins with its absolute start; None: with a gap."""
    along_rows: bool = False
    """Pixels run along the rows instead of down the columns."""
    shape: tuple[int, int] | None = None
    """(height, width) of the images that the masks were drawn on; None: each image's own."""

    def mask(self, rows: Iterable[str], shape: tuple[int, int], image: str) -> np.ndarray:
        """The union of an image's rows, bool of (H, W)."""
        if self.first is not None:
            rows = [from_absolute(text, self.first) for text in rows]
        return rle.union(rows, shape[::-1], image).T if self.along_rows else rle.union(rows, shape, image)

    def as_gaps(self, text: str, shape: tuple[int, int], image: str) -> str:
        """A row as the competition writes it."""
        if self.along_rows:
            return rle.encode(self.mask([text], shape, image))
        return text if self.first is None else from_absolute(text, self.first)

    def __str__(self) -> str:
        """As `parse` takes it."""
        parts = ["gaps" if self.first is None else f"starts-{self.first}", "rows" if self.along_rows else "columns"]
        return ",".join(parts + (["{}x{}".format(*self.shape)] if self.shape else []))


def parse(text: str) -> RowFormat:
    """A format as a user writes it: `gaps`, `starts-0` or `starts-1`, `columns` or `rows`, `HEIGHTxWIDTH`.

    >>> parse("starts-1,rows,900x700")
    RowFormat(first=1, along_rows=True, shape=(900, 700))
    """
    found = RowFormat()
    for word in text.lower().replace("×", "x").split(","):
        if word in ("gaps", "starts-0", "starts-1"):
            found = replace(found, first=None if word == "gaps" else int(word[-1]))
        elif word in ("columns", "rows"):
            found = replace(found, along_rows=word == "rows")
        elif sides := re.fullmatch(r"0*([1-9]\d{0,4})x0*([1-9]\d{0,4})", word):
            found = replace(found, shape=(int(sides[1]), int(sides[2])))
        else:
            raise KitError(f"--rle {text}: {word!r} is not gaps, starts-0, starts-1, columns, rows or HEIGHTxWIDTH")
    return found


def guess(labels: Mapping[str, tuple[str, ...]], sizes: Mapping[str, tuple[int, int]]) -> RowFormat:
    """The format that most rows make sense in.

    Rows that do not fit their pictures are those of the competition's 1024×1024 originals; starts are absolute where
    more rows make sense as such alone than as gaps alone.

    Args:
        sizes: (H, W) of the images that can be read.
    """
    texts = [(image, text) for image, rows in labels.items() for text in rows if text.strip() not in ("", rle.EMPTY)]

    def count(shape: tuple[int, int] | None) -> Counter[tuple[bool, bool]]:
        return Counter(_readings(text, math.prod(shape or sizes.get(image, rle.SHAPE))) for image, text in texts)

    own, whole = count(None), count(rle.SHAPE)
    neither = False, False  # such a row is broken, and proves nothing
    misfits, fitting = own[neither] - whole[neither], len(texts) - whole[neither]
    shape = rle.SHAPE if misfits > fitting / 4 else None  # small masks near the first pixel fit any size
    found = whole if shape else own
    if found[False, True] <= found[True, False]:
        return RowFormat(shape=shape)
    starts = [int(text.split()[0]) for _, text in texts if text.split()[0].isdecimal()]
    return RowFormat(first=min(1, *starts), shape=shape)


def misfit(found: RowFormat, labels: Mapping[str, tuple[str, ...]], sizes: Mapping[str, tuple[int, int]]) -> str:
    """What is wrong where masks fall apart in a format; empty where they hang together, or too few tell.

    Neighbouring columns of a mask overlap, so a text read at the right height repeats itself after as many pixels as a
    column has. Where it repeats itself after another number, the height, or the direction, is not what it is taken for.

    Args:
        sizes: (H, W) of the images.
    """
    whole = found.shape
    strange = [image for image in labels if whole and not shapes.are_proportional(sizes.get(image, whole), whole)]
    if whole and strange:
        own = ["{}×{}".format(*shape) for shape in (whole, sizes[strange[0]])]
        return (
            f"the rows are taken for {own[0]} pixels, and {len(strange)} images are of another proportion, as "
            f"{strange[0]} of {own[1]} (height×width): give --rle HEIGHTxWIDTH of the images that they were drawn on"
        )
    groups: dict[tuple[int, int], list[str]] = {}
    for image, rows in labels.items():
        if (shape := found.shape or sizes.get(image)) is not None:
            groups.setdefault(shape, []).extend(rows)
    for (height, width), texts in groups.items():
        period = width if found.along_rows else height
        correlations = []
        for text in sorted(texts, key=len, reverse=True)[:_MASKS]:
            try:
                mask = found.mask([text], (height, width), "")
            except KitError:  # reported with its image
                continue
            flat = np.trim_zeros((mask if found.along_rows else mask.T).ravel())
            if np.count_nonzero(np.diff(flat)) >= 2 * (_RUNS - 1):
                correlations.append(_autocorrelation(flat, 2 * max(height, width)))
        if len(correlations) < 3:
            continue
        better = _better_period(np.mean(correlations, axis=0), period)
        if better is None:
            continue
        other = height if found.along_rows else width
        turned = height != width and abs(better - other) <= _tolerance(other)
        side, direction = ("width", "columns") if found.along_rows else ("height", "rows")
        why, how = "they are of images of another size", "HEIGHTxWIDTH of the images that they were drawn on"
        if turned:
            why, how = f"their pixels run along {direction}", direction
        return (
            f"the rows fall apart at a {side} of {period} pixels and hang together at {better}, so {why}: "
            f"give `kit import` --rle {how}"
        )
    return ""


def _autocorrelation(mask: np.ndarray, most: int) -> np.ndarray:
    """The share of a mask's pixels, bool (P,), that are in it as well so many pixels further on; float (most + 1,)."""
    from scipy import fft

    length = fft.next_fast_len(len(mask) + most + 1, real=True)
    found: np.ndarray = fft.irfft(np.abs(fft.rfft(mask.astype(np.float32), length)) ** 2, length)[: most + 1]
    return found / found[0]


def _better_period(overlap: np.ndarray, period: int) -> int | None:
    """The number of pixels after which masks repeat themselves where it is not `period`; None where that is unsure.

    Args:
        overlap: Share of the pixels that overlap after each number of pixels.
        period: What it should be.
    """
    near = _tolerance(period)  # tilted masks overlap best a little beside it
    here = float(overlap[period - near : period + near + 1].max())
    apart = np.flatnonzero(overlap < 0.5 * max(here, 0.5))
    if not len(apart) or apart[0] >= period - near:
        return None  # masks as high as the image
    lags = np.arange(len(overlap))
    beside = np.where((lags > apart[0]) & (np.abs(lags - period) > near), overlap, 0)
    beside[lags > period] /= 1.1  # what repeats itself here does so, a little less, after two columns
    best = int(beside.argmax())
    return best if beside[best] > max(here, 0.3) else None


def _tolerance(period: int) -> int:
    return 1 + period * 3 // 200


def is_absolute(text: str, pixels: int) -> bool:
    """Whether a text makes no sense as gaps, and does as starts counted from the image's first pixel.

    >>> is_absolute("5 2 40 3 90 1", 100), is_absolute("5 2 40 3 20 1", 100), is_absolute("5 2 90 30", 100)
    (True, False, False)
    """
    return _readings(text, pixels) == (False, True)


def from_absolute(text: str, first: int = 1) -> str:
    """A text of absolute starts, which count from `first`, as one of gaps.

    Raises:
        KitError: it has an odd number of values, or others than whole numbers.

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


def _readings(text: str, pixels: int) -> tuple[bool, bool]:
    """Whether a text makes sense on an image of so many pixels as gaps, and as starts counted from its first pixel."""
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
