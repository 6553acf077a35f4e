"""Mean precision over ten thresholds of IoU, which the paper's Tables 5, 7 and 10 call IoU.

The code of the paper's first author (metric_loss.py of github.com/Ayat-Abedalla/Ens4B-UNet) computes for each image the
share of the thresholds 0.50, 0.55, …, 0.95 that its IoU exceeds. It compares masks at the size of the network and
counts R-TH in pixels of the network, whereas for submissions the same code counts R-TH in pixels of 1024×1024.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from kit.competition import rle, shapes
from kit.competition.labels import Labels
from kit.competition.shapes import Shape
from kit.core.parallel import map_in_order
from kit.data.resize import resize_mask
from kit.inference.maps import open_maps
from kit.inference.rules import level_of
from kit.recipes.schema import Recipe


def mean_precision(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Returns the share of the thresholds 0.50, 0.55, …, 0.95 that the IoU of two masks exceeds; 1 if both are empty.

    Args:
        predicted: bool (H, W).
        truth: bool (H, W).

    Returns:
        In [0, 1], a multiple of 0.1.

    >>> truth = np.arange(20).reshape(4, 5) < 10
    >>> mean_precision(truth, truth), mean_precision(truth[::-1], truth), mean_precision(truth & False, truth & False)
    (1.0, 0.0, 1.0)
    >>> predicted = np.arange(20).reshape(4, 5) < 7  # an IoU of 0.7: above 0.50, 0.55, 0.60 and 0.65
    >>> mean_precision(predicted, truth)
    0.4
    """
    union = np.count_nonzero(predicted | truth)
    if not union:
        return 1.0
    overlap = np.count_nonzero(predicted & truth)
    return float(np.mean(20 * overlap > np.arange(10, 20) * union))


def of_maps(maps_path: Path, labels: Labels, shape: Shape, recipe: Recipe, removal: int) -> pd.Series:
    """Computes the mean precision of each image of stored maps, by id, at the maps' own size and by the recipe's B-TH.

    Args:
        maps_path: Path to the maps, uint8 levels (N, S, S).
        labels: RLE texts of each image's regions.
        shape: (H, W) of all images or of each image.
        removal: Masks with fewer pixels of the map become empty.
    """
    maps, threshold = open_maps(maps_path), level_of(recipe.threshold.binarization)

    def score(index: int) -> tuple[str, float]:
        image_id, predicted = maps.ids[index], maps[index] >= threshold
        truth = rle.union(labels[image_id], shapes.shape_of(shape, image_id), image_id)
        if np.count_nonzero(predicted) < removal:
            predicted = np.zeros_like(predicted)
        return image_id, mean_precision(predicted, resize_mask(truth, len(predicted), recipe.mask_resizing))

    readable = [index for index, image_id in enumerate(maps.ids) if image_id not in maps.unreadable]
    scores: Iterator[tuple[str, float]] = map_in_order(score, readable)
    return pd.Series(dict(scores), dtype=float)
