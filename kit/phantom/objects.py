"""What else lies on a phantom's film: things that look like a lung's edge, and the letters of the technician."""

import cv2
import numpy as np

from kit.phantom.anatomy import LEFT, RIGHT, SIDES, Chest
from kit.phantom.film import Film, curve, edges, ellipse


def skin_folds(chest: Chest, film: Film, rng: np.random.Generator) -> np.ndarray:
    """Now and then a fold of skin: it grows denser up to a line, but vessels go on beyond: float32 (size, size)."""
    if rng.random() > (0.35 if chest.anteroposterior else 0.1):
        return np.zeros((film.size, film.size), np.float32)
    side, start, end = rng.choice(SIDES), rng.uniform(0.75, 1.0), rng.uniform(0.45, 0.85)
    bend = ((start + end) / 2 + 0.05, 0.5)
    line = chest.place(side, curve([(start, rng.uniform(-0.1, 0.25)), bend, (end, rng.uniform(0.8, 1.1))]))
    inward = np.array([-side * rng.uniform(0.05, 0.1), 0.0])
    return rng.uniform(0.04, 0.1) * film.fold(np.vstack((line, (line + inward)[::-1])), -0.6 * inward, 0.02)


def devices(chest: Chest, film: Film, drained: bool, rng: np.random.Generator) -> np.ndarray:
    """Leads, lines and tubes, most of them on the bedridden: attenuation, float32 (size, size)."""
    layer, bedridden = film.blank(), chest.anteroposterior
    if rng.random() < (0.7 if bedridden else 0.12):
        _leads(layer, chest, film, rng)
    if rng.random() < (0.45 if bedridden else 0.06):
        film.draw(layer, [_catheter(chest, rng)], 0.004, 0.6)
    if rng.random() < (0.3 if drained else 0.03):
        drain = _drain(chest, rng)
        film.draw(layer, [*edges(drain, 0.014), drain], 0.0025, 0.55)
    if rng.random() < (0.25 if bedridden else 0.0):
        tube = chest.place(LEFT, curve([(0.02, -0.8), (0.0, -0.1), (-0.01, 0.2)]))
        film.draw(layer, edges(tube, 0.016), 0.003, 0.45)
    return np.float32(0.2) * film.soften(layer, 0.0006)


def _leads(layer: np.ndarray, chest: Chest, film: Film, rng: np.random.Generator) -> None:
    """Wires of a heart monitor and their electrodes."""
    spots = np.array([(-0.8, 0.05), (0.8, 0.02), (-0.75, 0.9), (0.8, 0.95), (0.35, 0.6)])
    for u, v in rng.permutation(spots)[: rng.integers(2, 5)] + rng.normal(0, 0.06, 2):
        end = chest.at(LEFT, u, v)
        start = np.array([rng.uniform(0, 1), rng.choice((-0.1, 1.1))])
        film.draw(
            layer, [curve([start, (start + end) / 2 + rng.normal(0, 0.1, 2), end])], 0.0032, rng.uniform(0.3, 0.6)
        )
        film.paint(layer, [ellipse(end, (0.012, 0.012))], 0.45)
        film.paint(layer, [ellipse(end, (0.006, 0.006))], 1.0)


def _catheter(chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """A venous line from the neck or from under a collar bone to the right atrium."""
    entry = ([(0.2, -0.3), (0.14, -0.05)], [(0.75, 0.05), (0.35, 0.08)])[rng.integers(2)]
    cava = chest.place(RIGHT, [(0.12, 0.2), (0.13, rng.uniform(0.35, 0.6))])
    return curve(np.vstack((chest.place(rng.choice(SIDES), entry), cava)))


def _drain(chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """A chest tube from the side wall up toward the apex."""
    path = [(1.25, rng.uniform(0.6, 0.9)), (0.85, 0.6), (0.6, 0.35), (0.4, rng.uniform(0.08, 0.25))]
    return chest.place(rng.choice(SIDES), curve(path))


def letters(size: int, bedridden: bool, rng: np.random.Generator) -> np.ndarray:
    """The marker of a side, in a corner, and more words for the bedridden: uint8 (size, size)."""
    layer = np.zeros((size, size), np.uint8)
    if rng.random() < 0.75:
        left = rng.random() < 0.8
        where = (rng.uniform(0.88, 0.95) if left else rng.uniform(0.03, 0.08), rng.uniform(0.06, 0.3))
        _write(layer, "L" if left else "R", where, rng.uniform(0.03, 0.05))
    if bedridden and rng.random() < 0.5:
        _write(layer, "PORTABLE", (rng.uniform(0.02, 0.75), rng.uniform(0.03, 0.12)), 0.015)
        _write(layer, "AP", (rng.uniform(0.05, 0.9), rng.uniform(0.14, 0.2)), 0.015)
    return layer


def _write(layer: np.ndarray, text: str, where: tuple[float, float], height: float) -> None:
    """Puts `text` with its lower left corner at `where`, `height` tall, both in sides."""
    size, face = len(layer), cv2.FONT_HERSHEY_SIMPLEX
    thickness = max(1, round(height * size / 8))
    scale = cv2.getFontScaleFromHeight(face, max(4, round(height * size)), thickness)
    cv2.putText(layer, text, (round(where[0] * size), round(where[1] * size)), face, scale, 255, thickness, cv2.LINE_AA)


def aperture(size: int, rng: np.random.Generator) -> np.ndarray:
    """What the collimator let through: now and then a side of the film stays black: uint8 (size, size) of 0 and 1."""
    layer = np.ones((size, size), np.uint8)
    for turn in range(4):
        if rng.random() < 0.12:
            np.rot90(layer, turn)[: round(rng.uniform(0.005, 0.05) * size)] = 0
    return layer
