"""Draws shapes, in coordinates of the body, as layers of pixels.

Coordinates of the body run from (0, 0) at the film's top left corner to (1, 1) at its bottom right corner; a pose
moves, turns and scales them. Lengths are in sides of the film. A seed gives the same bytes on every processor: drawing,
blurring and resizing use 8 or 16 bit integers, and floats are only added and multiplied, as IEEE 754 defines exactly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

_SHIFT = 4  # cv2 takes coordinates in sixteenths of a pixel
_RANGE = 4.0  # of floats stored in 16 bits


@dataclass(frozen=True)
class Film:
    """A square film of `size` pixels, and the affine map from the body to it: (2, 3), in sides."""

    size: int
    pose: np.ndarray

    def fill(self, outlines: Sequence[np.ndarray], blur: float) -> np.ndarray:
        """Draws the union of closed outlines, each (N, 2), blurred: float32 (size, size) in [0, 1]."""
        grid = self._grid(blur)
        layer = np.zeros((grid.size, grid.size), np.uint8)
        for outline in outlines:
            cv2.fillPoly(layer, [grid._pixels(outline)], 255, cv2.LINE_AA, _SHIFT)
        return self._soften(layer, blur)

    def stroke(
        self, lines: Sequence[np.ndarray], widths: Sequence[float], levels: Sequence[float], blur: float
    ) -> np.ndarray:
        """Draws open lines, each (N, 2), blurred; lines thinner than a pixel are fainter: float32 (size, size)."""
        layer = np.zeros((self.size, self.size), np.uint8)
        ends = np.cumsum([len(line) for line in lines])
        points = np.split(self._pixels(np.concatenate(lines)), ends[:-1])  # all at once: lines are many and short
        for line, width, level in zip(points, widths, levels, strict=True):
            pixels = width * self.size
            grey = round(255 * level * min(1.0, pixels))
            style = {"thickness": max(1, round(pixels)), "lineType": cv2.LINE_AA, "shift": _SHIFT}
            cv2.polylines(layer, [line], isClosed=False, color=grey, **style)
        return self._soften(layer, blur)

    def mask(self, outline: np.ndarray) -> np.ndarray:
        """Returns the pixels inside a closed outline (N, 2): bool (size, size)."""
        layer = np.zeros((self.size, self.size), np.uint8)
        cv2.fillPoly(layer, [self._pixels(outline)], 1, cv2.LINE_8, _SHIFT)
        return layer.astype(bool)

    def grain(self, rng: np.random.Generator, coarseness: float) -> np.ndarray:
        """Draws noise of deviation about 1, with grains of width `coarseness`: float32 (size, size)."""
        side = self._grid(coarseness).size
        field = self._soften(rng.integers(0, 1 << 16, (side, side), np.uint16), coarseness) - np.float32(0.5)
        return field * np.float32(12**0.5 * max(1.0, 2 * np.pi**0.5 * coarseness * side))  # undoes the averaging

    def smooth(self, layer: np.ndarray, blur: float) -> np.ndarray:
        """Blurs a square layer of floats in [0, 4) and resizes it to this film: float32 (size, size)."""
        levels = np.round(layer.clip(0, _RANGE) * np.float32(65535 / _RANGE)).astype(np.uint16)
        side = min(len(levels), self._grid(blur).size)
        return self._soften(_resized(levels, side), blur) * np.float32(_RANGE)

    def _soften(self, layer: np.ndarray, blur: float) -> np.ndarray:
        """Blurs a square layer of 8 or 16 bits by a deviation of `blur`: float32 (size, size) in [0, 1]."""
        if len(layer) < self.size and layer.dtype == np.uint8:
            layer = layer.astype(np.uint16) * 257  # enough levels for a smooth slope
        if blur * len(layer) > 0.3:
            layer = cv2.GaussianBlur(layer, (0, 0), blur * len(layer), borderType=cv2.BORDER_REPLICATE)
        layer = _resized(layer, self.size)
        return layer.astype(np.float32) * np.float32(1 / np.iinfo(layer.dtype).max)

    def _grid(self, blur: float) -> "Film":
        """Returns the coarsest film that loses no detail after a blur, to make the blur cheap."""
        size = self.size
        while blur * size > 4 and size % 2 == 0:
            size //= 2
        return Film(size, self.pose)

    def _pixels(self, points: np.ndarray) -> np.ndarray:
        moved = points @ self.pose[:, :2].T + self.pose[:, 2]
        return np.round((moved * self.size - 0.5) * (1 << _SHIFT)).astype(np.int32)[:, None]


def _resized(layer: np.ndarray, side: int) -> np.ndarray:
    if len(layer) == side:
        return layer
    return cv2.resize(layer, (side, side), interpolation=cv2.INTER_LINEAR_EXACT)


def curve(points: Sequence[Sequence[float]] | np.ndarray, *, closed: bool = False, steps: int = 12) -> np.ndarray:
    """Returns a Catmull-Rom spline through points (N, 2), with `steps` points per piece: (M, 2).

    >>> curve([(0, 0), (1, 0), (2, 0)], steps=2)[:, 0].tolist()
    [0.0, 0.4375, 1.0, 1.5625, 2.0]
    """
    points = np.asarray(points, float)
    padded = np.pad(points, ((1, 2), (0, 0)), "wrap") if closed else np.pad(points, ((1, 1), (0, 0)), "edge")
    a, b, c, d = (padded[k : len(padded) - 3 + k, None] for k in range(4))
    t = np.arange(steps)[:, None] / steps
    pieces = b + t * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a))) / 2
    line = pieces.reshape(-1, 2)
    return line if closed else np.vstack((line, points[-1]))


def ellipse(centre: np.ndarray, radii: tuple[float, float]) -> np.ndarray:
    """Returns the outline of an ellipse: (48, 2)."""
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    return centre + np.stack((radii[0] * np.cos(angle), radii[1] * np.sin(angle)), 1)


def edges(line: np.ndarray, width: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns both edges of a line (N, 2); `width` is a number, or one number per point."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.hypot(*along.T)[:, None], 1e-9)
    across = np.stack((-along[:, 1], along[:, 0]), 1) * np.broadcast_to(width, len(line))[:, None] / 2
    return line + across, line - across


def band(line: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """Returns the closed outline of a line (N, 2) of some width: (2 N, 2)."""
    left, right = edges(line, width)
    return np.vstack((left, right[::-1]))


def area(outline: np.ndarray) -> float:
    """Returns the area inside a closed outline (N, 2), in squared sides of the film.

    >>> area(np.array([(0, 0), (1, 0), (1, 0.5), (0, 0.5)]))
    0.5
    """
    x, y = outline.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
