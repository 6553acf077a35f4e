"""The healthy chest of a phantom: where its parts lie.

Parts are placed in the chest's own coordinates: `u` from the midline (0) to the side wall (1), `v` from the top of
the lungs (0) to the top of the diaphragm (1). What is returned is in coordinates of the body, each line (N, 2).
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kit.phantom.film import band, curve, ellipse

RIGHT, LEFT = -1, 1  # the patient's sides: the right one is on the film's left
SIDES = (RIGHT, LEFT)

# Outlines of the lungs in (u, v), from the medial end of the base up the mediastinum, over the apex (7), down the
# side wall to the costophrenic angle (14) and back along the diaphragm. The left lung makes room for the heart.
_MEDIAL = {
    RIGHT: [(0.2, 1.05), (0.2, 0.8), (0.15, 0.6), (0.15, 0.45), (0.14, 0.27), (0.14, 0.13), (0.2, 0.04)],
    LEFT: [(0.3, 1.07), (0.26, 0.82), (0.2, 0.6), (0.16, 0.45), (0.15, 0.27), (0.14, 0.13), (0.2, 0.04)],
}
_SIDE = [(0.33, 0.0), (0.47, 0.05), (0.62, 0.16), (0.77, 0.36), (0.88, 0.6), (0.94, 0.85), (0.97, 1.05), (0.965, 1.17)]
_BASE = [(0.9, 1.09), (0.76, 1.01), (0.56, 0.97), (0.36, 0.99)]
APEX, ANGLE, CORNERS = 7, 14, 19
STEPS = 12  # points of an outline between two corners

_WALL = np.array([(-0.1, 0.3), (0.0, 0.42), *((v, u + 0.015) for u, v in _SIDE[1:]), (1.6, 0.98)])  # (v, u) of it


def stream(seed: tuple[int, ...], purpose: str) -> np.random.Generator:
    """The random numbers of one purpose: adding a purpose changes no other."""
    return np.random.default_rng((*seed, zlib.crc32(purpose.encode())))


@dataclass(frozen=True)
class Chest:
    """The build of a patient and how it was taken: what all parts are placed by."""

    female: bool
    anteroposterior: bool
    half_width: float  # of the rib cage, in sides of the film
    top: float  # of the lungs, likewise
    height: float  # from there to the diaphragm, likewise
    dome: float  # how much higher the right diaphragm stands, in v
    heart: float  # how far it reaches to the patient's left, in u
    fat: float  # soft tissue outside the rib cage, in u
    breast: float  # its attenuation, in a trunk's
    seed: tuple[int, ...]  # of the small differences between patients

    @classmethod
    def draw(cls, rng: np.random.Generator, female: bool, anteroposterior: bool, seed: tuple[int, ...]) -> "Chest":
        """A patient: films of the bedridden (AP) show wide hearts over high diaphragms."""
        return cls(
            female,
            anteroposterior,
            half_width=rng.uniform(0.345, 0.4) - 0.015 * female,
            top=rng.uniform(0.09, 0.15) + 0.04 * anteroposterior,
            height=rng.uniform(0.49, 0.62) - 0.06 * anteroposterior,
            dome=rng.uniform(-0.01, 0.06),
            heart=rng.uniform(0.48, 0.7) + 0.08 * anteroposterior,
            fat=rng.uniform(0.1, 0.36),
            breast=female * rng.uniform(0.02, 0.09),
            seed=seed,
        )

    def at(self, side: int, u: float, v: float) -> np.ndarray:
        """One point on one side: (2,)."""
        return np.array((0.5 + side * u * self.half_width, self.top + v * self.height))

    def place(self, side: int, points: ArrayLike) -> np.ndarray:
        """A line in (u, v) on one side."""
        return np.array([0.5, self.top]) + np.asarray(points, float) * (side * self.half_width, self.height)

    def both(self, points: ArrayLike) -> list[np.ndarray]:
        """A line in (u, v) on both sides."""
        return [self.place(side, points) for side in SIDES]

    def across(self, points: ArrayLike) -> np.ndarray:
        """What a line in (u, v) and its mirror image enclose."""
        right, left = self.both(points)
        return np.vstack((right, left[::-1]))


def lung(chest: Chest, side: int) -> np.ndarray:
    """The outline of a lung, closed: (CORNERS * STEPS, 2)."""
    corners = np.array(_MEDIAL[side] + _SIDE + _BASE)
    corners += stream(chest.seed, f"lung {side}").normal(0, 0.008, corners.shape)
    corners[corners[:, 1] > 0.9, 1] -= chest.dome * (side == RIGHT)
    return chest.place(side, curve(corners, closed=True, steps=STEPS))


def trunk(chest: Chest) -> np.ndarray:
    """The outline of neck, shoulders and flanks."""
    neck, wide = 0.22 + 0.4 * chest.fat, 1.0 + chest.fat
    shoulder = [(neck, -1), (neck + 0.02, -0.28), (neck + 0.16, -0.17), (0.8, -0.1), (1.15, -0.02), (1.37, 0.1)]
    flank = [(1.42, 0.28), (wide + 0.12, 0.45), (wide, 0.75), (wide, 1.1), (wide + 0.06, 1.5), (wide + 0.06, 3.0)]
    return chest.across(curve(shoulder + flank))


def _arm(chest: Chest) -> np.ndarray:
    """The middle line of an arm in (u, v): it hangs down in bed, and is held forward at the plate."""
    return curve([(1.15, 0.1), (1.26, 0.27), (1.5, 1.9) if chest.anteroposterior else (2.05, 1.3)])


def arms(chest: Chest) -> list[np.ndarray]:
    """The outlines of the upper arms."""
    return chest.both(band(_arm(chest), 0.42))


def breasts(chest: Chest) -> list[np.ndarray]:
    """The outlines of a woman's breasts."""
    low = 0.9 + 2 * chest.breast
    return [ellipse(chest.at(side, 0.66 + chest.fat / 3, low), (0.17, 0.15)) for side in SIDES if chest.female]


