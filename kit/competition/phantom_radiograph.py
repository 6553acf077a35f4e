"""One phantom radiograph from its parts: attenuation, then the tones of a film."""

import numpy as np

from kit.competition import phantom_anatomy as anatomy
from kit.competition import phantom_objects as objects
from kit.competition.phantom_anatomy import Chest
from kit.competition.phantom_film import Film, levels_of, resized
from kit.competition.phantom_findings import Region

_SOFT = 512  # pixels of the grid for parts without fine detail


def pose(rng: np.random.Generator) -> np.ndarray:
    """A patient's place on the film, a little turned, moved and scaled: (2, 3)."""
    turn, scale = rng.normal(0, 0.035), rng.uniform(0.9, 1.12)
    turned = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    centre = np.array([0.5, 0.5])
    return np.column_stack((turned, centre - turned @ centre + rng.normal(0, 0.012, 2)))


def expose(chest: Chest, regions: list[Region], place: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """The radiograph: uint8 (size, size), bright where little of the beam comes through."""
    soft, sharp = Film(_SOFT, place), Film(size, place)
    lungs = soft.fill([chest.lung(side) for side in anatomy.SIDES], 0.0035)
    air = np.zeros_like(lungs)
    for region in regions:
        air = np.maximum(air, region.contrast * soft.fill([region.outline], 0.002))
    lung = lungs * (air == 0) * (1 - 0.75 * soft.fill([anatomy.mediastinum(chest)], 0.006))
    total = anatomy.soft_tissue(chest, soft, lungs) * (1 - air)
    haze = 0.04 * soft.grain(rng, 0.012) + rng.uniform(0.03, 0.12) * soft.grain(rng, 0.07)
    total *= 1 + haze * lung + 0.015 * soft.grain(rng, 0.05)
    total += rng.uniform(0.2, 0.8) * (total - 4 * soft.soften(levels_of(total), 0.035))  # as processed at the reader
    total, lungs, lung = (resized(layer, size) for layer in (total, lungs, lung))
    total += anatomy.bones(chest, sharp, lungs)
    total += (
        rng.uniform(0.05, 0.1) * anatomy.vessels(chest, sharp, rng)
        + rng.uniform(0.006, 0.014) * sharp.grain(rng, 0.0025)
    ) * lung
    for region in regions:
        total += 0.15 * region.contrast * sharp.stroke([region.pleura], 0.0025, 0.0006)
    total += objects.look_alikes(chest, sharp, bool(regions), rng)
    pixels = develop(total, rng)
    pixels = np.maximum(pixels, objects.letters(size, chest.anteroposterior, rng))
    return pixels * objects.aperture(size, rng)


def develop(total: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Attenuation (size, size) as grey levels, with an exposure, a contrast and a noise of their own: uint8."""
    low, high, gamma = rng.uniform(-0.25, 0.12), rng.uniform(0.9, 1.15), rng.uniform(0.8, 1.25)
    scale = np.linspace(0, 1.3, 4096) ** gamma
    tones = scale / (1 + scale**5) ** 0.2  # straight, then saturating
    table = np.round(tones * rng.uniform(230, 255) * 64).astype(np.int32)
    levels = table[((total - low) * (3150 / (high - low))).clip(0, 4095).astype(np.int32)]
    noise = rng.integers(-128, 128, levels.shape, np.int8).astype(np.int32) * round(rng.uniform(1, 5))
    return ((levels + noise) >> 6).clip(0, 255).astype(np.uint8)
