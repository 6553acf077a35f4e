"""Images that are drawn: grey discs on noise, some of them bright, which is what a network is to find."""

from pathlib import Path

import cv2
import numpy as np


def drawn(number: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """An image, uint8 (size, size), and its mask, bool; every third image has none."""
    rng = np.random.default_rng(number)
    image = rng.normal(60, 8, (size, size))
    mask = np.zeros((size, size), np.uint8)
    centres = rng.integers(size // 4, 3 * size // 4, (2, 2)).tolist()
    cv2.circle(image, centres[0], size // 10, 110.0, -1)
    if number % 3:
        cv2.circle(image, centres[1], size // 6, 200.0, -1)
        cv2.circle(mask, centres[1], size // 6, 1, -1)
    return np.clip(image, 0, 255).astype(np.uint8), mask.astype(bool)


def draw_folder(folder: Path, train: int = 12, test: int = 4, ending: str = ".png", size: int = 64) -> Path:
    """Writes `images/`, `masks/` and `test/`, with masks of both."""
    for name in ("images", "masks", "test"):
        (folder / name).mkdir(parents=True)
    for number in range(train + test):
        image, mask = drawn(number, size)
        place = folder / ("images" if number < train else "test")
        cv2.imwrite(str(place / f"case{number:02}{ending}"), image)
        cv2.imwrite(str(folder / "masks" / f"case{number:02}.png"), mask * 255)
    return folder
