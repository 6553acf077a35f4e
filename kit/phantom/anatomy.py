"""The anatomy of a phantom's healthy chest, as outlines and lines.

Parts are placed in coordinates of the chest: `u` from the midline (0) to the side wall (1), `v` from the top of the
lungs (0) to the top of the diaphragm (1). Functions return lines (N, 2) in coordinates of the body. If the patient is
turned about the long axis, parts in front and parts behind shift against each other.
"""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kit.phantom.film import band, curve, ellipse

RIGHT, LEFT = -1, 1  # sides of the patient: the right side is on the left of the film
SIDES = (RIGHT, LEFT)
Lines = list[np.ndarray]

# Outlines of the lungs in (u, v), from the medial end of the base up the mediastinum, over the apex (7), down the
# side wall to the costophrenic angle (14) and back along the diaphragm. The left lung makes room for the heart.
_MEDIAL = {
    RIGHT: [(0.2, 1.05), (0.2, 0.8), (0.15, 0.6), (0.15, 0.45), (0.14, 0.27), (0.14, 0.13), (0.2, 0.04)],
    LEFT: [(0.3, 1.07), (0.26, 0.82), (0.2, 0.6), (0.16, 0.45), (0.15, 0.27), (0.14, 0.13), (0.2, 0.04)],
}
_SIDE = [(0.33, 0.0), (0.47, 0.05), (0.62, 0.16), (0.77, 0.36), (0.88, 0.6), (0.94, 0.85), (0.97, 1.05), (0.965, 1.17)]
_BASE = [(0.9, 1.09), (0.76, 1.01), (0.56, 0.97), (0.36, 0.99)]
APEX, ANGLE = 7, 14
STEPS = 12  # points of an outline per corner
_BACK, _CORE, _FRONT = -0.8, 0.25, 1.0  # depths of the spine, the heart and the breast bone

_WALL = np.array([(-0.1, 0.3), (0.0, 0.42), *((v, u + 0.015) for u, v in _SIDE[1:]), (1.6, 0.98)])  # in (v, u)


def stream(seed: tuple[int, ...], purpose: str) -> np.random.Generator:
    """Returns the random generator of one purpose, independent of all other purposes."""
    return np.random.default_rng((*seed, zlib.crc32(purpose.encode())))


@dataclass(frozen=True)
class Chest:
    """A patient's build, breath and position, by which all parts are placed."""

    half_width: float  # of the rib cage; this and the next two in sides of the film
    top: float  # of the lungs
    height: float  # from the top to the diaphragm
    heart: float  # extent to the patient's left, in u
    fat: float  # soft tissue outside the rib cage, in u
    breast: float  # attenuation relative to the trunk; 0 for a man
    turn: float  # about the long axis, as the shift of the breast bone to the left, in u
    seed: tuple[int, ...]  # of small differences between patients

    @classmethod
    def draw(cls, seed: tuple[int, ...], taken: np.random.Generator, *, female: bool, in_bed: bool) -> "Chest":
        """Draws a patient, from thin to obese; films of patients in bed show wide hearts over high diaphragms.

        Args:
            seed: Seed of the build, shared by all films of the patient.
            taken: Random generator of breath and position on this film.
            in_bed: Whether the film is taken from the front, in bed.
        """
        rng = stream(seed, "chest")
        weight = float(np.clip(rng.normal(), -1.5, 1.5))
        breath = float(np.clip(taken.normal(1, 0.06) - 0.08 * in_bed, 0.75, 1.1))
        return cls(
            half_width=rng.uniform(0.335, 0.395) + 0.01 * weight - 0.015 * female,
            top=rng.uniform(0.08, 0.15) + taken.uniform(0, 0.05) * in_bed,
            height=(rng.uniform(0.54, 0.66) - 0.02 * weight) * breath,
            heart=rng.uniform(0.44, 0.64) + 0.04 * weight + 0.08 * in_bed,
            fat=0.17 + 0.08 * weight,
            breast=female * rng.uniform(0.02, 0.08),
            turn=float(np.clip(taken.normal(0, 0.06), -0.15, 0.15)),
            seed=seed,
        )

    def place(self, side: int, points: ArrayLike, depth: float = 0.0) -> np.ndarray:
        """Places a line in (u, v) on one side, at a depth from -1 (behind) to 1 (in front): (N, 2)."""
        u, v = np.asarray(points, float).T
        shift = self.turn * depth * (1 - np.abs(u)).clip(0)  # the walls stay where they are
        return np.stack((0.5 + self.half_width * (side * u + shift), self.top + self.height * v), -1)

    def both(self, points: ArrayLike, depth: float = 0.0) -> Lines:
        """Places a line in (u, v) on both sides."""
        return [self.place(side, points, depth) for side in SIDES]

    def across(self, points: ArrayLike, depth: float = 0.0) -> np.ndarray:
        """Returns the outline between a line in (u, v) and its mirror image."""
        right, left = self.both(points, depth)
        return np.vstack((right, left[::-1]))