def mediastinum(chest: Chest) -> np.ndarray:
    """The outline of the great vessels and the heart, whose tip points to the patient's left."""
    atrium = [(0.17, 0.45), (0.22, 0.62), (0.26, 0.8), (0.23, 0.95), (0.18, 1.15)]
    right = [(0.17, -0.1), (0.15, 0.1), (0.15, 0.3), *atrium]
    tip = np.array([(0.9, 1.06), (1.0, 0.95), (0.88, 0.78), (0.6, 0.57)]) * (chest.heart, 1)
    aorta = [(0.24, 0.43), (0.19, 0.35), (0.23, 0.27), (0.2, 0.19), (0.16, 0.08), (0.17, -0.1)]
    left = [(0.3, 1.15), *tip, *aorta]
    return np.vstack((chest.place(RIGHT, curve(right)), chest.place(LEFT, curve(left))))


def hila(chest: Chest) -> list[np.ndarray]:
    """The outlines of the roots of the lungs."""
    return [ellipse(chest.at(side, 0.25, 0.46), (0.022, 0.06), 0.25 * side) for side in SIDES]


def airway(chest: Chest) -> np.ndarray:
    """The outline of the trachea, down to where it divides."""
    line = curve([(0, -0.6), (stream(chest.seed, "airway").normal(0.0, 0.02), 0.0), (-0.02, 0.3)])
    return band(chest.place(LEFT, line), np.linspace(0.034, 0.028, len(line)))


def bubbles(chest: Chest) -> list[np.ndarray]:
    """The outlines of the air in the stomach, under the left diaphragm, and now and then in the bowel."""
    rng = stream(chest.seed, "bubbles")
    stomach = ellipse(chest.at(LEFT, rng.uniform(0.4, 0.6), 1.15), (rng.uniform(0.03, 0.07), rng.uniform(0.02, 0.04)))
    bowel = [
        ellipse(
            chest.at(LEFT, rng.uniform(-0.4, 0.8), rng.uniform(1.28, 1.6)),
            rng.uniform(0.015, 0.04, 2),
            rng.uniform(0, 3),
        )
        for _ in range(rng.integers(0, 4))
    ]
    return [stomach, *bowel]


