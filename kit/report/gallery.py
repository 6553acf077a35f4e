"""Pictures of a radiograph beside a copy with the outlines of the truth and of predicted masks."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kit.core.files import write_bytes

TRUTH, FOUND, OTHER = (34, 211, 238), (255, 122, 26), (190, 140, 255)
"""Cyan, orange and violet, which everybody can tell apart on grey, whatever their colour vision."""
SIDE = 640
"""Size of each panel in pixels."""
BAR = 34
"""Height of the line of text in pixels."""

Layer = tuple[np.ndarray, tuple[int, int, int], str]
"""A mask, bool (H, W), its colour and its name."""
Outlines = list[list[int]]
"""Borders of a mask, each as x, y, x, y, … in thousandths of the image's width and height."""


def picture(pixels: np.ndarray, layers: Sequence[Layer], caption: str, side: int = SIDE) -> np.ndarray:
    """Draws the radiograph beside a copy with outlines, above a line of text with a legend.

    Args:
        pixels: uint8 (H, W); images that are not square keep their proportions.
        layers: Masks to outline, the last on top.
        side: Longer side of each panel in pixels.

    Returns:
        uint8 (h + BAR, 2 · w, 3), red, green, blue.
    """
    plain = reduced(pixels, side)
    return with_text(np.hstack([plain, outlined(plain, layers)]), layers, caption)


def reduced(pixels: np.ndarray, side: int) -> np.ndarray:
    """Resizes pixels, uint8 (H, W), to a picture, uint8 (h, w, 3), with the given longer side."""
    small = cv2.resize(pixels, fitted(pixels.shape, side), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_GRAY2RGB)


def fitted(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Returns width and height of an image (H, W) after its longer side is resized to `side`.

    >>> fitted((2048, 1024), 512)
    (256, 512)
    """
    height, width = (max(1, round(side * extent / max(shape))) for extent in shape)
    return width, height


def outlined(plain: np.ndarray, layers: Sequence[Layer]) -> np.ndarray:
    """Returns a copy of a picture, uint8 (h, w, 3), with each mask outlined and lightly filled."""
    drawn = plain.copy()
    height, width = plain.shape[:2]
    for mask, colour, _ in layers:
        soft = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        inside = soft >= 0.5
        drawn[inside] = (0.78 * drawn[inside] + 0.22 * np.array(colour)).astype(np.uint8)
        borders, _ = cv2.findContours(inside.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(drawn, borders, -1, colour, max(1, width // 320), cv2.LINE_AA)
    return drawn


def outlines(mask: np.ndarray) -> Outlines:
    """Returns the borders of a mask, bool (H, W), and of its holes.

    >>> outlines(np.zeros((4, 4), bool))
    []
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    scale = 1000 / np.array(mask.shape[::-1])
    smooth = [cv2.approxPolyDP(border, max(mask.shape) / 700, closed=True) for border in contours]
    return [np.rint((border[:, 0] + 0.5) * scale).astype(int).ravel().tolist() for border in smooth if len(border) > 2]


def write(path: Path, picture: np.ndarray) -> None:
    """Writes a picture, uint8 (H, W, 3) in RGB or (H, W) in grey, as PNG."""
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    write_bytes(path, cv2.imencode(".png", bgr)[1].tobytes())


def with_text(drawn: np.ndarray, layers: Sequence[Layer], caption: str) -> np.ndarray:
    """Adds a line of text, BAR pixels high, below a picture, uint8 (h, w, 3): caption and layer names in colour."""
    canvas = Image.fromarray(np.vstack([drawn, np.full((BAR, *drawn.shape[1:]), 24, np.uint8)]))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(15)
    middle = drawn.shape[0] + BAR // 2
    right = canvas.width - 10.0
    for _, colour, name in reversed(layers):
        right -= pen.textlength(name, font)
        pen.text((right, middle), name, colour, font, "lm")
        right -= 16
    while pen.textlength(caption, font) > right - 10 and len(caption) > 4:
        caption = caption[:-2].rstrip("…") + "…"
    pen.text((10, middle), caption, (225, 230, 236), font, "lm")
    return np.asarray(canvas)
