"""What else lies on a phantom's film: things that look like a lung's edge, and the letters of the technician."""

from dataclasses import dataclass

import cv2
import numpy as np

from kit.phantom.anatomy import LEFT, RIGHT, SIDES, Chest, sternal_wires
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
        film.draw(layer, [_feeding_tube(chest, rng)], 0.0045, rng.uniform(0.0, 0.7))
    if rng.random() < 0.05:
        _pacemaker(layer, chest, film, rng)
    elif rng.random() < 0.04:
        _port(layer, chest, film, rng)
    if rng.random() < 0.08:
        film.draw(layer, [np.vstack((loop, loop[:1])) for loop in sternal_wires(chest)], 0.0028, 0.9)
    return np.float32(0.2) * film.soften(layer, 0.0006)


def _feeding_tube(chest: Chest, rng: np.random.Generator) -> np.ndarray:
    """A tube through the gullet into the stomach."""
    return chest.place(LEFT, curve([(0.02, -0.8), (0.01, 0.2), (0.03, 0.8), (0.3, 1.15), (rng.uniform(0.3, 0.6), 1.4)]))


def _pacemaker(layer: np.ndarray, chest: Chest, film: Film, rng: np.random.Generator) -> None:
    """A generator under the collar bone, and its wire into the right ventricle."""
    side = int(rng.choice(SIDES))
    u, v = rng.uniform(0.6, 0.75), rng.uniform(0.14, 0.26)
    film.paint(layer, [ellipse(chest.at(side, u, v), (0.04, 0.032), rng.uniform(-0.6, 0.6))], 1.0)
    wire = np.vstack((chest.place(side, [(u, v), (0.35, 0.06)]), chest.place(RIGHT, [(0.1, 0.2), (0.14, 0.6)])))
    film.draw(layer, [curve(np.vstack((wire, chest.place(LEFT, [(0.1, 0.88), (rng.uniform(0.2, 0.4), 0.9)]))))], 0.004)


def _port(layer: np.ndarray, chest: Chest, film: Film, rng: np.random.Generator) -> None:
    """A chamber under the skin from which a line goes to the great veins."""
    u, v = rng.uniform(0.45, 0.65), rng.uniform(0.2, 0.35)
    centre = chest.at(RIGHT, u, v)
    film.paint(layer, [ellipse(centre, (0.017, 0.017))], 0.5)
    film.paint(layer, [ellipse(centre, (0.011, 0.011))], 0.8)
    line = chest.place(RIGHT, curve([(u, v), (0.5, 0.02), (0.25, 0.0), (0.12, 0.2), (0.13, rng.uniform(0.35, 0.55))]))
    film.draw(layer, [line], 0.0035, 0.6)


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


@dataclass(frozen=True)
class Word:
    """A marker on the film; all lengths in sides of the film."""

    text: str
    left: float
    base: float  # where it stands, from the top
    height: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """What it covers at most: left, top, right, bottom."""
        width = len(self.text) * 1.05 * self.height
        return self.left, self.base - 1.15 * self.height, self.left + width, self.base + 0.15 * self.height


def words(bedridden: bool, rng: np.random.Generator) -> list[Word]:
    """The marker of a side, near an upper corner, and more words for the bedridden: none over another."""
    wanted = []
    if rng.random() < 0.75:
        left = rng.random() < 0.8
        where = (0.86, 0.93) if left else (0.03, 0.08)
        wanted.append(("L" if left else "R", where, (0.06, 0.3), (0.025, 0.05)))
    if bedridden and rng.random() < 0.5:
        wanted.append(("PORTABLE", (0.02, 0.75), (0.03, 0.3), (0.013, 0.02)))
        wanted.append(("AP", (0.03, 0.9), (0.03, 0.3), (0.013, 0.02)))
    placed: list[Word] = []
    for text, x, y, height in wanted:
        word = Word(text, rng.uniform(*x), rng.uniform(*y), rng.uniform(*height))
        while any(_overlap(word.box, other.box) for other in placed):
            word = Word(text, rng.uniform(*x), rng.uniform(*y), word.height)
        placed.append(word)
    return placed


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def letters(size: int, placed: list[Word]) -> np.ndarray:
    """Words as they stand on the film, without those too small to be read there: uint8 (size, size)."""
    layer, face = np.zeros((size, size), np.uint8), cv2.FONT_HERSHEY_SIMPLEX
    for word in placed:
        if word.height * size < 4:
            continue
        thickness = max(1, round(word.height * size / 8))
        scale = cv2.getFontScaleFromHeight(face, round(word.height * size), thickness)
        where = (round(word.left * size), round(word.base * size))
        cv2.putText(layer, word.text, where, face, scale, 255, thickness, cv2.LINE_AA)
    return layer


def aperture(size: int, rng: np.random.Generator) -> np.ndarray:
    """What the collimator let through: now and then a side of the film stays black: uint8 (size, size) of 0 and 1."""
    layer = np.ones((size, size), np.uint8)
    for turn in range(4):
        if rng.random() < 0.12:
            np.rot90(layer, turn)[: round(rng.uniform(0.005, 0.05) * size)] = 0
    return layer
