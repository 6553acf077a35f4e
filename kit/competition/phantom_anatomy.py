"""The healthy chest of a phantom: where its parts lie, and what they take from the beam.

Parts are placed in the chest's own coordinates: `u` from the midline (0) to the side wall (1), `v` from the top of
the lungs (0) to the top of the diaphragm (1). Attenuation is in units of a trunk's soft tissue.
"""

from dataclasses import dataclass

import numpy as np

from kit.competition.phantom_film import Film, band, curve, ellipse

RIGHT, LEFT = -1, 1  # the patient's sides, as seen on a film: the patient's right is on its left
SIDES = (RIGHT, LEFT)

# Outlines of the lungs in (u, v), from the medial end of the base up the mediastinum, over the apex (7), down the
# side wall to the costophrenic angle (14) and back along the diaphragm. The left lung makes room for the heart.
_LUNG = {
    RIGHT: [(0.2, 1.05), (0.2, 0.8), (0.16, 0.6), (0.17, 0.45), (0.15, 0.27), (0.14, 0.13), (0.2, 0.03)],
    LEFT: [(0.34, 1.07), (0.3, 0.82), (0.22, 0.6), (0.18, 0.45), (0.17, 0.27), (0.14, 0.13), (0.2, 0.03)],
}
_OUTSIDE = [
    (0.33, 0.0),
    (0.47, 0.06),
    (0.61, 0.17),
    (0.76, 0.36),
    (0.87, 0.6),
    (0.93, 0.85),
    (0.96, 1.03),
    (0.955, 1.16),
]
_BASE = [(0.9, 1.08), (0.76, 1.01), (0.56, 0.97), (0.36, 0.985)]
APEX, ANGLE, CORNERS = 7, 14, 19
STEPS = 12  # points of an outline between two corners

_WALL = np.array([(-0.1, 0.3), (0.0, 0.42), *((v, u + 0.01) for u, v in _OUTSIDE[1:]), (1.6, 0.97)])


