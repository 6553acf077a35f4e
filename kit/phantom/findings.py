"""A phantom's pneumothorax: where the lung has left the wall of the chest."""

from dataclasses import dataclass

import numpy as np

from kit.phantom.anatomy import ANGLE, APEX, CORNERS, SIDES, STEPS, Chest, lung
from kit.phantom.film import area

# Where along a lung's outline the air stands: from and to a corner of it, each drawn between two bounds.
_PLACES = {
    "apical": ((APEX - 2.5, APEX - 0.5), (APEX + 1.5, APEX + 3.5)),
    "lateral": ((APEX + 1.0, APEX + 3.0), (ANGLE - 1.5, ANGLE + 0.3)),
    "basal": ((ANGLE - 2.5, ANGLE - 1.0), (ANGLE + 1.5, ANGLE + 3.0)),
    "whole": ((APEX - 2.5, APEX - 1.0), (ANGLE - 0.5, ANGLE + 1.0)),
}
_SMALL, _LARGE = (0.5, 0.33, 0.17, 0.0), (0.25, 0.15, 0.05, 0.55)  # how often, below and above 4 % of the film
_FAINT = 1 / 8  # of the positives are easily missed


@dataclass(frozen=True)
class Region:
    """One pocket of air between the chest wall and the lung, in body coordinates."""

    outline: np.ndarray  # (N, 2), closed
    pleura: np.ndarray  # (M, 2), the part of the outline that is the lung's edge
    contrast: float  # the share of the attenuation that is gone with the lung


def draw_regions(chest: Chest, count: int, rng: np.random.Generator) -> list[Region]:
    """The regions of a patient's pneumothorax, of sizes as skewed as the real ones' but larger; most share a side."""
    side = int(rng.choice(SIDES))
    contrast = rng.uniform(0.1, 0.2) if rng.random() < _FAINT else rng.uniform(0.45, 0.7)
    pieces = rng.permutation(["apical", "lateral", "basal"])
    regions = []
    for k in range(count):
        size = float(np.exp(rng.normal(np.log(0.055 / count**0.5), 1.0)).clip(0.002, 0.13))
        place = pieces[k] if count > 1 else rng.choice(list(_PLACES), p=_SMALL if size < 0.04 else _LARGE)
        regions.append(_region(chest, side, place, size, contrast, rng))
        side = -side if rng.random() < 0.2 else side
    return regions


def _region(chest: Chest, side: int, place: str, size: float, contrast: float, rng: np.random.Generator) -> Region:
    """A region of about `size` (a share of the film): a part of the lung's edge has shrunk toward the hilum."""
    first, last = (rng.uniform(*bounds) for bounds in _PLACES[place])
    wall = lung(chest, side)[np.arange(round(first * STEPS), round(last * STEPS) + 1) % (CORNERS * STEPS)]
    hilum = chest.at(side, 0.32, 0.55)
    s = np.linspace(0, 1, len(wall))
    shape = 1 - np.abs(2 * s - 1) ** rng.uniform(4, 8)  # a crescent
    shape *= 1 + rng.uniform(-0.4, 0.2) * (s - 0.5) + rng.normal(0, 0.04) * np.sin(3 * np.pi * s)
    low, high = 0.0, 0.6
    for _ in range(12):
        depth = (low + high) / 2
        pleura = wall + depth * shape[:, None] * (hilum - wall)
        outline = np.vstack((wall, pleura[::-1]))
        low, high = (low, depth) if area(outline) > size else (depth, high)
    return Region(outline, pleura, contrast)
