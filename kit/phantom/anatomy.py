"""The healthy chest of a phantom: where its parts lie.

Parts are placed in the chest's own coordinates: `u` from the midline (0) to the side wall (1), `v` from the top of
the lungs (0) to the top of the diaphragm (1). What is returned is in coordinates of the body, each line (N, 2). Of a
patient who is turned about the long axis, what lies in front and what lies behind shift against each other.
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
_BACK, _CORE, _FRONT = -0.8, 0.25, 1.0  # how deep the spine, the heart and the breast bone lie

_WALL = np.array([(-0.1, 0.3), (0.0, 0.42), *((v, u + 0.015) for u, v in _SIDE[1:]), (1.6, 0.98)])  # (v, u) of it


def stream(seed: tuple[int, ...], purpose: str) -> np.random.Generator:
    """The random numbers of one purpose: adding a purpose changes no other."""
    return np.random.default_rng((*seed, zlib.crc32(purpose.encode())))


@dataclass(frozen=True)
class Chest:
    """The build of a patient, and the breath and the position it was taken in: what all parts are placed by."""

    female: bool
    anteroposterior: bool
    half_width: float  # of the rib cage, in sides of the film
    top: float  # of the lungs, likewise
    height: float  # from there to the diaphragm, likewise
    dome: float  # how much higher the right diaphragm stands, in v
    heart: float  # how far it reaches to the patient's left, in u
    taper: float  # how much wider the cage is at its base than at its top
    fat: float  # soft tissue outside the rib cage, in u
    breast: float  # its attenuation, in a trunk's
    bone: float  # how dense the bones are, 1 in the mean
    turn: float  # of the patient about the long axis: how far the breast bone lies to the left, in u
    deep: int  # the side whose costophrenic angle air has deepened, 0 for none
    seed: tuple[int, ...]  # of the small differences between patients

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        taken: np.random.Generator,
        female: bool,
        anteroposterior: bool,
        deep: int,
        seed: tuple[int, ...],
    ) -> "Chest":
        """A patient, thin to obese: films of the bedridden (AP) show wide hearts over high diaphragms.

        Args:
            rng: of the build, which all films of a patient share.
            taken: of the breath and the position of this film.
            female: the sex.
            anteroposterior: whether taken from the front.
            deep: the side whose costophrenic angle air has deepened, 0 for none.
            seed: of the small differences between patients.
        """
        weight = float(np.clip(rng.normal(), -1.8, 1.8))  # thin to obese
        breath = float(np.clip(taken.normal(1, 0.08) - 0.1 * anteroposterior, 0.7, 1.1))
        heart = rng.uniform(0.42, 0.66) + 0.04 * weight + 0.18 * (rng.random() < 0.12)
        heart += 0.09 * anteroposterior + max(0.0, 0.9 - breath)  # near the tube, and lifted by the diaphragm
        return cls(
            female,
            anteroposterior,
            half_width=rng.uniform(0.335, 0.395) + 0.01 * weight - 0.015 * female,
            top=rng.uniform(0.08, 0.15) + taken.uniform(0, 0.06) * anteroposterior,
            height=(rng.uniform(0.53, 0.66) - 0.02 * weight) * breath,
            dome=rng.uniform(-0.03, 0.08),
            heart=min(0.88, heart),
            taper=rng.uniform(-0.08, 0.16),
            fat=float(0.17 * 1.75**weight),
            breast=female * rng.uniform(0.02, 0.08) * 1.25**weight,
            bone=rng.uniform(0.7, 1.35),
            turn=float(np.clip(taken.normal(0, 0.06 + 0.05 * anteroposterior), -0.22, 0.22)),
            deep=deep,
            seed=seed,
        )

    @property
    def spacing(self) -> float:
        """A length of the skeleton in v, which breath does not change, as a multiple of that in a normal breath."""
        return 0.57 / self.height

    def at(self, side: int, u: float, v: float, depth: float = 0.0) -> np.ndarray:
        """One point on one side: (2,)."""
        return self.place(side, (u, v), depth)

    def place(self, side: int, points: ArrayLike, depth: float = 0.0) -> np.ndarray:
        """A line in (u, v) on one side, `depth` (-1 behind to 1 in front) from the middle: (N, 2)."""
        u, v = np.asarray(points, float).T
        u = u * (1 + self.taper * (v - 0.5).clip(-0.6, 0.6))
        shift = self.turn * depth * (1 - np.abs(u)).clip(0)  # the walls stay where they are
        return np.stack((0.5 + self.half_width * (side * u + shift), self.top + self.height * v), -1)

    def both(self, points: ArrayLike, depth: float = 0.0) -> list[np.ndarray]:
        """A line in (u, v) on both sides."""
        return [self.place(side, points, depth) for side in SIDES]

    def across(self, points: ArrayLike, depth: float = 0.0) -> np.ndarray:
        """What a line in (u, v) and its mirror image enclose."""
        right, left = self.both(points, depth)
        return np.vstack((right, left[::-1]))


def lung(chest: Chest, side: int) -> np.ndarray:
    """The outline of a lung, closed: (CORNERS * STEPS, 2)."""
    corners = np.array(_MEDIAL[side] + _SIDE + _BASE)
    corners += stream(chest.seed, f"lung {side}").normal(0, 0.01, corners.shape)
    corners[APEX - 2 : APEX + 2, 1] += stream(chest.seed, "apex").uniform(-0.04, 0.04)
    corners[ANGLE + 2 :, 1] += stream(chest.seed, "dome").uniform(-0.06, 0.03)  # round or flat
    corners[corners[:, 1] > 0.9, 1] -= chest.dome * (side == RIGHT)
    corners[ANGLE - 1 : ANGLE + 2, 1] += np.array((0.08, 0.27, 0.12)) * (side == chest.deep)
    return chest.place(side, curve(corners, closed=True, steps=STEPS), _CORE)


def trunk(chest: Chest) -> np.ndarray:
    """The outline of neck, shoulders and flanks."""
    neck, wide = 0.24 + 0.35 * chest.fat, 1.0 + chest.fat
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
    rng = stream(chest.seed, "mediastinum")
    broad, knob = rng.uniform(0.85, 1.3, 2) + 0.1 * chest.anteroposterior
    right = np.array([(0.17, -0.1), (0.15, 0.1), (0.15, 0.3), *atrium]) * (broad, 1)
    lift = rng.uniform(-0.05, 0.05)  # of a heart that lies across or hangs
    tip = np.array([(0.9, 1.06), (1.0, 0.95 + lift), (0.88, 0.78 + lift), (0.6, 0.57)]) * (chest.heart, 1)
    aorta = np.array([(0.24, 0.43), (0.19, 0.35), (0.23, 0.27), (0.2, 0.19), (0.16, 0.08), (0.17, -0.1)])
    left = np.vstack([(0.3, 1.15), tip, aorta * (knob, 1)])
    return np.vstack((chest.place(RIGHT, curve(right), _CORE), chest.place(LEFT, curve(left), _CORE)))


def hila(chest: Chest) -> list[np.ndarray]:
    """The outlines of the roots of the lungs."""
    return [ellipse(chest.at(side, 0.25, 0.46, _CORE), (0.022, 0.06), 0.25 * side) for side in SIDES]


def airway(chest: Chest) -> np.ndarray:
    """The outline of the trachea, down to where it divides."""
    line = curve([(0, -0.6), (stream(chest.seed, "airway").normal(0.0, 0.02), 0.0), (-0.02, 0.3)])
    return band(chest.place(LEFT, line, _CORE), np.linspace(0.034, 0.028, len(line)))


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
        slope, gap = rng.uniform(0.07, 0.22), rng.uniform(0.108, 0.126) * chest.spacing
        for k in range(10):
            start = gap * k - 0.11 * chest.spacing
            end = start + slope + 0.014 * k
            wall = np.interp(end, *_WALL.T)
            arch = (0.03 + 0.02 * (k < 5)) * np.sin(np.pi * s)
            posterior.append(
                chest.place(side, np.stack((0.09 + (wall - 0.09) * out, start + (end - start) * s**2 - arch), 1), _BACK)
            )
            if k < 7:
                inner = 0.34 + 0.02 * k
                anterior.append(
                    chest.place(side, np.stack((wall - (wall - inner) * back, end + (0.1 + 0.03 * k) * out), 1), _FRONT)
                )
    return posterior, anterior


def clavicles(chest: Chest) -> list[np.ndarray]:
    """The outlines of the collar bones, thick at the breast bone."""
    drop = stream(chest.seed, "clavicles").uniform(-0.05, 0.05)
    line = curve([(0.08, 0.16 + drop), (0.2, 0.12 + drop), (0.5, 0.05), (0.8, -0.03 - drop), (1.05, -0.02 - drop)])
    width = np.interp(np.linspace(0, 1, len(line)), (0, 0.15, 0.5, 0.9, 1), (0.07, 0.075, 0.05, 0.06, 0.03))
    return chest.both(band(line, width), _FRONT)


def shoulder_blades(chest: Chest) -> list[np.ndarray]:
    """The outlines of the shoulder blades, which lie over the lungs in AP films and are swung out in PA films."""
    inside = 0.78 if chest.anteroposterior else 0.98
    edge = [(inside + 0.06, 0.03), (inside, 0.15), (inside, 0.4), (inside + 0.1, 0.62), (1.12, 0.22), (1.15, 0.08)]
    return chest.both(curve(edge, closed=True))


def upper_arms(chest: Chest) -> list[np.ndarray]:
    """The outlines of the bones of the upper arms: shafts and heads."""
    return chest.both(band(_arm(chest), 0.1)) + [ellipse(chest.at(side, 1.16, 0.1), (0.036, 0.04)) for side in SIDES]


def vertebrae(chest: Chest) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """The outlines of the bodies of the spine, with the discs between them, of its pedicles and spinous processes."""
    rng = stream(chest.seed, "spine")
    bend, phase = rng.normal(0, 0.02), rng.uniform(0, 6)  # a back is never quite straight
    bodies, pedicles, processes = [], [], []
    for k, v in enumerate(np.arange(-0.5, (1.15 - chest.top) / chest.height, 0.082 * chest.spacing)):
        middle, tall, wide = bend * np.sin(2 * v + phase), 0.068 * chest.spacing, 0.075 + 0.0012 * k
        half = [(wide, 0.0), (0.86 * wide, tall / 2), (wide, tall)]
        block = np.array(half + [(-u, w) for u, w in half[::-1]])
        bodies.append(chest.place(LEFT, block + np.array((middle, v)), _BACK))
        for u in (-0.6 * wide, 0.6 * wide):
            pedicles.append(ellipse(chest.at(LEFT, middle + u, v + 0.3 * tall, _BACK), (0.0045, 0.008)))
        processes.append(ellipse(chest.at(LEFT, middle, v + 0.75 * tall, 1.6 * _BACK), (0.0045, 0.011)))
    return bodies, pedicles, processes


def sternal_wires(chest: Chest) -> list[np.ndarray]:
    """The loops that close a breast bone after an operation on the heart, closed."""
    return [ellipse(chest.at(LEFT, 0, v, _FRONT), (0.012, 0.007), 0.3) for v in np.arange(0.15, 0.8, 0.12)]


def vessels(chest: Chest, rng: np.random.Generator) -> Iterator[tuple[float, np.ndarray]]:
    """Arteries and veins that branch from the hila, thinner and thinner: a width and its lines (K, 6, 2) at a time."""
    t = np.linspace(0, 1, 6)[:, None]
    for side in SIDES:
        trunks, width = 11, 0.0062
        here = chest.at(side, 0.22, 0.46, _CORE) + rng.normal(0, 0.02, (trunks, 2)) * (0.5, 2)
        angle = np.linspace(-1.3, 1.45, trunks) + rng.normal(0, 0.25, trunks)
        length = rng.uniform(0.04, 0.1, trunks)
        for _ in range(7):
            there = here + np.stack((side * np.cos(angle), np.sin(angle)), 1) * length[:, None]
            middle = (here + there) / 2 + rng.normal(0, 0.1, here.shape) * length[:, None]
            yield width, (1 - t) ** 2 * here[:, None] + 2 * t * (1 - t) * middle[:, None] + t**2 * there[:, None]
            here, width = np.repeat(there, 2, 0), width * 0.74
            length = np.repeat(length, 2) * rng.uniform(0.5, 0.95, 2 * len(length))
            angle = np.repeat(angle, 2) + np.tile((-0.28, 0.28), len(angle)) + rng.normal(0, 0.2, 2 * len(angle))