def ribs(chest: Chest) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The middle lines of the ribs' posterior and of their anterior arcs."""
    posterior, anterior = [], []
    s = np.linspace(0, 1, 24)
    out, back = np.sin(s * np.pi / 2), 1 - np.cos(s * np.pi / 2)  # toward the side wall, and away from it
    for side in SIDES:
        rng = stream(chest.seed, f"ribs {side}")
        slope, gap = rng.uniform(0.1, 0.18), rng.uniform(0.113, 0.126)
        for k in range(11):
            start = -0.11 + gap * k
            end = start + slope + 0.014 * k
            wall = np.interp(end, *_WALL.T)
            arch = (0.03 + 0.02 * (k < 5)) * np.sin(np.pi * s)
            posterior.append(
                chest.place(side, np.stack((0.09 + (wall - 0.09) * out, start + (end - start) * s**2 - arch), 1))
            )
            if k < 8:
                inner = 0.34 + 0.02 * k
                anterior.append(
                    chest.place(side, np.stack((wall - (wall - inner) * back, end + (0.1 + 0.03 * k) * out), 1))
                )
    return posterior, anterior


def clavicles(chest: Chest) -> list[np.ndarray]:
    """The outlines of the collar bones, thick at the breast bone."""
    line = curve([(0.08, 0.16), (0.2, 0.12), (0.5, 0.05), (0.8, -0.03), (1.05, -0.02)])
    width = np.interp(np.linspace(0, 1, len(line)), (0, 0.15, 0.5, 0.9, 1), (0.07, 0.075, 0.05, 0.06, 0.03))
    return chest.both(band(line, width))


def shoulder_blades(chest: Chest) -> list[np.ndarray]:
    """The outlines of the shoulder blades, which lie over the lungs in AP films and are swung out in PA films."""
    inside = 0.78 if chest.anteroposterior else 0.98
    edge = [(inside + 0.06, 0.03), (inside, 0.15), (inside, 0.4), (inside + 0.1, 0.62), (1.12, 0.22), (1.15, 0.08)]
    return chest.both(curve(edge, closed=True))


def upper_arms(chest: Chest) -> list[np.ndarray]:
    """The outlines of the bones of the upper arms: shafts and heads."""
    return chest.both(band(_arm(chest), 0.1)) + [ellipse(chest.at(side, 1.16, 0.1), (0.036, 0.04)) for side in SIDES]


def vertebrae(chest: Chest) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The end plates of the spine, as lines, and its pedicles and spinous processes, as outlines."""
    levels = np.arange(-0.35, 1.6, 0.085)
    plates = [chest.place(LEFT, [(-0.1, v), (0.1, v)]) for v in levels]
    knobs = [ellipse(chest.at(LEFT, u, v + 0.03), (0.006, 0.009)) for v in levels for u in (-0.06, 0.0, 0.06)]
    return plates, knobs


def vessels(chest: Chest, rng: np.random.Generator) -> Iterator[tuple[float, np.ndarray]]:
    """Arteries and veins that branch from the hila, thinner and thinner: a width and its lines (K, 6, 2) at a time."""
    t = np.linspace(0, 1, 6)[:, None]
    for side in SIDES:
        trunks, width = 11, 0.0062
        here = chest.at(side, 0.22, 0.46) + rng.normal(0, 0.015, (trunks, 2)) * (0.5, 2)
        angle = np.linspace(-1.3, 1.45, trunks) + rng.normal(0, 0.15, trunks)
        length = rng.uniform(0.04, 0.1, trunks)
        for _ in range(7):
            there = here + np.stack((side * np.cos(angle), np.sin(angle)), 1) * length[:, None]
            middle = (here + there) / 2 + rng.normal(0, 0.1, here.shape) * length[:, None]
            yield width, (1 - t) ** 2 * here[:, None] + 2 * t * (1 - t) * middle[:, None] + t**2 * there[:, None]
            here, width = np.repeat(there, 2, 0), width * 0.74
            length = np.repeat(length, 2) * rng.uniform(0.5, 0.95, 2 * len(length))
            angle = np.repeat(angle, 2) + np.tile((-0.28, 0.28), len(angle)) + rng.normal(0, 0.2, 2 * len(angle))
