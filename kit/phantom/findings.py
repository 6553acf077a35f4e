"""A phantom's pneumothorax: where the lung has left the wall of the chest."""

from dataclasses import dataclass

import numpy as np

from kit.phantom.anatomy import ANGLE, APEX, CORNERS, SIDES, STEPS, Chest, lung
from kit.phantom.film import area

# Where along a lung's outline the air stands: from and to a corner of it, each drawn between two bounds.
_PLACES = {
    "apical": ((APEX - 2.5, APEX - 0.5), (APEX + 1.5, APEX + 3.5)),
    "lateral": ((APEX + 1.0, APEX + 3.0), (ANGLE - 2.0, ANGLE - 0.2)),
    "basal": ((ANGLE - 2.5, ANGLE - 1.0), (ANGLE + 1.0, ANGLE + 2.2)),
    "whole": ((APEX - 2.5, APEX - 1.0), (ANGLE - 1.0, ANGLE - 0.1)),
}
_SMALL, _LARGE = (0.5, 0.33, 0.17, 0.0), (0.25, 0.15, 0.05, 0.55)  # how often, below and above 4 % of the film
_FAINT = 1 / 8  # of the positives are easily missed


@dataclass(frozen=True)
class Region:
    """One pocket of air between the chest wall and the lung, in body coordinates."""

    outline: np.ndarray  # (N, 2), closed
    pleura: np.ndarray  # (M, 2), the part of the outline that is the lung's edge
    contrast: float  # the share of the attenuation that is gone with the lung


def draw_regions(chest: Chest, count: int, rng: np.random.Generator, upper: int = 0) -> list[Region]:
    """The regions of a patient's pneumothorax, of sizes as skewed as the real ones' but larger; most share a side.

    Args:
        chest: the patient; air that has deepened a costophrenic angle lies there.
        count: how many regions.
        rng: of what is drawn.
        upper: the side that lies up in a decubitus film, to whose wall air rises; 0 in any other film.
    """
    side = upper or chest.deep or int(rng.choice(SIDES))
    contrast = rng.uniform(0.1, 0.18) if rng.random() < _FAINT else rng.uniform(0.28, 0.5)
    pieces = list(rng.permutation(["apical", "lateral", "basal"]))
    if upper or chest.deep:
        pieces.sort(key=lambda place: place != ("lateral" if upper else "basal"))
    regions = []
    for k in range(count):
        size = float(np.exp(rng.normal(np.log(0.055 / count**0.5), 1.0)).clip(0.002, 0.13))
        common = rng.choice(list(_PLACES), p=_SMALL if size < 0.04 else _LARGE)
        place = pieces[k] if count > 1 or upper or chest.deep else common
        regions.append(_region(chest, side, place, size, contrast * (0.8 + 6 * size), rng))  # deep air is dark
        side = -side if rng.random() < 0.2 else side
    return regions


def _region(chest: Chest, side: int, place: str, size: float, contrast: float, rng: np.random.Generator) -> Region:
    """A region of about `size` (a share of the film): a part of the lung's edge has shrunk toward the hilum."""
    first, last = (rng.uniform(*bounds) for bounds in _PLACES[place])
    wall = lung(chest, side)[np.arange(round(first * STEPS), round(last * STEPS) + 1) % (CORNERS * STEPS)]
    hilum = chest.at(side, 0.32, 0.55)
    s = np.linspace(0, 1, len(wall))
    shape = 1 - np.abs(2 * s - 1) ** rng.uniform(2.5, 6)  # a crescent
    shape *= 1 + rng.uniform(-0.4, 0.2) * (s - 0.5) + rng.normal(0, 0.04) * np.sin(3 * np.pi * s)
    edge, inward = _rounded(wall), _rounded(shape[:, None] * (hilum - wall))
    low, high = 0.0, 0.6
    for _ in range(12):
        depth = (low + high) / 2
        outline = np.vstack((wall, (edge + depth * inward)[::-1]))
        low, high = (low, depth) if area(outline) > size else (depth, high)
    return Region(outline, edge + depth * inward, contrast)


def _rounded(line: np.ndarray) -> np.ndarray:
    """A line (N, 2) without the wall's corners, which a lung that has left it does not keep; its ends stay."""
    window = np.hanning(2 * STEPS + 3)[1:-1]
    padded = np.pad(line, ((STEPS, STEPS), (0, 0)), "reflect", reflect_type="odd")
    return np.stack([np.convolve(axis, window / window.sum(), "valid") for axis in padded.T], 1)
