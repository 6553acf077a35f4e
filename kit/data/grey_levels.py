"""Changes of grey levels as in albumentations 0.3 (2019), which saw grey images as three equal channels."""

from typing import Any

import albumentations as A
import cv2
import numpy as np


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Returns OpenCV's CIELAB lightness of each grey level, and the grey level of each lightness; uint8 (256,) each."""
    levels = np.arange(256, dtype=np.uint8)
    grey = np.stack([levels] * 3, axis=-1)[None]  # (1, 256, 3)
    neutral = np.stack([levels, *[np.full_like(levels, 128)] * 2], axis=-1)[None]
    return cv2.cvtColor(grey, cv2.COLOR_RGB2LAB)[0, :, 0], cv2.cvtColor(neutral, cv2.COLOR_LAB2RGB)[0, :, 0]


LIGHTNESS_OF_GREY, GREY_OF_LIGHTNESS = _tables()


class Gamma(A.RandomGamma):
    """Albumentations' random gamma with the exponent 1 / gamma; later versions use gamma."""

    def apply(self, img: np.ndarray, gamma: float, **params: Any) -> np.ndarray:
        """Returns the image, uint8 (H, W), with levels of 0…1 raised to 1 / gamma."""
        return super().apply(img, gamma=1 / gamma, **params)


class LightnessClahe(A.CLAHE):
    """Albumentations' CLAHE for three channels: applied to the lightness, which is darker than the grey level."""

    def apply(self, img: np.ndarray, clip_limit: float, **params: Any) -> np.ndarray:
        """Returns the image, uint8 (H, W), with local contrast raised up to the clip limit."""
        equalised = super().apply(cv2.LUT(img, LIGHTNESS_OF_GREY), clip_limit=clip_limit, **params)
        return cv2.LUT(equalised, GREY_OF_LIGHTNESS)
