"""The paper's augmentation groups (section 4.1, Table 9) and the winner's by name, through albumentations."""

import albumentations as A
import cv2
import numpy as np


def _distortion(optical: float) -> A.OneOf:
    """One of elastic transform, grid distortion and optical distortion, as the paper says."""
    return A.OneOf(
        [
            A.ElasticTransform(alpha=120, sigma=120 * 0.05, border_mode=cv2.BORDER_REFLECT_101, p=1),
            A.GridDistortion(border_mode=cv2.BORDER_REFLECT_101, p=1),
            A.OpticalDistortion(distort_limit=optical, border_mode=cv2.BORDER_REFLECT_101, p=1),
        ],
        p=0.3,
    )


GROUPS: dict[str, list] = {
    # Horizontal flip.
    "A1": [A.HorizontalFlip(p=0.5)],
    # "One of random contrast, random gamma, and random brightness."
    "A2": [
        A.OneOf(
            [
                A.RandomBrightnessContrast(brightness_limit=0, contrast_limit=0.2, p=1),
                A.RandomGamma(gamma_limit=(80, 120), p=1),
                A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0, p=1),
            ],
            p=0.3,
        )
    ],
    "A3": [_distortion(0.5)],
}
# The winner's, as published: flip, light, a stronger distortion, and shift, scale and rotation.
GROUPS["aggressive"] = [
    *GROUPS["A1"],
    *GROUPS["A2"],
    _distortion(2),
    A.Affine(
        scale=(0.9, 1.1),
        keep_ratio=True,
        translate_percent=(-0.0625, 0.0625),
        rotate=(-45, 45),
        border_mode=cv2.BORDER_REFLECT_101,
        p=0.5,
    ),
]
# Random sized crop: 62 to 100 % of the height, which the paper's figures leave open.
CROP_SHARE = (0.62, 1.0)


class Augmentation:
    """Groups applied in the paper's order: A1, A2, A3, A4.

    What happens to a sample depends on the seed of the call alone: albumentations' own random state repeats
    itself in the workers of a data loader, so it is set anew before each sample.

    Args:
        groups: Names of groups; none leaves samples as they are.
        size: Pixels a side of the samples.
    """

    def __init__(self, groups: tuple[str, ...], size: int) -> None:
        steps = [step for name in sorted(groups) for step in _group(name, size)]
        self._transform = A.Compose(steps) if steps else None

    def __call__(self, image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """The augmented sample.

        Args:
            image: uint8 (H, W).
            mask: uint8 (H, W), 0 or 1.
            seed: In [0, 2**32).
        """
        if self._transform is None:
            return image, mask
        self._transform.set_random_seed(seed)
        sample = self._transform(image=image, mask=mask)
        return sample["image"], sample["mask"]


def _group(name: str, size: int) -> list:
    if name == "A4":
        low, high = (round(share * size) for share in CROP_SHARE)
        return [A.RandomSizedCrop(min_max_height=(low, high), size=(size, size), p=0.3)]
    return GROUPS[name]
