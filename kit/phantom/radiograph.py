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
    lungs = soft.fill([anatomy.lung(chest, side) for side in SIDES], rng.uniform(0.003, 0.006))
    air = np.zeros_like(lungs)  # the share of the attenuation that went with the lung
    blur = rng.uniform(0.003, 0.006)  # the edge of a lung is round, and it breathes
    for region in regions:
        air = np.maximum(air, region.contrast * np.minimum(lungs, soft.fill([region.outline], blur)))
    heart = soft.fill([anatomy.mediastinum(chest)], 0.004)
    bare = soft.fill([region.outline for region in regions], blur)
    texture = lungs * (1 - bare) * (1 - 0.75 * heart)
    water = rng.uniform(0, 0.35 if chest.anteroposterior else 0.12)  # lungs in bed hold less air and more water
    haze = water + (0.04 * soft.grain(noise, 0.012) + rng.uniform(0.03, 0.16) * soft.grain(noise, 0.07))
    total = tissue(chest, soft, lungs, heart) * (1 - air)
    total *= 1 + haze * texture + 0.015 * soft.grain(noise, 0.05)
    total += rng.uniform(0.0, 1.2) * (total - soft.smooth(total, 0.035))  # a reader's console lifts the detail
    total += bones(chest, soft, lungs) + objects.skin_folds(chest, soft, rng)
    total, texture = sharp.smooth(total, 0), sharp.smooth(texture, 0)
    total += lung_texture(chest, sharp, rng, noise) * texture
    total += fine_lines(chest, regions, sharp, rng) + objects.devices(chest, sharp, bool(regions), rng)
    total = sharpen(total, sharp, console)
    marks = objects.letters(size, objects.words(chest.anteroposterior, console))
    pixels = np.maximum(develop(total, console, noise), marks)
    return pixels * objects.aperture(size, console)


def tissue(chest: Chest, film: Film, lungs: np.ndarray, heart: np.ndarray) -> np.ndarray:
    """Everything soft: attenuation, float32 (size, size)."""
    total, veil = outside(chest, film), 0.16 * chest.fat  # what fat before and behind the lungs takes
    depth = film.fill([anatomy.lung(chest, side) for side in SIDES], 0.04)
    core = film.fill([anatomy.mediastinum(chest)], 0.035)
    airy = anatomy.stream(chest.seed, "airy").uniform(0.5, 0.66)
    total *= 1 - lungs * (0.06 + airy * depth) * (1 - heart * (0.45 + 0.4 * core))
    total += veil * depth
    total += 0.06 * core + 0.09 * film.fill(anatomy.hila(chest), 0.016)
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
    bodies, pedicles, processes = anatomy.vertebrae(chest)
    spine = 0.085 * film.fill(bodies, 0.0025) + 0.05 * film.fill(pedicles, 0.0012) + 0.05 * film.fill(processes, 0.0012)
    spine += 0.02 * film.fill([chest.across([(0.08, -1), (0.1, 3)], -0.8)], 0.006)  # discs and ligaments
    shoulders = 0.11 * film.fill(anatomy.clavicles(chest) + anatomy.upper_arms(chest), 0.0012)
    shoulders += 0.07 * film.fill(anatomy.shoulder_blades(chest), 0.003)
    companion = [line - (0, 0.02) for line in anatomy.clavicles(chest)]  # the skin over the collar bones
    return chest.bone * (cage * (0.35 + 0.65 * lungs) + spine + shoulders) + 0.03 * film.fill(companion, 0.003)


def fine_lines(chest: Chest, regions: Sequence[Region], film: Film, rng: np.random.Generator) -> np.ndarray:
    """The cortex of the bones and the pleura of a collapsed lung: attenuation, float32 (size, size)."""
    layer = film.blank()
    posterior, anterior = anatomy.ribs(chest)
    for lines, strength in ((anterior, 0.35), (posterior, 0.55)):
        film.draw(layer, [edge for line in lines for edge in edges(line, 0.02)], 0.0022, strength)
    film.draw(layer, anatomy.clavicles(chest) + anatomy.shoulder_blades(chest), 0.0025, 0.45)
    film.draw(layer, [np.vstack((body, body[:1])) for body in anatomy.vertebrae(chest)[0]], 0.003, 0.45)
    bone = 0.1 * chest.bone * film.soften(layer, 0.0008)
    layer = film.blank()
    for region in regions:  # thin, and lost wherever the beam does not graze it
        half = len(region.pleura) // 2
        for part in (region.pleura[: half + 1], region.pleura[half:]):
            film.draw(layer, [part], 0.002, rng.uniform(0.15, 0.9))
    return bone + 0.06 * film.soften(layer, 0.0009)


def lung_texture(chest: Chest, film: Film, rng: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
    """Vessels, and the grain of what is too small to be seen: attenuation, float32 (size, size)."""
    layer = film.blank()
    for width, lines in anatomy.vessels(chest, rng):
        film.draw(layer, lines, width, (width / 0.0062) ** 0.5)
    vessels = rng.uniform(0.04, 0.1) * film.soften(layer, 0.001)
    return vessels + rng.uniform(0.006, 0.016) * film.grain(noise, 0.0025)


def sharpen(total: np.ndarray, film: Film, rng: np.random.Generator) -> np.ndarray:
    """Attenuation (size, size) with its edges lifted, more on some consoles than on others: float32 (size, size)."""
    return total + np.float32(rng.uniform(0, 0.9)) * (total - film.smooth(total, 0.0045))


def develop(total: np.ndarray, rng: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
    """Attenuation (size, size) as grey levels, with an exposure, a contrast and a noise of their own: uint8."""
    low, high, gamma = rng.uniform(-0.16, 0.12), rng.uniform(0.85, 1.2), rng.uniform(0.8, 1.3)
    steps, knee = 4096, rng.integers(3, 8)
    scale = np.linspace(0, 1.3, steps) ** gamma
    tones = scale / (1 + scale**knee) ** (1 / knee)  # straight, then saturating
    table = np.round(tones * rng.uniform(215, 255) * 64).astype(np.int16)
    levels = table[((total - low) * (steps / 1.3 / (high - low))).clip(0, steps - 1).astype(np.int16)]
    levels += noise.integers(-128, 128, levels.shape, np.int8) * np.int16(rng.integers(1, 4))
    return (levels >> 6).clip(0, 255).astype(np.uint8)
