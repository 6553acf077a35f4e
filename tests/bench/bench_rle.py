"""The competition's RLE against the organisers' way of doing it and pycocotools, on the same masks."""

import time

import cv2
import numpy as np
from pycocotools import mask as coco

from kit.competition import rle


def organisers_encode(mask: np.ndarray) -> str:
    """A look-up in the array for each pixel; it drops a run that touches the last one."""
    pixels = mask.T * 255
    words, last, gap, run = [], 0, 0, 0
    for x in range(pixels.shape[0]):
        for y in range(pixels.shape[1]):
            pixel = pixels[x][y]
            if pixel != last:
                words.append(str(gap if pixel == 255 else run))
                gap, run = (0, 1) if pixel == 255 else (1, 0)
                last = pixel
            elif pixel == 255:
                run += 1
            else:
                gap += 1
    return " ".join(words)


def organisers_decode(text: str, width: int, height: int) -> np.ndarray:
    """A slice a run, into float64."""
    mask = np.zeros(width * height)
    numbers = np.asarray([int(word) for word in text.split()])
    place = 0
    for gap, run in zip(numbers[::2], numbers[1::2], strict=True):
        place += gap
        mask[place : place + run] = 255
        place += run
    return mask.reshape(width, height)


def rows() -> list[dict[str, str]]:
    masks = [_rim(seed) for seed in range(20)]
    texts = [rle.encode(mask) for mask in masks]
    packed = [coco.encode(np.asfortranarray(mask, np.uint8)) for mask in masks]
    assert all((rle.decode(text) == mask).all() for text, mask in zip(texts, masks, strict=True))
    assert texts[0] == organisers_encode(masks[0])
    encode, decode = _milliseconds(rle.encode, masks), _milliseconds(rle.decode, texts)
    references = {
        "encode 1024², organisers'": (encode, _milliseconds(organisers_encode, masks[:2], 1)),
        "encode 1024², pycocotools": (
            encode,
            _milliseconds(lambda mask: coco.encode(np.asfortranarray(mask, np.uint8)), masks),
        ),
        "encode 1024² by columns, pycocotools": (
            _milliseconds(rle.encode, [np.asfortranarray(mask) for mask in masks]),
            _milliseconds(coco.encode, [np.asfortranarray(mask, np.uint8) for mask in masks]),
        ),
        "decode 1024², organisers'": (decode, _milliseconds(lambda text: organisers_decode(text, 1024, 1024), texts)),
        "decode 1024², pycocotools": (decode, _milliseconds(coco.decode, packed)),
    }
    copy = _milliseconds(np.copy, masks)
    return [
        {
            "what": what,
            "ours": f"{ours:.3f} ms",
            "reference": f"{reference:.3f} ms",
            "ratio": f"{reference / ours:.1f}×",
            "limit": f"{copy:.3f} ms (copy of the mask)",
        }
        for what, (ours, reference) in references.items()
    ]


def _rim(seed: int) -> np.ndarray:
    """A curved rim such as a pneumothorax has, a few per cent of the image."""
    random = np.random.default_rng(seed)
    canvas = np.zeros((1024, 1024), np.uint8)
    center = tuple(int(value) for value in random.integers(300, 700, 2))
    axes = tuple(int(value) for value in random.integers(120, 280, 2))
    cv2.ellipse(canvas, center, axes, float(random.integers(180)), 20, 200, 1, int(random.integers(15, 60)))
    return canvas.astype(bool)


def _milliseconds(function, items, repeats: int = 5) -> float:
    """Best mean time an item over the repeats."""
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        for item in items:
            function(item)
        best = min(best, time.perf_counter() - began)
    return 1000 * best / len(items)
