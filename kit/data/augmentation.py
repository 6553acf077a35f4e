"""The augmentation groups of the paper (section 4.1, Table 9) and of the winners, by albumentations.

The recipe says how strong each group is. For transforms that albumentations changed after 2019, `kit.data.distortion`
and `kit.data.grey_levels` have the versions of that time.
"""

import random
import threading
from collections.abc import Callable, Sequence

import albumentations as A
import cv2
import numpy as np

from kit.data.distortion import Elastic, Grid, Optical
from kit.data.grey_levels import Gamma, LightnessClahe
from kit.recipes.magnitudes import Affine, Blur, Crop, Distortion, Exposure, Flip, Light, Magnitudes

REFLECT = cv2.BORDER_REFLECT_101


def _flip(settings: Flip, size: int) -> A.BasicTransform:
    return A.HorizontalFlip(p=settings.probability)


def _light(settings: Light, size: int) -> A.BaseCompose:
    return A.OneOf(
        [
            A.RandomBrightnessContrast(brightness_limit=0, contrast_limit=settings.contrast, p=1),
            (A.RandomGamma if settings.gamma_is_exponent else Gamma)(gamma_limit=_percent(settings.gamma), p=1),
            A.RandomBrightnessContrast(settings.brightness, 0, brightness_by_max=settings.brightness_by_max, p=1),
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
            Grid(distort_limit=settings.grid, normalized=False, border_mode=REFLECT, p=1),
            Optical(distort_limit=settings.optical, border_mode=REFLECT, p=1),
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
            Gamma(gamma_limit=_percent(settings.gamma), p=1),
            A.RandomBrightnessContrast(settings.brightness, settings.contrast, brightness_by_max=False, p=1),
            LightnessClahe(clip_limit=(1, settings.clahe), tile_grid_size=(4, 4), p=1),
        ],
        p=settings.probability,
    )


def _blur(settings: Blur, size: int) -> A.BaseCompose:
    kernel = (settings.kernel, settings.kernel)
    return A.OneOf([A.Blur(kernel, p=1), A.MotionBlur(kernel, p=1), A.MedianBlur(kernel, p=1)], p=settings.probability)


def _percent(gamma: tuple[float, float]) -> tuple[float, float]:
    return 100 * gamma[0], 100 * gamma[1]


# In the order of application; the paper's four groups are in the paper's order.
GROUPS: dict[str, Callable] = {
    "exposure": _exposure,
    "blur": _blur,
    "flip": _flip,
    "light": _light,
    "distortion": _distortion,
    "crop": _crop,
    "affine": _affine,
}


DEFAULTS = Magnitudes()


class Augmentation:
    """Applies groups of transforms, one after the other.

    The result depends only on the seed of the call: the random state is set before each sample, since albumentations'
    own state would repeat in the workers of a data loader. Transforms hold that state, so each thread has its own
    transforms. All transforms of a thread draw from one generator in turn: with one generator each and the same seed,
    which is albumentations' way, all groups would be applied together or not at all.

    Args:
        groups: Names of groups; without any, samples are returned unchanged.
        size: Width and height of the samples, in pixels.
    """

    def __init__(self, groups: Sequence[str], size: int, magnitudes: Magnitudes = DEFAULTS) -> None:
        self._groups, self._size, self._magnitudes = groups, size, magnitudes
        self._thread = threading.local()

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the augmented image and mask.

        Args:
            image: uint8 (H, W).
            mask: uint8 (H, W), 0 or 1.
            seed: Random seed in [0, 2**32).
        """
        if not self._groups:
            return image, mask
        if not hasattr(self._thread, "transform"):
            self._thread.transform = self._compose()
        self._thread.transform.set_random_state(np.random.default_rng(seed), random.Random(seed))
        sample = self._thread.transform(image=image, mask=mask)
        return sample["image"], sample["mask"]

    def _compose(self) -> A.Compose:
        chosen = {name: make for name, make in GROUPS.items() if name in self._groups}
        return A.Compose([make(getattr(self._magnitudes, name), self._size) for name, make in chosen.items()])
