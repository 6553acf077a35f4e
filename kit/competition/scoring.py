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
"""Pixels of the competition's images; areas are counted at this size whatever the size of a map."""


@dataclass(frozen=True)
class Solution:
    """Ground truth of a test set."""

    masks: Labels
    """RLE texts of each image's regions."""
    usage: dict[str, str]
    """Part of the leaderboard of each image: `public`, `private` or `ignored`."""


@dataclass(frozen=True)
class Scores:
    """Scores of a submission."""

    public: float | None
    """Mean Dice in [0, 1]; None if the part has no images."""
    private: float | None
    images: dict[str, float]
    """Dice of each image in either part."""


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Returns 2 |X ∩ Y| / (|X| + |Y|) of two masks (paper equation 5), 1 if both are empty.

    Args:
        predicted: (H, W), bool or numbers; nonzero is foreground.
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
    """Reads `ImageId,EncodedPixels,Usage`, several rows per image as in the labels; without Usage all are public.

    Raises:
        KitError: the file is malformed, or an image belongs to two parts.
    """
    columns = COLUMNS if len(header(path)) == len(COLUMNS) else (*COLUMNS, "Usage")
    table = rows(path, columns)
    usage: dict[str, str] = {}
    for line, (image_id, _, *optional) in table:
        part = optional[0].lower() if optional else PUBLIC
        if part not in (PUBLIC, PRIVATE, IGNORED):
            raise KitError(f"{path}:{line}: Usage is {optional[0]!r}: expected Public or Private")
        if usage.setdefault(image_id, part) != part:
            raise KitError(f"{path}:{line}: image {image_id} is both {usage[image_id]} and {part}: keep one")
    return Solution(group((image_id, text) for _, (image_id, text, *_) in table), usage)


def assign_usage(positive: Sequence[bool]) -> list[str]:
    """Assigns test images to the leaderboard's parts: of ten positives or negatives, the 1st, 4th and 7th are public.

    >>> assign_usage([True, False, False, True])
    ['Public', 'Public', 'Private', 'Private']
    """
    numbers = {True: itertools.count(), False: itertools.count()}
    return ["Public" if next(numbers[kind]) % 10 in (0, 3, 6) else "Private" for kind in positive]


def score(submission: Mapping[str, str], solution: Solution, shape: Shape = rle.SHAPE) -> Scores:
    """Scores RLE texts against the ground truth.

    Args:
        submission: RLE text of each image.
        shape: (height, width) of all images, or of each image by id.

    Raises:
        KitError: an image is missing from the submission or from the solution, or a text of either is malformed.
    """
    scored = [image_id for image_id, part in solution.usage.items() if part != IGNORED]
    missing = [image_id for image_id in scored if image_id not in submission]
    if missing:
        raise KitError(f"the submission lacks {len(missing)} of the solution's images, as {missing[0]}: add their rows")
    unknown = [image_id for image_id in submission if image_id not in solution.usage]
    if unknown:
        raise KitError(
            f"the solution lacks {len(unknown)} of the submission's images, as {unknown[0]}: add their truth"
        )
    for image_id in scored:
        for text in solution.masks[image_id]:  # `_image_dice` does not decode the truth of an empty prediction
            try:
                rle.runs(text, math.prod(shapes.shape_of(shape, image_id)), image_id)
            except KitError as error:
                raise KitError(f"the solution is malformed: {error}: fetch it again") from None
    images = {
        image_id: _image_dice(
            submission[image_id], solution.masks[image_id], shapes.shape_of(shape, image_id), image_id
        )
        for image_id in scored
    }
    public, private = (
        _mean([images[image_id] for image_id in scored if solution.usage[image_id] == part])
        for part in (PUBLIC, PRIVATE)
    )
    return Scores(public, private, images)


def _image_dice(text: str, truth: tuple[str, ...], shape: tuple[int, int], image_id: str) -> float:
    empty = not rle.area(text, shape, image_id)
    if empty or not truth:  # most images: no mask has to be decoded
        return float(empty and not truth)
    return dice(rle.decode(text, shape, image_id), rle.union(truth, shape, image_id))


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def format_dice(figures: Mapping[str, Any]) -> str:
    """Formats a mean Dice with the scores that put it into perspective.

    Args:
        figures: `dice`; optionally `dice_positives`, and `dice_all_empty`, the Dice of predicting nothing.

    >>> format_dice({"dice": 0.775, "dice_positives": 0.145, "dice_all_empty": 0.7778})
    '0.7750 (positives 0.1450, all empty 0.7778)'
    >>> format_dice({"dice": 0.775, "dice_positives": None})
    '0.7750'
    """
    names = {"positives": "dice_positives", "all empty": "dice_all_empty"}
    scores = {text: figures.get(key) for text, key in names.items()}
    details = ", ".join(f"{text} {value:.4f}" for text, value in scores.items() if value is not None and value == value)
    return f"{figures['dice']:.4f}" + (f" ({details})" if details else "")


def verdict(figures: Mapping[str, Any], page: Path | str | None = None) -> str:
    """Advises on a run that is no better than an empty submission, in one line; empty for a better run.

    Args:
        figures: `nested_dice`, `interval` (its 95 % interval) and `dice_all_empty`, as in thresholds.json; if one is
            missing or None, there is no verdict.
        page: The run's report, if it was just made.

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
