"""One phantom radiograph: what the parts of a chest take from the beam, then the tones of a film.

Attenuation is in units of the middle of a trunk.
"""

from collections.abc import Sequence

import numpy as np

from kit.phantom import anatomy, objects
from kit.phantom.anatomy import SIDES, Chest
from kit.phantom.film import Film, edges
from kit.phantom.findings import Region

_SOFT = 512  # pixels a side are enough for all but the finest detail


def expose(
    chest: Chest, regions: Sequence[Region], pose: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """The radiograph of a chest with its regions of pneumothorax.

    Args:
        chest: the patient.
        regions: where the lung has left the wall.
        pose: (2, 3), where the patient stands on the film.
        size: pixels a side.
        rng: of what differs from film to film.

    Returns:
        uint8 (size, size), bright where little of the beam comes through.
    """
    soft, sharp = Film(min(_SOFT, size), pose), Film(size, pose)
    noise, console = rng.spawn(2)  # a larger film takes more noise, and the rest stays the same
    lungs = soft.fill([anatomy.lung(chest, side) for side in SIDES], 0.0035)
    air = np.zeros_like(lungs)  # the share of the attenuation that went with the lung
    for region in regions:
        air = np.maximum(air, region.contrast * soft.fill([region.outline], 0.002))
    heart = soft.fill([anatomy.mediastinum(chest)], 0.004)
    bare = soft.fill([region.outline for region in regions], 0.002)
    texture = lungs * (1 - bare) * (1 - 0.75 * heart)
    water = rng.uniform(0, 0.25 if chest.anteroposterior else 0.1)  # lungs in bed hold less air and more water
    haze = water + (0.04 * soft.grain(noise, 0.012) + rng.uniform(0.03, 0.12) * soft.grain(noise, 0.07))
    total = tissue(chest, soft, lungs, heart) * (1 - air)
    total *= 1 + haze * texture + 0.015 * soft.grain(noise, 0.05)
    total += rng.uniform(0.2, 0.8) * (total - soft.smooth(total, 0.035))  # a reader's console lifts the detail
    total += bones(chest, soft, lungs) + objects.skin_folds(chest, soft, rng)
    total, texture = sharp.smooth(total, 0), sharp.smooth(texture, 0)
    total += lung_texture(chest, sharp, rng, noise) * texture
    total += fine_lines(chest, regions, sharp) + objects.devices(chest, sharp, bool(regions), rng)
    pixels = np.maximum(develop(total, console, noise), objects.letters(size, chest.anteroposterior, console))
    return pixels * objects.aperture(size, console)


def tissue(chest: Chest, film: Film, lungs: np.ndarray, heart: np.ndarray) -> np.ndarray:
    """Everything soft: attenuation, float32 (size, size)."""
    total = outside(chest, film)
    depth = film.fill([anatomy.lung(chest, side) for side in SIDES], 0.04)
    core = film.fill([anatomy.mediastinum(chest)], 0.035)
    total *= 1 - lungs * (0.06 + 0.56 * depth) * (1 - heart * (0.45 + 0.4 * core))
    total += 0.06 * core + 0.09 * film.fill(anatomy.hila(chest), 0.016)
    total += 0.07 * film.fill([chest.across([(0.08, -1), (0.11, 3)])], 0.006)  # the spine
    total -= 0.1 * film.fill([anatomy.airway(chest)], 0.005)
    return total - anatomy.stream(chest.seed, "gas").uniform(0.04, 0.22) * film.fill(anatomy.bubbles(chest), 0.004)


def outside(chest: Chest, film: Film) -> np.ndarray:
    """Neck, shoulders, arms, breasts and belly, without lungs: attenuation, float32 (size, size)."""
    trunk, arms = [anatomy.trunk(chest)], anatomy.arms(chest)
    body = film.fill(trunk, 0.002)
    middle = film.fill([chest.across([(0.6, -0.1), (0.8, 0.3), (0.9, 3)])], 0.12)
    belly = film.fill([chest.across([(2, 1.02), (2, 4)])], 0.06)
    total = body * _thickness(film.fill(trunk, 0.045)) * (0.38 + 0.4 * middle)
    total = np.maximum(total, 0.38 * film.fill(arms, 0.002) * _thickness(film.fill(arms, 0.02)))
    for breast in anatomy.breasts(chest):
        total += chest.breast * body * film.fold(breast, (0.0, 0.1), 0.045)
    return total + 0.24 * body * belly


def _thickness(depth: np.ndarray) -> np.ndarray:
    """How thick a round part is, by its blurred outline: little at the skin, soon all of it."""
    inside = (2 * depth - 1).clip(0, 1)
    return 0.08 + 0.92 * inside * (2 - inside)


def bones(chest: Chest, film: Film, lungs: np.ndarray) -> np.ndarray:
    """Bones without their cortex; the ribs are fainter outside the lungs: attenuation, float32 (size, size)."""
    posterior, anterior = anatomy.ribs(chest)
    cage = 0.06 * film.stroke(posterior, 0.02, 0.0012) + 0.04 * film.stroke(anterior, 0.02, 0.0012)
    plates, knobs = anatomy.vertebrae(chest)
    spine = 0.03 * film.stroke(plates, 0.004, 0.001) + 0.03 * film.fill(knobs, 0.001)
    shoulders = 0.1 * film.fill(anatomy.clavicles(chest) + anatomy.upper_arms(chest), 0.0012)
    shoulders += 0.05 * film.fill(anatomy.shoulder_blades(chest), 0.004)
    companion = [line - (0, 0.02) for line in anatomy.clavicles(chest)]  # the skin over the collar bones
    return cage * (0.6 + 0.4 * lungs) + spine + shoulders + 0.03 * film.fill(companion, 0.003)


def fine_lines(chest: Chest, regions: Sequence[Region], film: Film) -> np.ndarray:
    """The cortex of the bones and the pleura of a collapsed lung: attenuation, float32 (size, size)."""
    layer = film.blank()
    posterior, anterior = anatomy.ribs(chest)
    for lines, strength in ((anterior, 0.35), (posterior, 0.55)):
        film.draw(layer, [edge for line in lines for edge in edges(line, 0.02)], 0.0022, strength)
    film.draw(layer, anatomy.clavicles(chest) + anatomy.shoulder_blades(chest), 0.0025, 0.4)
    for region in regions:
        film.draw(layer, [region.pleura], 0.0025, min(1.0, 2 * region.contrast))
    return 0.1 * film.soften(layer, 0.0006)


def lung_texture(chest: Chest, film: Film, rng: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
    """Vessels, and the grain of what is too small to be seen: attenuation, float32 (size, size)."""
    layer = film.blank()
    for width, lines in anatomy.vessels(chest, rng):
        film.draw(layer, lines, width, (width / 0.0062) ** 0.5)
    vessels = rng.uniform(0.07, 0.12) * film.soften(layer, 0.001)
    return vessels + rng.uniform(0.006, 0.014) * film.grain(noise, 0.0025)


def develop(total: np.ndarray, rng: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
    """Attenuation (size, size) as grey levels, with an exposure, a contrast and a noise of their own: uint8."""
    low, high, gamma = rng.uniform(-0.08, 0.06), rng.uniform(0.85, 1.05), rng.uniform(0.95, 1.15)
    steps = 4096
    scale = np.linspace(0, 1.3, steps) ** gamma
    tones = scale / (1 + scale**5) ** 0.2  # straight, then saturating
    table = np.round(tones * rng.uniform(230, 255) * 64).astype(np.int16)
    levels = table[((total - low) * (steps / 1.3 / (high - low))).clip(0, steps - 1).astype(np.int16)]
    levels += noise.integers(-128, 128, levels.shape, np.int8) * np.int16(rng.integers(1, 4))
    return (levels >> 6).clip(0, 255).astype(np.uint8)
