"""A split that comes with a data set: `splits.csv`, `ImageId,Fold`, its folds counted as the kit counts them."""

import re
from collections.abc import Iterable
from pathlib import Path

from kit.competition import labels
from kit.core.errors import KitError

NAME = "splits.csv"


def read(path: Path) -> dict[str, int]:
    """The fold of each image by a `splits.csv`.

    Raises:
        KitError: the file is malformed, or an image has two folds.
    """
    found: dict[str, int] = {}
    for line, (image, text) in labels.rows(path, ("ImageId", "Fold")):
        if not re.fullmatch(r"-1|\d{1,4}", text):
            raise KitError(f"{path}:{line}: fold {text!r}: from 0, or -1 where it only trains")
        if found.setdefault(image, int(text)) != int(text):
            raise KitError(f"{path}:{line}: {image} has two folds, {found[image]} and {text}: keep one")
    return found


def read_folds(path: Path, images: Iterable[str]) -> list[int]:
    """The fold of each training image, by the file.

    Raises:
        KitError: as `read`, or an image has no row.
    """
    given, wanted = read(path), list(images)
    if missing := [image for image in wanted if image not in given]:
        raise KitError(f"{path}: has no row for {len(missing)} training images, as {missing[0]}: add them")
    return [given[image] for image in wanted]
