"""The healthy chest of a phantom: where its parts lie, and what they take from the beam.

Parts are placed in the chest's own coordinates: `u` from the midline (0) to the side wall (1), `v` from the top of
the lungs (0) to the top of the diaphragm (1). Attenuation is in units of a trunk's soft tissue.
"""

from dataclasses import dataclass

import numpy as np

from kit.competition.phantom_film import Film, band, curve, ellipse

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
    breast: float  # its attenuation
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
            breast=rng.uniform(0.02, 0.09),
            seed=seed,
        )

    def variation(self, part: int, side: int) -> np.random.Generator:
        """The random numbers of one part: the same in all images of a patient."""
        return np.random.default_rng((*self.seed, part, side + 1))

    def place(self, side: int, points) -> np.ndarray:
        """Chest coordinates (N, 2) on one side as body coordinates (N, 2)."""
        u, v = np.asarray(points, float).reshape(-1, 2).T
        return np.stack((0.5 + side * u * self.half_width, self.top + v * self.height), 1)

    def both(self, points) -> list[np.ndarray]:
        """A line on both sides."""
        return [self.place(side, points) for side in SIDES]

    def lung(self, side: int) -> np.ndarray:
        """The outline of a lung in body coordinates: (CORNERS * STEPS, 2), closed."""
        corners = np.array(_MEDIAL[side] + _SIDE + _BASE)
        corners += self.variation(0, side).normal(0, 0.008, corners.shape)
        corners[corners[:, 1] > 0.9, 1] -= self.dome * (side == RIGHT)
        return self.place(side, curve(corners, closed=True, steps=STEPS))

    def ribs(self, side: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """The middle lines of the posterior and of the anterior arcs of one side's ribs."""
        rng = self.variation(1, side)
        slope, gap = rng.uniform(0.1, 0.18), rng.uniform(0.113, 0.126)
        s = np.linspace(0, 1, 24)
        out, back = np.sin(s * np.pi / 2), 1 - np.cos(s * np.pi / 2)  # toward the side wall, and away from it
        posterior, anterior = [], []
        for k in range(11):
            start = -0.11 + gap * k
            end = start + slope + 0.014 * k
            wall = np.interp(end, *_WALL.T)
            fall = start + (end - start) * s**2 - (0.03 + 0.02 * (k < 5)) * np.sin(np.pi * s)
            posterior.append(self.place(side, np.stack((0.09 + (wall - 0.09) * out, fall), 1)))
            if k < 8:
                inner = 0.34 + 0.02 * k
                fall = end + (0.1 + 0.03 * k) * out
                anterior.append(self.place(side, np.stack((wall - (wall - inner) * back, fall), 1)))
        return posterior, anterior


def soft_tissue(chest: Chest, film: Film, lungs: np.ndarray) -> np.ndarray:
    """Everything without fine detail around and in the `lungs`: attenuation, float32 (size, size)."""
    total = trunk(chest, film)
    middle = film.fill([mediastinum(chest)], 0.004)
    core = film.fill([mediastinum(chest)], 0.035)
    depth = film.fill([chest.lung(side) for side in SIDES], 0.04)
    total *= 1 - lungs * (0.06 + 0.56 * depth) * (1 - middle * (0.45 + 0.4 * core))
    hila = [ellipse(chest.place(side, (0.25, 0.46))[0], (0.022, 0.06), 0.25 * side) for side in SIDES]
    total += 0.06 * core + 0.09 * film.fill(hila, 0.016)
    total += 0.07 * film.fill(chest.both([(0, -1), (0.08, -1), (0.11, 3), (0, 3)]), 0.006)
    return total - 0.1 * film.fill([airway(chest)], 0.005) - 0.22 * gas(chest, film)


def trunk(chest: Chest, film: Film) -> np.ndarray:
    """Neck, shoulders, arms, breasts and belly: attenuation, float32 (size, size)."""
    neck, wide = 0.22 + 0.4 * chest.fat, 1.0 + chest.fat
    shoulder = [
        (neck, -1),
        (neck + 0.02, -0.28),
        (neck + 0.16, -0.17),
        (0.8, -0.1),
        (1.15, -0.02),
        (1.37, 0.1),
        (1.42, 0.28),
    ]
    flank = [(wide + 0.12, 0.45), (wide, 0.75), (wide, 1.1), (wide + 0.06, 1.5), (wide + 0.06, 3.0)]
    outlines = [
        np.vstack([half[::order] for half, order in zip(chest.both(curve(shoulder + flank)), (1, -1), strict=True)])
    ]
    drop = (0.2, 1.6) if chest.anteroposterior else (0.75, 1.0)  # arms hang down, or lie forward at the plate
    arms = chest.both(band(curve([(1.1, 0.1), (1.25, 0.25), (1.3 + drop[0], 0.3 + drop[1])]), 0.42))
    body, arm = film.fill(outlines, 0.002), film.fill(arms, 0.002)
    total = body * _thickness(film.fill(outlines, 0.04)) * (0.42 + 0.35 * film.fill([_middle(chest)], 0.12))
    total = np.maximum(total, 0.42 * arm * _thickness(film.fill(arms, 0.02)))
    total += 0.24 * body * film.fill([chest.place(LEFT, [(-2, 1.02), (2, 1.02), (2, 4), (-2, 4)])], 0.06)
    if chest.female:
        for side in SIDES:
            centre = (0.66 + chest.fat / 3, 0.9 + 2 * chest.breast)
            breast = ellipse(chest.place(side, centre)[0], (0.17, 0.15))
            total += chest.breast * film.shade(breast, (0.0, 0.1), 0.045) * body
    return total


def _thickness(depth: np.ndarray) -> np.ndarray:
    """How thick a round part is, by its blurred outline: nothing at the skin, soon all of it."""
    return 0.12 + 0.88 * np.sqrt((2 * depth - 0.95).clip(0, 1))


def _middle(chest: Chest) -> np.ndarray:
    return np.vstack(
        [half[::order] for half, order in zip(chest.both([(0.6, -0.1), (0.8, 0.3), (0.9, 3)]), (1, -1), strict=True)]
    )


def mediastinum(chest: Chest) -> np.ndarray:
    """The outline of the great vessels and the heart, whose tip points to the patient's left."""
    reach = chest.heart
    right = [
        (0.17, -0.1),
        (0.15, 0.1),
        (0.15, 0.3),
        (0.17, 0.45),
        (0.22, 0.62),
        (0.26, 0.8),
        (0.23, 0.95),
        (0.18, 1.15),
    ]
    left = [(0.3, 1.15), (reach * 0.9, 1.06), (reach, 0.95), (reach * 0.88, 0.78), (reach * 0.6, 0.57), (0.24, 0.43)]
    left += [(0.19, 0.35), (0.23, 0.27), (0.2, 0.19), (0.16, 0.08), (0.17, -0.1)]
    return np.vstack((chest.place(RIGHT, curve(right)), chest.place(LEFT, curve(left))))


def airway(chest: Chest) -> np.ndarray:
    """The outline of the trachea, down to where it divides."""
    lean = chest.variation(2, 0).normal(0.0, 0.02)
    return band(chest.place(LEFT, curve([(0, -0.6), (lean, 0.0), (-0.02, 0.3)])), np.linspace(0.034, 0.028, 25))


def gas(chest: Chest, film: Film) -> np.ndarray:
    """Air in the stomach under the left diaphragm, and in bowel now and then: float32 (size, size) in [0, 1]."""
    rng = chest.variation(3, 0)
    bubbles = [
        ellipse(chest.place(LEFT, (rng.uniform(0.4, 0.6), 1.15))[0], (rng.uniform(0.03, 0.07), rng.uniform(0.02, 0.04)))
    ]
    for _ in range(rng.integers(0, 4)):
        centre = chest.place(LEFT, (rng.uniform(-0.4, 0.8), rng.uniform(1.28, 1.6)))[0]
        bubbles.append(ellipse(centre, rng.uniform(0.015, 0.04, 2), rng.uniform(0, 3)))
    return film.fill(bubbles, 0.004) * rng.uniform(0.2, 1.0)


def bones(chest: Chest, film: Film, lungs: np.ndarray) -> np.ndarray:
    """Ribs, shoulders and spine with their cortex: attenuation, float32 (size, size); ribs fade outside the lungs."""
    right, left = (chest.ribs(side) for side in SIDES)
    cage = np.zeros_like(lungs)
    for lines, strength in ((right[0] + left[0], 0.06), (right[1] + left[1], 0.04)):
        cage += strength * film.stroke(lines, 0.02, 0.0012)
        cage += strength * film.stroke(
            [edge for line in lines for edge in np.split(band(line, 0.02), 2)], 0.0022, 0.0006
        )
    cage *= 0.6 + 0.4 * lungs
    clavicle = curve([(0.08, 0.16), (0.2, 0.12), (0.5, 0.05), (0.8, -0.03), (1.05, -0.02)])
    width = np.interp(np.linspace(0, 1, len(clavicle)), (0, 0.15, 0.5, 0.9, 1), (0.07, 0.075, 0.05, 0.06, 0.03))
    shade = chest.both(clavicle - (0, 0.04))  # the skin over the clavicle: a companion shadow
    inside = 0.78 if chest.anteroposterior else 0.98  # where the shoulder blade's inner edge lies
    blade = curve(
        [(inside + 0.06, 0.03), (inside, 0.15), (inside, 0.4), (inside + 0.1, 0.62), (1.12, 0.22), (1.15, 0.08)],
        closed=True,
    )
    upper_arm = curve(
        [(1.17, 0.1), (1.27, 0.3), (1.45, 1.4)] if chest.anteroposterior else [(1.17, 0.1), (1.35, 0.25), (2.2, 0.8)]
    )
    flat = (
        chest.both(band(clavicle, width))
        + chest.both(band(upper_arm, 0.1))
        + [ellipse(p[0], (0.036, 0.04)) for p in chest.both((1.16, 0.1))]
    )
    edges = flat[:2] + chest.both(blade)
    cage += 0.1 * film.fill(flat, 0.0012) + 0.05 * film.fill(chest.both(blade), 0.004)
    cage += 0.05 * film.stroke(edges, 0.0025, 0.0006) + 0.03 * film.stroke(shade, 0.012, 0.002)
    return cage + spine(chest, film)


def spine(chest: Chest, film: Film) -> np.ndarray:
    """Vertebral end plates, pedicles and spinous processes: attenuation, float32 (size, size)."""
    levels = np.arange(-0.35, 1.6, 0.085)
    plates = [chest.place(LEFT, [(-0.1, v), (0.1, v)]) for v in levels]
    knobs = [ellipse(chest.place(LEFT, (u, v + 0.03))[0], (0.006, 0.009)) for v in levels for u in (-0.06, 0.0, 0.06)]
    return 0.03 * film.stroke(plates, 0.004, 0.001) + 0.03 * film.fill(knobs, 0.001)


def vessels(chest: Chest, film: Film, rng: np.random.Generator) -> np.ndarray:
    """Arteries and veins that branch from the hila, thinner and thinner: float32 (size, size) in [0, 1]."""
    layer = np.zeros((film.size, film.size), np.uint8)
    t = np.linspace(0, 1, 6)[:, None]
    for side in SIDES:
        count = 11
        here = chest.place(side, (0.22, 0.46)) + rng.normal(0, 0.015, (count, 2)) * (0.5, 2)
        angle = np.linspace(-1.3, 1.45, count) + rng.normal(0, 0.15, count)
        length, width = rng.uniform(0.04, 0.1, count), 0.0062
        for _ in range(7):
            there = here + np.stack((side * np.cos(angle), np.sin(angle)), 1) * length[:, None]
            middle = (here + there) / 2 + rng.normal(0, 0.1, here.shape) * length[:, None]
            lines = (1 - t) ** 2 * here[:, None] + 2 * t * (1 - t) * middle[:, None] + t**2 * there[:, None]
            film.draw(layer, list(lines), width, (width / 0.0062) ** 0.5)
            here, width = np.repeat(there, 2, 0), width * 0.74
            length = np.repeat(length, 2) * rng.uniform(0.5, 0.95, 2 * len(length))
            angle = np.repeat(angle, 2) + np.tile((-0.28, 0.28), len(angle)) + rng.normal(0, 0.2, 2 * len(angle))
    return film.soften(layer, 0.001)
