"""The pneumothorax of a phantom: regions where the lung has detached from the chest wall."""

from dataclasses import dataclass

import numpy as np

from kit.phantom.anatomy import ANGLE, APEX, SIDES, STEPS, Chest, lung
from kit.phantom.film import area

_PLACES = (  # apical, lateral, whole
    ((APEX - 2.8, APEX - 1.5), (APEX + 3.0, APEX + 4.5), (0.02, 0.04)),
    ((APEX + 1.0, APEX + 2.5), (ANGLE - 1.5, ANGLE - 0.2), (0.025, 0.06)),
    ((APEX - 2.5, APEX - 1.0), (ANGLE - 1.0, ANGLE - 0.1), (0.05, 0.12)),
)
"""Bounds of the first corner of a lung's outline with air beside it, of the last corner, and of the air's share of the
film."""


@dataclass(frozen=True)
class Region:
    """One pocket of air between the chest wall and the lung, in body coordinates."""

    outline: np.ndarray  # (N, 2), closed
    pleura: np.ndarray  # (M, 2), part of the outline: the edge of the lung


def draw_regions(chest: Chest, count: int, rng: np.random.Generator) -> list[Region]:
    """Draws the regions of a pneumothorax: none, one, or one per lung."""
    return [_region(chest, side, rng) for side in rng.permutation(SIDES).tolist()[:count]]


def _region(chest: Chest, side: int, rng: np.random.Generator) -> Region:
    """Draws a rim along a part of the wall, from which the lung has shrunk toward the hilum."""
    start, end, share = _PLACES[rng.integers(len(_PLACES))]
    first, last, size = round(rng.uniform(*start) * STEPS), round(rng.uniform(*end) * STEPS), rng.uniform(*share)
    wall = lung(chest, side)[first : last + 1]
    s = np.linspace(0, 1, len(wall))[:, None]
    crescent = (1 - np.abs(2 * s - 1) ** rng.uniform(2.5, 5)) * (1 + rng.uniform(-0.4, 0.2) * (s - 0.5))
    edge, inward = _rounded(wall), _rounded(crescent * (chest.place(side, (0.32, 0.55)) - wall))
    low, high = 0.0, 0.6
    for _ in range(12):
        depth = (low + high) / 2
        pleura = edge + depth * inward
        outline = np.vstack((wall, pleura[::-1]))
        low, high = (low, depth) if area(outline) > size else (depth, high)
    return Region(outline, pleura)


def _rounded(line: np.ndarray) -> np.ndarray:
    """Smooths a line (N, 2) except at its ends, since a detached lung does not keep the corners of the wall."""
    window = np.hanning(2 * STEPS + 3)[1:-1]
    padded = np.pad(line, ((STEPS, STEPS), (0, 0)), "reflect", reflect_type="odd")
    return np.stack([np.convolve(axis, window / window.sum(), "valid") for axis in padded.T], 1)
