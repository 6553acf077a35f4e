"""The competition's score: mean Dice over the images, on the public and the private part of the test set."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.competition import rle, shapes
from kit.competition.labels import COLUMNS, Labels, group, header, rows
from kit.competition.shapes import Shape
from kit.core.errors import KitError

PUBLIC, PRIVATE, IGNORED = "public", "private", "ignored"
FULL_AREA = 1024 * 1024
"""Pixels of the competition's images; areas are counted in them whatever the size of a map."""


@dataclass(frozen=True)
class Solution:
    """The truth of a test set."""

    masks: Labels
    """RLE texts of each image's regions."""
    usage: dict[str, str]
    """`public`, `private` or `ignored`, of each image."""


@dataclass(frozen=True)
class Scores:
    """What a submission scores."""

    public: float | None
    """Mean Dice in [0, 1]; None where the part has no images."""
    private: float | None
    images: dict[str, float]
    """Dice of each image that counts."""


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """2 |X ∩ Y| / (|X| + |Y|) of two masks (paper equation 5); 1 where both are empty.

    Args:
        predicted: (H, W), bool or any numbers; what is not 0 is foreground.
        truth: As `predicted`, of the same shape.

    Raises:
        KitError: the shapes differ.

    >>> dice(np.array([[True, True]]), np.array([[True, False]]))
    0.6666666666666666
    >>> dice(np.zeros((2, 2), bool), np.zeros((2, 2), bool))
    1.0
    """
    if np.shape(predicted) != np.shape(truth):
        raise KitError(f"masks of shapes {np.shape(predicted)} and {np.shape(truth)} cannot be compared: resize one")
    predicted, truth = np.asarray(predicted, bool), np.asarray(truth, bool)
    area = np.count_nonzero(predicted) + np.count_nonzero(truth)
    return float(2 * np.count_nonzero(predicted & truth) / area) if area else 1.0


def read_solution(path: Path | str) -> Solution:
    """Reads `ImageId,EncodedPixels,Usage`, several rows an image as in the labels; without Usage all is public.

    Raises:
        KitError: the file is malformed, or an image is on both sides.
    """
    columns = COLUMNS if len(header(path)) == len(COLUMNS) else (*COLUMNS, "Usage")
    table = rows(path, columns)
    usage: dict[str, str] = {}
    for line, (image_id, _, *given) in table:
        part = given[0].lower() if given else PUBLIC
        if part not in (PUBLIC, PRIVATE, IGNORED):
            raise KitError(f"{path}:{line}: Usage is {given[0]!r}: Public or Private is wanted")
        if usage.setdefault(image_id, part) != part:
            raise KitError(f"{path}:{line}: image {image_id} is both {usage[image_id]} and {part}: keep one")
    return Solution(group((image_id, text) for _, (image_id, text, *_) in table), usage)


def usage(positive: Sequence[bool]) -> list[str]:
    """Which part of a leaderboard each test image counts for: of both kinds the 1st, 4th and 7th of ten are public.

    >>> usage([True, False, False, True])
    ['Public', 'Public', 'Private', 'Private']
    """
    seen = {True: itertools.count(), False: itertools.count()}
    return ["Public" if next(seen[kind]) % 10 in (0, 3, 6) else "Private" for kind in positive]


def score(submission: Mapping[str, str], solution: Solution, shape: Shape = rle.SHAPE) -> Scores:
    """Scores RLE texts against the truth.

    Args:
        submission: RLE text of each image.
        shape: (height, width) of the images, or of each.

    Raises:
        KitError: an image is missing from the submission or from the solution, or a text of either is malformed.
    """
    counted = [image_id for image_id, part in solution.usage.items() if part != IGNORED]
    missing = [image_id for image_id in counted if image_id not in submission]
    if missing:
        raise KitError(f"the submission lacks {len(missing)} of the solution's images, as {missing[0]}: add their rows")
    strange = [image_id for image_id in submission if image_id not in solution.usage]
    if strange:
        raise KitError(
            f"the solution lacks {len(strange)} of the submission's images, as {strange[0]}: add their truth"
        )
    for image_id in counted:
        for text in solution.masks[image_id]:  # where the submission is empty nobody would look at it
            try:
                rle.runs(text, math.prod(shapes.shape_of(shape, image_id)), image_id)
            except KitError as error:
                raise KitError(f"the solution is malformed: {error}: fetch it again") from None
    images = {
        image_id: _image_dice(
            submission[image_id], solution.masks[image_id], shapes.shape_of(shape, image_id), image_id
        )
        for image_id in counted
    }
    public, private = (
        _mean([images[image_id] for image_id in counted if solution.usage[image_id] == part])
        for part in (PUBLIC, PRIVATE)
    )
    return Scores(public, private, images)


def _image_dice(text: str, truth: tuple[str, ...], shape: tuple[int, int], image_id: str) -> float:
    empty = not rle.area(text, shape, image_id)
    if empty or not truth:  # most images: nothing needs to be drawn
        return float(empty and not truth)
    return dice(rle.decode(text, shape, image_id), rle.union(truth, shape, image_id))


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def format_dice(figures: Mapping[str, Any]) -> str:
    """A mean Dice, with the figures beside it without which it says little.

    Args:
        figures: `dice`; `dice_positives` and `dice_all_empty`, that of predicting nothing, where they are known.

    >>> format_dice({"dice": 0.775, "dice_positives": 0.145, "dice_all_empty": 0.7778})
    '0.7750 (positives 0.1450, all empty 0.7778)'
    >>> format_dice({"dice": 0.775, "dice_positives": None})
    '0.7750'
    """
    names = {"positives": "dice_positives", "all empty": "dice_all_empty"}
    known = {text: figures.get(key) for text, key in names.items()}
    beside = ", ".join(f"{text} {value:.4f}" for text, value in known.items() if value is not None and value == value)
    return f"{figures['dice']:.4f}" + (f" ({beside})" if beside else "")


def verdict(figures: Mapping[str, Any], page: Path | str | None = None) -> str:
    """What to do about a run that is no better than an empty submission, in a line; empty for a run that is.

    Args:
        figures: `nested_dice`, `interval` (its 95 % interval) and `dice_all_empty`, as in thresholds.json. Where one
            is missing or None there is nothing to say.
        page: The run's report, where it was just made.

    >>> verdict({"nested_dice": 0.4267, "interval": [0.36, 0.49], "dice_all_empty": 0.5})
    'no better than an empty submission, which scores 0.5000 on the same images: see what it misses (`make report`), \
then train longer, at a larger size or on more images'
    >>> verdict({"nested_dice": 0.51, "interval": [0.46, 0.56], "dice_all_empty": 0.5})[:48]
    'not clearly better than an empty submission, whi'
    >>> verdict({"nested_dice": 0.95, "interval": [0.92, 0.97], "dice_all_empty": 0.77})
    ''
    """
    nested, interval, empty = (figures.get(name) for name in ("nested_dice", "interval", "dice_all_empty"))
    if nested is None or interval is None or empty is None or interval[0] > empty:
        return ""
    how = "no better" if nested <= empty else "not clearly better"
    return (
        f"{how} than an empty submission, which scores {empty:.4f} on the same images: see what it misses "
        f"({page or '`make report`'}), then train longer, at a larger size or on more images"
    )
