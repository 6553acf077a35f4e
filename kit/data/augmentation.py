"""The paper's augmentation groups (section 4.1, Table 9) and the winners', through albumentations.

The recipe says how strong each is. Where albumentations 2 distorts less than its versions of 2019 under the same
names, what those did is done here.
"""

import os
import random
import threading
from collections.abc import Callable, Sequence
from typing import Any

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import asks a server for its newest version

import albumentations as A
import cv2
import numpy as np
from albumentations.augmentations.geometric.functional import generate_displacement_fields

from kit.recipes.magnitudes import Affine, Blur, Crop, Distortion, Exposure, Flip, Light, Magnitudes

REFLECT = cv2.BORDER_REFLECT_101


class Elastic(A.ElasticTransform):
    """The elastic transform with the affine part that albumentations had until its version 1.3.

    Args:
        affine: Three points around the centre move by up to ± this many pixels.
        **options: Of the library's transform.
    """

    def __init__(self, affine: float = 0.0, **options: Any) -> None:
        super().__init__(**options)
        self.affine = affine

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        """The library's displacements, then the affine map."""
        height, width = params["shape"][:2]
        x, y = generate_displacement_fields(  # float32 (H, W) each
            (height, width), self.alpha, self.sigma, False, (0, 0), self.random_generator, self.noise_distribution
        )
        x += np.arange(width, dtype=np.float32)
        y += np.arange(height, dtype=np.float32)[:, None]
        reach = min(height, width) // 3
        triangle = np.array([[1, 1], [1, -1], [-1, -1]], np.float32)
        corners = triangle * reach + np.array([width // 2, height // 2], np.float32)
        moved = corners + self.random_generator.uniform(-self.affine, self.affine, (3, 2)).astype(np.float32)
        back = cv2.getAffineTransform(moved, corners).astype(np.float32)  # (2, 3), from the new image to the old one
        map_x, map_y = (row[0] * x + (row[1] * y + row[2]) for row in back)
        return {"map_x": map_x, "map_y": map_y}


def _flip(settings: Flip, size: int) -> A.BasicTransform:
    return A.HorizontalFlip(p=settings.probability)


def _light(settings: Light, size: int) -> A.BaseCompose:
    return A.OneOf(
        [
            A.RandomBrightnessContrast(brightness_limit=0, contrast_limit=settings.contrast, p=1),
            A.RandomGamma(gamma_limit=_percent(settings.gamma), p=1),
            A.RandomBrightnessContrast(brightness_limit=settings.brightness, contrast_limit=0, p=1),
        ],
        p=settings.probability,
    )


def _distortion(settings: Distortion, size: int) -> A.BaseCompose:
    return A.OneOf(
        [
            Elastic(
                settings.elastic_affine,
                alpha=settings.elastic_alpha,
                sigma=settings.elastic_sigma,
                noise_distribution="uniform",
                border_mode=REFLECT,
                p=1,
            ),
            A.GridDistortion(distort_limit=settings.grid, normalized=False, border_mode=REFLECT, p=1),
            A.OpticalDistortion(distort_limit=settings.optical, border_mode=REFLECT, p=1),
        ],
        p=settings.probability,
    )


def _crop(settings: Crop, size: int) -> A.BasicTransform:
    heights = (round(settings.smallest * size), size)
    return A.RandomSizedCrop(min_max_height=heights, size=(size, size), p=settings.probability)


def _affine(settings: Affine, size: int) -> A.BasicTransform:
    return A.Affine(
        scale=(1 - settings.scale, 1 + settings.scale),
        keep_ratio=True,
        translate_percent=(-settings.shift, settings.shift),
        rotate=(-settings.rotation, settings.rotation),
        border_mode=REFLECT if settings.border == "reflect" else cv2.BORDER_CONSTANT,
        p=settings.probability,
    )


def _exposure(settings: Exposure, size: int) -> A.BaseCompose:
    return A.OneOf(
        [
            A.RandomGamma(gamma_limit=_percent(settings.gamma), p=1),
            A.RandomBrightnessContrast(settings.brightness, settings.contrast, p=1),
            A.CLAHE(clip_limit=(1, settings.clahe), tile_grid_size=(4, 4), p=1),
        ],
        p=settings.probability,
    )


def _blur(settings: Blur, size: int) -> A.BaseCompose:
    kernel = (settings.kernel, settings.kernel)
    return A.OneOf([A.Blur(kernel, p=1), A.MotionBlur(kernel, p=1), A.MedianBlur(kernel, p=1)], p=settings.probability)


def _percent(gamma: tuple[float, float]) -> tuple[float, float]:
    return 100 * gamma[0], 100 * gamma[1]


# In the order in which a sample goes through them; the paper's four follow each other as it lists them.
GROUPS: dict[str, Callable] = {
    "exposure": _exposure,
    "blur": _blur,
    "A1": _flip,
    "A2": _light,
    "A3": _distortion,
    "A4": _crop,
    "affine": _affine,
}


DEFAULTS = Magnitudes()


class Augmentation:
    """Groups of transforms, one after the other.

    What happens to a sample depends on the seed of the call alone: albumentations' own random state repeats
    itself in the workers of a data loader, so it is set again before each sample. That state is a transform's, so each
    thread has transforms of its own. All of them draw from the same generators, one after the other: had each its own
    of the same seed, as the library would have it, the groups would all come together or not at all.

    Args:
        groups: Names of groups; none leaves samples as they are.
        size: Pixels a side of the samples.
        magnitudes: Of all groups, the recipe's section.
    """

    def __init__(self, groups: Sequence[str], size: int, magnitudes: Magnitudes = DEFAULTS) -> None:
        self._groups, self._size, self._magnitudes = groups, size, magnitudes
        self._own = threading.local()

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The augmented sample.

        Args:
            image: uint8 (H, W).
            mask: uint8 (H, W), 0 or 1.
            seed: In [0, 2**32).
        """
        if not self._groups:
            return image, mask
        if not hasattr(self._own, "transform"):
            self._own.transform = self._composed()
        self._own.transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        sample = self._own.transform(image=image, mask=mask)
        return sample["image"], sample["mask"]

    def _composed(self) -> A.Compose:
        """The chosen groups, in the order of `GROUPS`."""
        steps = [
            make(getattr(self._magnitudes, name), self._size) for name, make in GROUPS.items() if name in self._groups
        ]
        return A.Compose(steps)