def lung(chest: Chest, side: int) -> np.ndarray:
    """Returns the closed outline of a lung, with `STEPS` points per corner."""
    corners = np.array(_MEDIAL[side] + _SIDE + _BASE)
    corners += stream(chest.seed, f"lung {side}").normal(0, 0.01, corners.shape)
    return chest.place(side, curve(corners, closed=True, steps=STEPS), _CORE)


def trunk(chest: Chest) -> np.ndarray:
    """Returns the outline of neck, shoulders and flanks."""
    neck, wide = 0.24 + 0.35 * chest.fat, 1.0 + chest.fat
    shoulder = [(neck, -1), (neck + 0.02, -0.28), (neck + 0.16, -0.17), (0.8, -0.1), (1.15, -0.02), (1.37, 0.1)]
    flank = [(1.42, 0.28), (wide + 0.12, 0.45), (wide, 0.75), (wide, 1.1), (wide + 0.06, 1.5), (wide + 0.06, 3.0)]
    return chest.across(curve(shoulder + flank))


def arms(chest: Chest) -> tuple[Lines, Lines]:
    """Returns the outlines of the arms, held forward against the detector, and of their bones."""
    line = curve([(1.15, 0.1), (1.26, 0.27), (2.05, 1.3)])
    return chest.both(band(line, 0.42)), chest.both(band(line, 0.1))


def breasts(chest: Chest) -> Lines:
    """Returns the outlines of the breasts."""
    return [ellipse(middle, (0.17, 0.15)) for middle in chest.both((0.66 + chest.fat / 3, 0.97))]


def mediastinum(chest: Chest) -> np.ndarray:
    """Returns the outline of the great vessels and the heart, whose tip points to the patient's left."""
    broad, knob = stream(chest.seed, "mediastinum").uniform(0.85, 1.3, 2)
    atrium = [(0.17, 0.45), (0.22, 0.62), (0.26, 0.8), (0.23, 0.95), (0.18, 1.15)]
    right = np.array([(0.17, -0.1), (0.15, 0.1), (0.15, 0.3), *atrium]) * (broad, 1)
    tip = np.array([(0.9, 1.06), (1.0, 0.95), (0.88, 0.78), (0.6, 0.57)]) * (chest.heart, 1)
    aorta = np.array([(0.24, 0.43), (0.19, 0.35), (0.23, 0.27), (0.2, 0.19), (0.16, 0.08), (0.17, -0.1)])
    left = np.vstack([(0.3, 1.15), tip, aorta * (knob, 1)])
    return np.vstack((chest.place(RIGHT, curve(right), _CORE), chest.place(LEFT, curve(left), _CORE)))


def hila(chest: Chest) -> Lines:
    """Returns the outlines of the roots of the lungs."""
    return [ellipse(middle, (0.022, 0.06)) for middle in chest.both((0.25, 0.46), _CORE)]


def airway(chest: Chest) -> np.ndarray:
    """Returns the outline of the trachea, down to its bifurcation."""
    return band(chest.place(LEFT, curve([(0, -0.6), (0, 0), (-0.02, 0.3)]), _CORE), 0.031)


def stomach(chest: Chest) -> np.ndarray:
    """Returns the outline of the air in the stomach, under the left diaphragm."""
    rng = stream(chest.seed, "stomach")
    return ellipse(chest.place(LEFT, (rng.uniform(0.4, 0.6), 1.17)), (rng.uniform(0.03, 0.06), rng.uniform(0.02, 0.03)))