@dataclass(frozen=True)
class Chest:
    """The build of a patient and how it was taken: what all parts are placed by."""

    female: bool
    anteroposterior: bool
    half_width: float  # of the rib cage, in sides of the film
    top: float  # of the lungs, likewise
    height: float  # from there to the diaphragm
    dome: float  # how much higher the right diaphragm stands, in v
    heart: float  # cardiothoracic ratio
    seed: tuple[int, ...]  # of the small differences between patients

    @classmethod
    def draw(cls, rng: np.random.Generator, female: bool, anteroposterior: bool, seed: tuple[int, ...]) -> "Chest":
        """A patient: portable AP films show wide hearts over high diaphragms."""
        return cls(
            female,
            anteroposterior,
            half_width=rng.uniform(0.35, 0.4) - 0.015 * female,
            top=rng.uniform(0.1, 0.17) + 0.02 * anteroposterior,
            height=rng.uniform(0.5, 0.58) - 0.07 * anteroposterior,
            dome=rng.uniform(0.0, 0.06),
            heart=rng.uniform(0.42, 0.54) + 0.07 * anteroposterior,
            seed=seed,
        )

    def place(self, side: int, points) -> np.ndarray:
        """Chest coordinates (N, 2) on one side as body coordinates (N, 2)."""
        u, v = np.asarray(points, float).T
        return np.stack((0.5 + side * u * self.half_width, self.top + v * self.height), 1)

    def both(self, points) -> list[np.ndarray]:
        """A line on both sides."""
        return [self.place(side, points) for side in SIDES]

    def lung(self, side: int) -> np.ndarray:
        """The outline of a lung: (CORNERS * STEPS, 2), closed."""
        rng = np.random.default_rng((*self.seed, 7, side + 1))
        corners = np.array(_LUNG[side] + _OUTSIDE + _BASE) + rng.normal(0, 0.008, (CORNERS, 2))
        low = corners[:, 1] > 0.9
        corners[low, 1] -= self.dome * (side == RIGHT)
        return self.place(side, curve(corners, closed=True, steps=STEPS))

    def ribs(self, side: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The middle lines of the ribs' posterior and anterior arcs on one side."""
        rng = np.random.default_rng((*self.seed, 8, side + 1))
        slope, gap = rng.uniform(0.12, 0.2), rng.uniform(0.118, 0.13)
        posterior, anterior = [], []
        s = np.linspace(0, 1, 24)
        for k in range(11):
            start = -0.13 + gap * k
            end = start + slope + 0.012 * k
            wall = np.interp(end, *_WALL.T)
            rise = -0.05 * np.sin(np.pi * s)
            posterior.append(
                self.place(
                    side,
                    np.stack((0.09 + (wall - 0.09) * np.sin(s * np.pi / 2), start + rise + (end - start) * s**2), 1),
                )
            )
            if k < 8:
                inner = 0.3 + 0.02 * k
                anterior.append(
                    self.place(
                        side,
                        np.stack(
                            (
                                wall - (wall - inner) * (1 - np.cos(s * np.pi / 2)),
                                end + (0.1 + 0.03 * k) * np.sin(s * np.pi / 2),
                            ),
                            1,
                        ),
                    )
                )
        return posterior, anterior


def soft_tissue(chest: Chest, film: Film) -> np.ndarray:
    """Everything without fine detail: attenuation, float32 (size, size)."""
    trunk = film.fill(silhouette(chest))
    depth = film.fill(silhouette(chest), 0.05)
    total = trunk * (0.25 + 0.6 * np.sqrt((2 * depth - 0.9).clip(0, 1)))
    total += 0.3 * film.fill([chest.place(1, [(-0.9, 1.05), (0.9, 1.05), (1.0, 2.2), (-1.0, 2.2)])], 0.03) * trunk
    total -= 0.2 * film.fill([chest.place(1, [(-0.45, -1), (0.45, -1), (0.4, -0.1), (-0.4, -0.1)])], 0.02) * trunk
    for side in SIDES:
        outline = chest.lung(side)
        air = film.fill([outline], 0.0025)
        core = film.fill([outline], 0.045)
        total -= air * (0.22 + 0.42 * core)
        if chest.female:
            total += 0.16 * film.fill([ellipse(chest.place(side, [(0.62, 0.9)])[0], (0.15, 0.15))], 0.006) * trunk
    total += 0.36 * film.fill([mediastinum(chest)], 0.006)
    total += 0.14 * film.fill(chest.both([(0, -1), (0.11, -1), (0.12, 3), (0, 3)]), 0.006) * trunk
    total += 0.1 * film.fill([ellipse(chest.place(s, [(0.24, 0.46)])[0], (0.025, 0.06)) for s in SIDES], 0.018)
    return total


def silhouette(chest: Chest) -> list[np.ndarray]:
    """The outlines of the trunk with the neck."""
    half = [
        (0.22, -1),
        (0.23, -0.3),
        (0.34, -0.18),
        (0.7, -0.08),
        (1.0, 0.02),
        (1.2, 0.14),
        (1.25, 0.5),
        (1.14, 0.9),
        (1.12, 1.4),
        (1.2, 2.5),
    ]
    right, left = (chest.place(side, curve(half)) for side in SIDES)
    return [np.vstack((right, left[::-1]))]


def mediastinum(chest: Chest) -> np.ndarray:
    """The outline of the great vessels and the heart, whose tip points to the patient's left."""
    reach = 2 * chest.heart - 0.28
    right = [(0.2, -0.1), (0.17, 0.1), (0.17, 0.3), (0.2, 0.42), (0.24, 0.6), (0.29, 0.78), (0.26, 0.95), (0.2, 1.12)]
    left = [
        (0.3, 1.12),
        (reach * 0.9, 1.05),
        (reach, 0.93),
        (reach * 0.86, 0.75),
        (reach * 0.55, 0.55),
        (0.26, 0.42),
        (0.2, 0.34),
        (0.25, 0.25),
        (0.21, 0.17),
        (0.18, 0.05),
        (0.2, -0.1),
    ]
    return np.vstack((chest.place(RIGHT, curve(right)), chest.place(LEFT, curve(left))))


def bones(chest: Chest, film: Film) -> np.ndarray:
    """Ribs, clavicles and spine with their cortex: attenuation, float32 (size, size)."""
    total = np.zeros((film.size, film.size), np.float32)
    for arcs, strength in zip(zip(*(chest.ribs(side) for side in SIDES), strict=True), (0.1, 0.06), strict=True):
        lines = [line for side in arcs for line in side]
        total += strength * film.stroke(lines, 0.022, 0.0015)
        total += strength * 0.7 * film.stroke([band(line, 0.022) for line in lines], 0.003, 0.001)
    clavicles = [band(line, 0.03) for line in chest.both(curve([(0.07, 0.15), (0.3, 0.1), (0.6, 0.02), (0.95, -0.03)]))]
    total += 0.12 * film.fill(clavicles, 0.0015) + 0.08 * film.stroke(clavicles, 0.004, 0.001)
    return total


def vessels(chest: Chest, film: Film, rng: np.random.Generator) -> np.ndarray:
    """Arteries and veins that branch from the hila, thinner and thinner: float32 (size, size) in [0, 1]."""
    layer = np.zeros((film.size, film.size), np.uint8)
    for side in SIDES:
        start = chest.place(side, [(0.22, 0.46)])
        angle = np.linspace(-1.25, 1.35, 11) + rng.normal(0, 0.1, 11)
        here, length, width = np.repeat(start, 11, 0), rng.uniform(0.05, 0.09, 11), np.full(11, 0.009)
        for _ in range(6):
            step = np.stack((side * np.cos(angle), np.sin(angle)), 1) * length[:, None]
            middle = here + step * 0.5 + rng.normal(0, 0.06, step.shape) * length[:, None]
            there = here + step
            t = np.linspace(0, 1, 6)[:, None]
            lines = (1 - t) ** 2 * here[:, None] + 2 * t * (1 - t) * middle[:, None] + t**2 * there[:, None]
            film.draw(layer, list(lines), width.mean(), 0.9)
            here, width = np.repeat(there, 2, 0), np.repeat(width, 2) * 0.72
            length = np.repeat(length, 2) * rng.uniform(0.6, 0.95, 2 * len(length))
            angle = np.repeat(angle, 2) + np.tile((-0.3, 0.3), len(angle)) + rng.normal(0, 0.18, 2 * len(angle))
    return film.soften(layer, 0.0012)
