"""Changes of grey levels as albumentations 0.3 made them in 2019, on images of three equal channels."""

from typing import Any

import albumentations as A
import cv2
import numpy as np


def _tables() -> tuple[np.ndarray, np.ndarray]:
    """CIELAB's lightness of each grey level, and the grey level of each lightness, uint8 (256,) each, by OpenCV."""
    levels = np.arange(256, dtype=np.uint8)
    grey = np.stack([levels] * 3, axis=-1)[None]  # (1, 256, 3)
    neutral = np.stack([levels, *[np.full_like(levels, 128)] * 2], axis=-1)[None]
    return cv2.cvtColor(grey, cv2.COLOR_RGB2LAB)[0, :, 0], cv2.cvtColor(neutral, cv2.COLOR_LAB2RGB)[0, :, 0]


LIGHTNESS_OF_GREY, GREY_OF_LIGHTNESS = _tables()


class Gamma(A.RandomGamma):
    """The library's random gamma with the exponent 1 / gamma, which later versions have as gamma."""

    def apply(self, img: np.ndarray, gamma: float, **params: Any) -> np.ndarray:
        """The image, uint8 (H, W), its levels of 0…1 raised to 1 / gamma."""
        return super().apply(img, gamma=1 / gamma, **params)


class LightnessClahe(A.CLAHE):
    """The library's CLAHE as it treats an image of three channels: on the lightness, which is darker than on grey."""

    def apply(self, img: np.ndarray, clip_limit: float, **params: Any) -> np.ndarray:
        """The image, uint8 (H, W), its local contrast raised up to the clip limit."""
        equalised = super().apply(cv2.LUT(img, LIGHTNESS_OF_GREY), clip_limit=clip_limit, **params)
        return cv2.LUT(equalised, GREY_OF_LIGHTNESS)
