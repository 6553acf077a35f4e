"""One phantom radiograph from its parts: attenuation, then the tones of a film."""

import numpy as np

from kit.competition import phantom_anatomy as anatomy
from kit.competition.phantom_anatomy import Chest
from kit.competition.phantom_film import Film, resized
from kit.competition.phantom_findings import Region

_SOFT = 256  # pixels of the grid for parts without fine detail


def pose(rng: np.random.Generator) -> np.ndarray:
    """A patient's place on the film, a little turned, moved and scaled: (2, 3)."""
    turn, scale = rng.normal(0, 0.025), rng.uniform(0.93, 1.06)
    turned = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = np.array([0.5, 0.5])
    return np.column_stack((turned, centre - turned @ centre + rng.normal(0, 0.012, 2)))


def expose(chest: Chest, regions: list[Region], place: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The radiograph: uint8 (size, size), bright where little of the beam comes through."""
    soft, sharp = Film(_SOFT, place), Film(size, place)
    lungs = soft.fill([chest.lung(side) for side in anatomy.SIDES], 0.002)
    air = soft.fill([region.outline for region in regions], 0.0015)
    total = anatomy.soft_tissue(chest, soft)
    total += 0.02 * soft.grain(rng, 0.01) * (lungs - air).clip(0, 1) + 0.015 * soft.grain(rng, 0.04)
    for region in regions:
        total -= region.contrast * soft.fill([region.outline], 0.0015)
    total = resized(total, size)
    total += anatomy.bones(chest, sharp)
    total += 0.13 * anatomy.vessels(chest, sharp, rng) * resized((lungs - air).clip(0, 1), size)
    for region in regions:
        total += 0.5 * region.contrast * sharp.stroke([region.pleura], 0.0025, 0.0006)
    return develop(total, rng)


def develop(total: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Attenuation (size, size) as grey levels, with an exposure, a contrast and a noise of their own: uint8."""
    low, high, gamma = rng.uniform(0.0, 0.12), rng.uniform(1.0, 1.3), rng.uniform(0.75, 1.15)
    scale = np.linspace(0, 1, 4096)
    tones = 1 - np.exp(-2.2 * scale**gamma)
    table = np.round(tones / tones[-1] * rng.uniform(215, 250) * 64).astype(np.int32)
    levels = table[((total - low) * (4095 / (high - low))).clip(0, 4095).astype(np.int32)]
    noise = rng.integers(-128, 128, levels.shape, np.int8).astype(np.int32) * round(rng.uniform(1, 5))
    return ((levels + noise) >> 6).clip(0, 255).astype(np.uint8)
