"""Thresholds for maps and masks that are at hand, as arrays or files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kit.core.errors import KitError
from kit.core.suggest import did_you_mean
from kit.inference.maps import open_maps, to_levels
from kit.thresholds import selection
from kit.thresholds.external import open_masks
from kit.thresholds.selection import Result

Stack = np.ndarray | Sequence[np.ndarray] | Path | str
"""N images: one array (N, H, W), an array (H, W) each, or a .npy file."""


def choose_thresholds(
    maps: Stack,
    masks: Stack,
    rule: str = "image",
    folds: Sequence[int] | None = None,
    patients: Sequence[str] | None = None,
    removal: Sequence[int] | None = None,
    prevalence: float | None = None,
) -> Result:
    """Finds the best thresholds of a rule, exactly, on maps with known truth.

    Args:
        maps: Probabilities in [0, 1], or uint8 levels v for p = v / 255.
        masks: The truth: bool, or numbers that are 0 outside the mask; of the size of the maps or larger.
        rule: `image`, `component`, `triplet` or `expected`.
        folds: Of each image, for the nested estimate; without, patients are split into five groups.
        patients: Of each image; without, each image is a patient of its own.
        removal: Values to choose from, in pixels of a 1024×1024 image; None: all that make a difference.
        prevalence: Expected share of positives in (0, 1), if it is not that of these images.

    Returns:
        The rule, whose `mask` turns levels into a mask; its Dice on these images, with a bootstrap interval; and its
        Dice where each fold's thresholds are chosen on the other folds.

    Raises:
        KitError: there is no such rule, or maps and masks do not fit together.

    >>> maps = np.zeros((4, 8, 8))
    >>> maps[:2, :4] = 0.8
    >>> maps[2:, 0, 0] = 0.6
    >>> found = choose_thresholds(maps, maps > 0.7)
    >>> found.rule.name, found.dice, int(found.rule.mask(np.full((8, 8), 255, np.uint8)).sum())
    ('image', 1.0, 64)
    """
    if rule not in selection.KINDS:
        known = ", ".join(selection.KINDS)
        raise KitError(f"rule {rule!r}: is not one of {known}{did_you_mean(rule, selection.KINDS)}")
    levels = open_maps(maps) if isinstance(maps, Path | str) else [_levels(array) for array in maps]
    truth = open_masks(masks) if isinstance(masks, Path | str) else [_mask(array) for array in masks]
    count = len(levels)
    if len(truth) != count:
        raise KitError(f"masks: {len(truth)} for {count} maps: give one a map, in the same order")
    for name, given in (("folds", folds), ("patients", patients)):
        if given is not None and len(given) != count:
            raise KitError(f"{name}: {len(given)} for {count} maps: give one a map")
    owners = [str(index) for index in range(count)] if patients is None else [str(patient) for patient in patients]
    return selection.choose(levels, truth, owners, folds, [rule], removal=removal, prevalence=prevalence)[rule]


def _levels(array: np.ndarray) -> np.ndarray:
    """uint8 (H, W) of a map."""
    array = np.asarray(array)
    if array.ndim != 2 or not array.size or (array.dtype != np.uint8 and array.dtype.kind != "f"):
        raise KitError(f"maps: one is {array.dtype} {array.shape}: give float probabilities or uint8 levels, (H, W)")
    return to_levels(array)


def _mask(array: np.ndarray) -> np.ndarray:
    """The mask as bool (H, W)."""
    array = np.asarray(array)
    if array.ndim != 2 or not array.size:
        raise KitError(f"masks: one has shape {array.shape}: give (height, width)")
    return array != 0
