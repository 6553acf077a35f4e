"""From stored maps to masks: what a rule takes and what it gives, for every image of a file."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from kit.competition import shapes
from kit.competition.shapes import Shape
from kit.core.arrays import open_array
from kit.core.errors import KitError
from kit.core.parallel import ordered
from kit.inference.maps import Maps, open_maps, upsample
from kit.inference.rules import GatedRule, Rule


def inputs(
    maps: Maps,
    shape: Shape,
    image_probabilities: np.ndarray | None = None,
    wanted: Sequence[str] | None = None,
) -> Iterator[tuple[str, np.ndarray, float | None]]:
    """What a rule takes for each image of some maps that could be read, in their order.

    Args:
        maps: Levels, N images.
        shape: (H, W) of the masks, or of each image's; maps of another size are enlarged.
        image_probabilities: For a gated rule, P(the image has any pneumothorax), (N,).
        wanted: Ids to go through; None: all.

    Yields:
        The image's id, its levels, uint8 (H, W), and its probability, if there are any.
    """
    chosen = None if wanted is None else set(wanted)
    indices = [
        index
        for index, image_id in enumerate(maps.ids)
        if image_id not in maps.unreadable and (chosen is None or image_id in chosen)
    ]

    def one(index: int) -> tuple[str, np.ndarray, float | None]:
        given = None if image_probabilities is None else float(image_probabilities[index])
        return maps.ids[index], upsample(maps[index], shapes.of(shape, maps.ids[index])), given

    return ordered(one, indices)


def stored_inputs(
    rule: Rule,
    maps_path: Path,
    image_probabilities_path: Path,
    shape: Shape,
    wanted: Sequence[str] | None = None,
) -> Iterator[tuple[str, np.ndarray, float | None]]:
    """As `inputs`, from files.

    Args:
        rule: A gated one needs the probabilities.
        maps_path: .npy (N, h, w).
        image_probabilities_path: .npy (N,), read for a gated rule only.
        shape: (H, W) of the masks, or of each image's.
        wanted: Ids to go through; None: all.

    Raises:
        KitError: a file is missing or is not what it should be.
    """
    maps = open_maps(maps_path)
    given = read_image_probabilities(image_probabilities_path, len(maps)) if isinstance(rule, GatedRule) else None
    return inputs(maps, shape, given, wanted)


def stored_masks(
    rule: Rule,
    maps_path: Path,
    image_probabilities_path: Path,
    shape: Shape,
    wanted: Sequence[str] | None = None,
) -> Iterator[tuple[str, np.ndarray]]:
    """The id and the mask, bool (H, W), of each image of stored maps that could be read; see `stored_inputs`."""
    for image_id, levels, probability in stored_inputs(rule, maps_path, image_probabilities_path, shape, wanted):
        yield image_id, rule.mask(levels, probability)


def read_image_probabilities(path: Path, count: int) -> np.ndarray:
    """P(the image has any pneumothorax) of each image of a file of maps, float (N,).

    Raises:
        KitError: the file is missing, broken, or of another number of images.
    """
    try:
        values = np.array(open_array(path))
    except KitError as error:
        raise KitError(f"{error}; `make train predict` restores those of a run") from None
    if values.shape != (count,) or values.dtype.kind != "f":
        raise KitError(f"{path}: holds {values.dtype} {values.shape} for {count} maps: run `make train predict` again")
    return values