def ribs(chest: Chest) -> tuple[Lines, Lines]:
    """Returns the centre lines of the posterior and of the anterior arcs of the ribs."""
    rng, bone = stream(chest.seed, "ribs"), 0.57 / chest.height  # bones do not stretch with the breath
    slope, gap = rng.uniform(0.09, 0.2), rng.uniform(0.108, 0.126) * bone
    s = np.linspace(0, 1, 24)
    out, back = np.sin(s * np.pi / 2), 1 - np.cos(s * np.pi / 2)  # toward the side wall, and away from it
    posterior, anterior = [], []
    for k in range(10):
        start = gap * k - 0.11 * bone
        end = start + slope + 0.014 * k
        wall = np.interp(end, *_WALL.T)
        arch = (0.03 + 0.02 * (k < 5)) * np.sin(np.pi * s)
        behind = np.stack((0.09 + (wall - 0.09) * out, start + (end - start) * s**2 - arch), 1)
        front = np.stack((wall - (wall - 0.34 - 0.02 * k) * back, end + (0.1 + 0.03 * k) * out), 1)
        posterior += chest.both(behind, _BACK)
        anterior += chest.both(front, _FRONT) if k < 7 else []
    return posterior, anterior


def clavicles(chest: Chest) -> Lines:
    """Returns the outlines of the collar bones, thick at the breast bone."""
    drop = stream(chest.seed, "clavicles").uniform(-0.05, 0.05)
    line = curve([(0.08, 0.16 + drop), (0.2, 0.12 + drop), (0.5, 0.05), (0.8, -0.03 - drop), (1.05, -0.02 - drop)])
    width = np.interp(np.linspace(0, 1, len(line)), (0, 0.15, 0.5, 0.9, 1), (0.07, 0.075, 0.05, 0.06, 0.03))
    return chest.both(band(line, width), _FRONT)


def shoulder_blades(chest: Chest) -> Lines:
    """Returns the outlines of the shoulder blades, swung away from the lungs."""
    edge = [(1.04, 0.03), (0.98, 0.15), (0.98, 0.4), (1.08, 0.62), (1.12, 0.22), (1.15, 0.08)]
    return chest.both(curve(edge, closed=True))


def vertebrae(chest: Chest) -> Lines:
    """Returns the outlines of the vertebral bodies, with gaps for the discs."""
    rng, bone = stream(chest.seed, "spine"), 0.57 / chest.height
    bend, phase = rng.normal(0, 0.02), rng.uniform(0, 6)  # no spine is quite straight
    half = np.array([(0.085, 0.0), (0.073, 0.034 * bone), (0.085, 0.068 * bone)])
    block = np.vstack((half, half[::-1] * (-1, 1)))
    levels = np.arange(-0.5, (1.15 - chest.top) / chest.height, 0.082 * bone)
    return [chest.place(LEFT, block + np.array((bend * np.sin(2 * v + phase), v)), _BACK) for v in levels]


def vessels(chest: Chest, rng: np.random.Generator) -> tuple[Lines, list[float]]:
    """Returns the arteries and veins that branch from the hila, thinner and thinner, and their widths."""
    lines: Lines = []
    widths: list[float] = []
    t = np.linspace(0, 1, 6)[:, None]
    for side, hilum in zip(SIDES, chest.both((0.22, 0.46), _CORE), strict=True):
        trunks, width = 11, 0.0062
        starts = hilum + rng.normal(0, 0.02, (trunks, 2)) * (0.5, 2)
        angle = np.linspace(-1.3, 1.45, trunks) + rng.normal(0, 0.25, trunks)
        length = rng.uniform(0.04, 0.1, trunks)
        for _ in range(6):
            ends = starts + np.stack((side * np.cos(angle), np.sin(angle)), 1) * length[:, None]
            middle = (starts + ends) / 2 + rng.normal(0, 0.1, starts.shape) * length[:, None]
            lines += list((1 - t) ** 2 * starts[:, None] + 2 * t * (1 - t) * middle[:, None] + t**2 * ends[:, None])
            widths += [width] * len(starts)
            starts, width = np.repeat(ends, 2, 0), width * 0.74
            length = np.repeat(length, 2) * rng.uniform(0.5, 0.95, 2 * len(length))
            angle = np.repeat(angle, 2) + np.tile((-0.28, 0.28), len(angle)) + rng.normal(0, 0.2, 2 * len(angle))
    return lines, widths
