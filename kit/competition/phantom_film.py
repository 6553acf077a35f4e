"""Drawing on a film: shapes of the body, in coordinates of the body, become layers of pixels.

A body's coordinates run from (0, 0) at the film's top left corner to (1, 1) at its bottom right for an unmoved
patient; a pose moves, turns and scales them. Everything is drawn, blurred and resized in 8 or 16 bit integers, which
OpenCV computes alike on every processor, and only added and multiplied in floats, which IEEE 754 fixes: so a seed
gives the same bytes everywhere.
"""

from dataclasses import dataclass

import cv2
import numpy as np

_SHIFT = 4  # cv2 takes coordinates in sixteenths of a pixel


@dataclass(frozen=True)
class Film:
    """A square film of `size` pixels and the pose that carries the body onto it: (2, 3), in units of the side."""

    size: int
    pose: np.ndarray

    def fill(self, outlines: list[np.ndarray], blur: float = 0.0) -> np.ndarray:
        """The union of closed outlines, each (N, 2), softened by `blur` (in sides): float32 (size, size) in [0, 1]."""
        layer = np.zeros((self.size, self.size), np.uint8)
        for outline in outlines:
            cv2.fillPoly(layer, [self._pixels(outline)], 255, cv2.LINE_AA, _SHIFT)
        return self.soften(layer, blur)

    def mask(self, outline: np.ndarray) -> np.ndarray:
        """The pixels inside a closed outline (N, 2): bool (size, size)."""
        layer = np.zeros((self.size, self.size), np.uint8)
        cv2.fillPoly(layer, [self._pixels(outline)], 1, cv2.LINE_8, _SHIFT)
        return layer.astype(bool)

    def shade(self, outline: np.ndarray, away: tuple[float, float], blur: float) -> np.ndarray:
        """A fold: an outline (N, 2) sharp on the side that `away` points to and fading on the other."""
        return self.fill([outline], 0.0015) * self.fill([outline + away], blur)

    def stroke(self, lines: list[np.ndarray], width: float, blur: float = 0.0) -> np.ndarray:
        """Open lines, each (N, 2), drawn `width` wide (in sides): float32 (size, size) in [0, 1]."""
        layer = np.zeros((self.size, self.size), np.uint8)
        self.draw(layer, lines, width)
        return self.soften(layer, blur)

    def draw(self, layer: np.ndarray, lines: list[np.ndarray], width: float, strength: float = 1.0) -> None:
        """Draws open lines into `layer`, uint8 (size, size); lines thinner than a pixel get fainter instead."""
        pixels = width * self.size
        level = round(255 * strength * min(1.0, pixels))
        ends = np.cumsum([len(line) for line in lines])[:-1]
        paths = np.split(self._pixels(np.vstack(lines)), ends)
        cv2.polylines(layer, paths, False, level, max(1, round(pixels)), cv2.LINE_AA, _SHIFT)

    def grain(self, rng: np.random.Generator, coarseness: float) -> np.ndarray:
        """Noise of deviation 1 whose grains are about `coarseness` sides wide: float32 (size, size)."""
        white = rng.integers(0, 1 << 16, (self.size, self.size), np.uint16)
        field = self.soften(white, coarseness)
        field -= field.mean(dtype=np.float64).astype(np.float32)
        return field * np.float32(1 / field.std(dtype=np.float64))

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        moved = points @ self.pose[:, :2].T + self.pose[:, 2]
        return np.round((moved * self.size - 0.5) * (1 << _SHIFT)).astype(np.int32)[:, None]

    def soften(self, layer: np.ndarray, blur: float) -> np.ndarray:
        """A layer of 8 or 16 bits blurred by a Gaussian of deviation `blur` (in sides), as floats in [0, 1]."""
        full, sigma, shrink = np.iinfo(layer.dtype).max, blur * self.size, 1
        while sigma / shrink > 3 and self.size % (2 * shrink) == 0:
            shrink *= 2
        if shrink > 1:  # a wide blur is as good on a smaller grid, with more levels to be smooth
            small = self.size // shrink
            sums = layer.reshape(small, shrink, small, shrink).sum((1, 3), dtype=np.uint64)
            layer, full = (sums * 65535 // (full * shrink**2)).astype(np.uint16), 65535
        if sigma > 0.3:
            layer = cv2.GaussianBlur(layer, (0, 0), sigma / shrink, borderType=cv2.BORDER_REPLICATE)
        if shrink > 1:
            layer = cv2.resize(layer, (self.size, self.size), interpolation=cv2.INTER_LINEAR_EXACT)
        return layer.astype(np.float32) * np.float32(1 / full)


def resized(layer: np.ndarray, size: int) -> np.ndarray:
    """A layer of floats in [0, 4) at another size, bilinear: float32 (size, size)."""
    levels = cv2.resize(levels_of(layer), (size, size), interpolation=cv2.INTER_LINEAR_EXACT)
    return levels.astype(np.float32) * np.float32(4 / 65535)


def levels_of(layer: np.ndarray) -> np.ndarray:
    """Floats in [0, 4) as 16 bits."""
    return np.round(layer.clip(0, 4) * np.float32(65535 / 4)).astype(np.uint16)


def curve(points: list | np.ndarray, closed: bool = False, steps: int = 12) -> np.ndarray:
    """A smooth line through points (N, 2): a Catmull-Rom spline with `steps` points a piece: (M, 2)."""
    points = np.asarray(points, float)
    around = np.pad(points, ((1, 2), (0, 0)), "wrap") if closed else np.pad(points, ((1, 1), (0, 0)), "edge")
    a, b, c, d = (around[k : len(around) - 3 + k, None] for k in range(4))
    t = np.arange(steps)[:, None] / steps
    pieces = b + t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a))) / 2
    line = pieces.reshape(-1, 2)
    return line if closed else np.vstack((line, points[-1]))


def ellipse(centre: tuple[float, float], radii: tuple[float, float], turn: float = 0.0) -> np.ndarray:
    """The outline of an ellipse turned by `turn` radians: (48, 2)."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    x, y = radii[0] * np.cos(angle), radii[1] * np.sin(angle)
    return np.stack((x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)), 1) + centre


def band(line: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """The outline of a line (N, 2) made `width` wide, one number or one for each point: (2 N, 2)."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.hypot(*along.T)[:, None], 1e-9)
    across = np.stack((-along[:, 1], along[:, 0]), 1) * np.broadcast_to(width, len(line))[:, None] / 2
    return np.vstack((line + across, (line - across)[::-1]))


def area(outline: np.ndarray) -> float:
    """The area inside a closed outline (N, 2), in squares of the side."""
    x, y = outline.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
