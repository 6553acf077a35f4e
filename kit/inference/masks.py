"""From maps to masks: each image by itself, or a whole test set of which a fixed share of images gets a mask.

Thresholds that are best on the out-of-fold maps of single networks do not fit the mean of several networks, which may
be calibrated differently, nor a test set on which the networks are less certain: a fixed `removal` then keeps too few
masks or too many. The ranking of the images survives both. So the thresholds decide what an image's mask looks like,
and a share decides how many images get one: those with the most evidence.

A share is allowed if a whole test set is given and its prevalence is expected to be the recipe's, as in a competition.
It is not for a clinic, where each mask must depend on its own image alone.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kit.competition import shapes
from kit.competition.rle import EMPTY, encode
from kit.competition.shapes import Shape
from kit.core.arrays import open_array
from kit.core.errors import KitError
from kit.core.parallel import map_in_order
from kit.inference.maps import open_maps, upsample
from kit.inference.rules import Rule


class MaskEncoder:
    """Collects the masks of a set of images as RLE text.

    Args:
        share: Share of the images that get a mask; if None, the rule's own cut decides each image.
    """

    def __init__(self, rule: Rule, share: float | None = None) -> None:
        self._rule, self._share = rule, share
        self._texts: dict[str, str] = {}
        self._evidence: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._texts

    def add(self, image_id: str, levels: np.ndarray, image_probability: float | None = None) -> None:
        """Adds an image, from any thread: levels uint8 (H, W), and for a gated rule P(any pneumothorax)."""
        if self._share is None:
            mask = self._rule.mask(levels, image_probability)
        else:
            mask, self._evidence[image_id] = self._rule.candidate(levels, image_probability)
        self._texts[image_id] = encode(mask)

    def rle(self) -> dict[str, str]:
        """Returns the RLE text of each image so far, by id; "-1" for an empty mask. Other threads may go on adding."""
        texts = dict(self._texts)
        if self._share is None:
            return texts
        evidence = np.array([self._evidence[image_id] for image_id in texts])
        chosen = rank_quantiles(evidence) <= self._share
        return {image_id: text if keep else EMPTY for (image_id, text), keep in zip(texts.items(), chosen, strict=True)}


def rank_quantiles(evidence: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Returns the smallest share of masks at which each image gets one, (N,) in (0, 1); infinite without evidence.

    Images with equal evidence have the same rank. An image gets its mask once the share covers half of its weight, so
    that a share is rounded to whole images.

    Args:
        evidence: Evidence of each image, (N,).
        weights: Weight of each image, (N,); equal by default.

    >>> rank_quantiles(np.array([5.0, 0.0, 9.0, 1.0]))
    array([0.375,   inf, 0.125, 0.625])
    """
    weights = np.ones(len(evidence)) if weights is None else weights
    values, which = np.unique(-evidence, return_inverse=True)  # the most evidence first
    order = np.argsort(which, kind="stable")
    middle = (np.cumsum(weights[order]) - weights[order] / 2) / weights.sum()
    first = np.full(len(values), np.inf)
    np.minimum.at(first, which[order], middle)
    return np.where(evidence > 0, first[which], np.inf)


def stored_inputs(
    rule: Rule,
    maps_path: Path,
    image_probabilities_path: Path,
    shape: Shape,
    ids: Sequence[str] | None = None,
) -> Iterator[tuple[str, np.ndarray, float | None]]:
    """Yields a rule's inputs for each image of stored maps, in order, without images that could not be read.

    Args:
        maps_path: .npy (N, h, w); maps are resized to the masks' size.
        image_probabilities_path: .npy (N,), read for a gated rule only.
        shape: (H, W) of all masks, or the shape of each.
        ids: Images to yield; all by default.

    Yields:
        The image's id, its levels, uint8 (H, W), and for a gated rule P(the image has any pneumothorax).
    """
    maps = open_maps(maps_path)
    probabilities = read_image_probabilities(image_probabilities_path, len(maps)) if rule.gate is not None else None
    chosen = set(maps.ids if ids is None else ids) - maps.unreadable

    def read(index: int) -> tuple[str, np.ndarray, float | None]:
        probability = None if probabilities is None else float(probabilities[index])
        return maps.ids[index], upsample(maps[index], shapes.shape_of(shape, maps.ids[index])), probability

    return map_in_order(read, [index for index, image_id in enumerate(maps.ids) if image_id in chosen])


def stored_masks(
    rule: Rule,
    maps_path: Path,
    image_probabilities_path: Path,
    shape: Shape,
    ids: Sequence[str] | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """Yields id and mask, bool (H, W), of each image of stored maps; arguments as for `stored_inputs`."""
    for image_id, levels, probability in stored_inputs(rule, maps_path, image_probabilities_path, shape, ids):
        yield image_id, rule.mask(levels, probability)


def read_image_probabilities(path: Path, count: int) -> np.ndarray:
    """Reads P(the image has any pneumothorax) of each image of a file of maps, float (N,)."""
    try:
        values = np.array(open_array(path))
    except KitError as error:
        raise KitError(f"{error}; `make train predict` restores those of a run") from None
    if values.shape != (count,) or values.dtype.kind != "f":
        raise KitError(f"{path}: holds {values.dtype} {values.shape} for {count} maps: run `make train predict` again")
    return values
