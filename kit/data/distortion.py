"""The transforms of the group `distortion`, as in albumentations of 2019, with maps that are cheap to compute."""

from typing import Any

import albumentations as A
import cv2
import numpy as np


class _Remapped:
    """A distortion that applies its maps directly.

    Albumentations would first combine them into one map, once for the image and again for the mask.
    """

    interpolation: int
    mask_interpolation: int
    border_mode: int

    def apply(self, img: np.ndarray, map_x: np.ndarray, map_y: np.ndarray, **params: Any) -> np.ndarray:
        """Returns the image with each pixel taken from (map_x, map_y), float32 (H, W) each."""
        return cv2.remap(img, map_x, map_y, self.interpolation, borderMode=self.border_mode)

    def apply_to_mask(self, mask: np.ndarray, map_x: np.ndarray, map_y: np.ndarray, **params: Any) -> np.ndarray:
        """Returns the mask, distorted like the image."""
        return cv2.remap(mask, map_x, map_y, self.mask_interpolation, borderMode=self.border_mode)


class Grid(_Remapped, A.GridDistortion):
    """Albumentations' grid distortion."""


class Optical(_Remapped, A.OpticalDistortion):
    """Albumentations' optical distortion by the camera model; the squared radius is a sum of a row and a column."""

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Returns radial maps: radius r is taken from r (1 + k r² + k r⁴), half a pixel off, as in OpenCV."""
        height, width = params["shape"][:2]
        k = self.py_random.uniform(*self.distort_limit)
        x, y = (np.arange(side, dtype=np.float32) - (side - 1) / 2 for side in (width, height))
        square = (x / width) ** 2 + ((y / height) ** 2)[:, None]  # (H, W)
        factor = square * square
        factor += square
        factor *= k
        factor += 1
        map_x, map_y = factor * x, factor * y[:, None]
        map_x += width / 2
        map_y += height / 2
        return {"map_x": map_x, "map_y": map_y}


class Elastic(_Remapped, A.ElasticTransform):
    """The elastic transform with the affine part that albumentations had until version 1.3.

    Noise smoothed by a Gaussian has no detail finer than sigma, so noise is drawn every sigma / 3 pixels, and
    displacements are interpolated. Their standard deviation is 1 % smaller than with noise for every pixel.

    Args:
        affine: Largest shift of three points around the centre, in pixels.
    """

    def __init__(self, affine: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.affine = affine

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """Returns the maps of the displacements, followed by the affine map."""
        height, width = params["shape"][:2]
        step = max(1, int(self.sigma / 3))  # pixels between nodes; one node lies beyond each edge
        rows, columns = (-(-side // step) + 2 for side in (height, width))
        noise = self.random_generator.random((2, rows, columns), np.float32) * 2 - 1
        # A node stands for step² pixels, whose mean has 1 / step of their deviation.
        x, y = (
            cv2.GaussianBlur(plane, (0, 0), self.sigma / step, borderType=cv2.BORDER_REPLICATE) * (self.alpha / step)
            for plane in noise
        )
        x += _nodes(columns, step)
        y += _nodes(rows, step)[:, None]
        reach = min(height, width) // 3
        triangle = np.array([[1, 1], [1, -1], [-1, -1]], np.float32)
        corners = triangle * reach + np.array([width // 2, height // 2], np.float32)
        moved = corners + self.random_generator.uniform(-self.affine, self.affine, (3, 2)).astype(np.float32)
        back = cv2.getAffineTransform(moved, corners).astype(np.float32)  # (2, 3), from the new image to the old one
        map_x, map_y = (
            cv2.resize(a * x + b * y + c, None, fx=step, fy=step)[step : step + height, step : step + width]
            for a, b, c in back
        )
        return {"map_x": map_x, "map_y": map_y}


def _nodes(count: int, step: int) -> np.ndarray:
    """Returns the positions, in pixels, of the nodes between which `cv2.resize` interpolates; float32 (count,)."""
    return (np.arange(count, dtype=np.float32) - 0.5) * step - 0.5
