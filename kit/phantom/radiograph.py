"""Draws the radiograph of a phantom: the attenuation of all parts of the chest, then the tones of a film.

Attenuation is relative to the middle of the trunk.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from kit.phantom import anatomy
from kit.phantom.anatomy import SIDES, Chest
from kit.phantom.film import Film, edges
from kit.phantom.findings import Region

_SOFT = 512  # pixels per side, enough for all but the finest detail


def expose(
    chest: Chest, regions: Sequence[Region], pose: np.ndarray, size: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws the radiograph of a chest.

    Args:
        regions: Regions of pneumothorax.
        pose: Affine map from the body to the film, (2, 3).

    Returns:
        uint8 (size, size), bright where attenuation is high.
    """
    soft, sharp = Film(min(_SOFT, size), pose), Film(size, pose)
    noise, console = rng.spawn(2)  # only the noise depends on the size of the film
    lungs = soft.fill([anatomy.lung(chest, side) for side in SIDES], 0.004)
    heart = soft.fill([anatomy.mediastinum(chest)], 0.004)
    bare = soft.fill([region.outline for region in regions], 0.004)
    texture = lungs * (1 - bare) * (1 - 0.75 * heart)
    total = tissue(chest, soft, lungs, heart) * (1 - rng.uniform(0.45, 0.6) * bare * lungs)
    total *= 1 + texture * (0.04 * soft.grain(noise, 0.012) + rng.uniform(0.03, 0.12) * soft.grain(noise, 0.07))
    total += rng.uniform(0.2, 1.2) * (total - soft.smooth(total, 0.035))  # detail enhancement, as on a console
    total += bones(chest, soft, lungs)
    total, texture = sharp.smooth(total, 0), sharp.smooth(texture, 0)
    lines, widths = anatomy.vessels(chest, rng)
    vessels = sharp.stroke(lines, widths, [(width / 0.0062) ** 0.5 for width in widths], 0.001)
    total += texture * (rng.uniform(0.05, 0.1) * vessels + rng.uniform(0.006, 0.014) * sharp.grain(noise, 0.0025))
    total += fine_lines(chest, regions, sharp)
    return np.maximum(develop(total, console, noise), marker(size, console))


def tissue(chest: Chest, film: Film, lungs: np.ndarray, heart: np.ndarray) -> np.ndarray:
    """Returns the attenuation of soft tissue: float32 (size, size)."""
    depth = film.fill([anatomy.lung(chest, side) for side in SIDES], 0.04)
    core = film.fill([anatomy.mediastinum(chest)], 0.035)
    total = outside(chest, film) * (1 - lungs * (0.06 + 0.6 * depth) * (1 - heart * (0.45 + 0.4 * core)))
    total += 0.16 * chest.fat * depth  # in front of and behind the lungs
    total += 0.06 * core + 0.09 * film.fill(anatomy.hila(chest), 0.016)
    return total - 0.1 * film.fill([anatomy.airway(chest), anatomy.stomach(chest)], 0.004)


def outside(chest: Chest, film: Film) -> np.ndarray:
    """Returns the attenuation of neck, shoulders, arms, breasts and belly, without lungs: float32 (size, size)."""
    trunk, arms = [anatomy.trunk(chest)], anatomy.arms(chest)[0]
    middle = film.fill([chest.across([(0.6, -0.1), (0.8, 0.3), (0.9, 3)])], 0.12)
    belly = film.fill([chest.across([(2, 1.02), (2, 4)])], 0.06)
    body = film.fill(trunk, 0.002)
    total = body * _thickness(film.fill(trunk, 0.045)) * (0.38 + 0.4 * middle)
    total = np.maximum(total, 0.38 * film.fill(arms, 0.002) * _thickness(film.fill(arms, 0.02)))
    return total + body * (0.24 * belly + chest.breast * film.fill(anatomy.breasts(chest), 0.02))


def _thickness(depth: np.ndarray) -> np.ndarray:
    """Estimates the thickness of a round part from its blurred outline: small at the skin, soon at its maximum."""
    inside = (2 * depth - 1).clip(0, 1)
    return 0.08 + 0.92 * inside * (2 - inside)


def bones(chest: Chest, film: Film, lungs: np.ndarray) -> np.ndarray:
    """Returns the attenuation of bones without cortex; ribs are fainter outside the lungs: float32 (size, size)."""
    posterior, anterior = anatomy.ribs(chest)
    cage = sum(
        strength * film.stroke(lines, [0.02] * len(lines), [1.0] * len(lines), 0.0012)
        for lines, strength in ((posterior, 0.06), (anterior, 0.04))
    )
    spine = 0.085 * film.fill(anatomy.vertebrae(chest), 0.0025)
    spine += 0.02 * film.fill([chest.across([(0.08, -1), (0.1, 3)], -0.8)], 0.006)  # discs and ligaments
    shoulders = 0.11 * film.fill(anatomy.clavicles(chest) + anatomy.arms(chest)[1], 0.0012)
    shoulders += 0.07 * film.fill(anatomy.shoulder_blades(chest), 0.003)
    return cage * (0.35 + 0.65 * lungs) + spine + shoulders


def fine_lines(chest: Chest, regions: Sequence[Region], film: Film) -> np.ndarray:
    """Returns the attenuation of the cortex of bones and the pleura of a collapsed lung: float32 (size, size)."""
    posterior, anterior = ([edge for line in arcs for edge in edges(line, 0.02)] for arcs in anatomy.ribs(chest))
    outlines = anatomy.clavicles(chest) + anatomy.shoulder_blades(chest) + anatomy.vertebrae(chest)
    closed = [np.vstack((outline, outline[:1])) for outline in outlines]
    lines = posterior + anterior + closed + [region.pleura for region in regions]
    levels = [0.5] * len(posterior) + [0.35] * len(anterior) + [0.45] * len(closed) + [0.8] * len(regions)
    return np.float32(0.1) * film.stroke(lines, [0.0022] * len(lines), levels, 0.0008)


def marker(size: int, rng: np.random.Generator) -> np.ndarray:
    """Draws the letter L, which marks the patient's left, in an upper corner: uint8 (size, size)."""
    layer, face = np.zeros((size, size), np.uint8), cv2.FONT_HERSHEY_SIMPLEX
    x, y, height = rng.uniform(0.88, 0.94), rng.uniform(0.08, 0.25), rng.uniform(0.03, 0.045)
    thickness = max(1, round(height * size / 8))
    scale = cv2.getFontScaleFromHeight(face, round(height * size), thickness)
    return cv2.putText(layer, "L", (round(x * size), round(y * size)), face, scale, 255, thickness, cv2.LINE_AA)


def develop(total: np.ndarray, rng: np.random.Generator, noise: np.random.Generator) -> np.ndarray:
    """Turns attenuation (size, size) into grey levels, with random exposure, contrast and noise: uint8."""
    low, high, gamma = rng.uniform(-0.1, 0.1), rng.uniform(0.9, 1.2), rng.uniform(0.85, 1.2)
    steps = 4096
    scale = np.linspace(0, 1.3, steps) ** gamma
    table = np.round(scale / (1 + scale**5) ** 0.2 * rng.uniform(215, 255) * 64).astype(np.int16)  # with saturation
    levels = table[((total - low) * (steps / 1.3 / (high - low))).clip(0, steps - 1).astype(np.int16)]
    levels += noise.integers(-128, 128, levels.shape, np.int8) * np.int16(rng.integers(1, 4))
    return (levels >> 6).clip(0, 255).astype(np.uint8)
