"""The competition's RLE and submission files against the organisers' and published ways, and pycocotools."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pandas as pd
from pycocotools import mask as coco

from kit.competition import rle, submission
from kit.inference.masks import MaskEncoder
from kit.inference.rules import ImageRule
from tests.bench.measure import Row, in_turn

MASKS, FILES = 20, 40
COMPETITION = 3_205
"""Test images of the second round."""


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


def rows() -> list[Row]:
    """A row a measurement."""
    masks = [_rim(seed) for seed in range(MASKS)]
    columns = [np.asfortranarray(mask) for mask in masks]
    bytes_ = [mask.view(np.uint8) for mask in columns]
    texts, packed = [rle.encode(mask) for mask in masks], [coco.encode(mask) for mask in bytes_]
    assert all((rle.decode(text) == mask).all() for text, mask in zip(texts, masks, strict=True))
    assert texts[0] == organisers_encode(masks[0])

    def each(function, items) -> None:
        for item in items:
            function(item)

    by_rows, by_columns, plain, transposed, copied, scanned = in_turn(
        partial(each, rle.encode, masks),
        partial(each, rle.encode, columns),
        partial(each, coco.encode, bytes_),
        partial(each, lambda mask: coco.encode(np.asfortranarray(mask, np.uint8)), masks),
        partial(each, np.copy, masks),
        partial(each, lambda mask: mask.any(axis=0), masks),
        repeats=25,  # of some milliseconds each
    )
    (loop,) = in_turn(lambda: organisers_encode(masks[1]), warm=False)
    decoded, coco_decoded, slices = in_turn(
        partial(each, rle.decode, texts),
        partial(each, coco.decode, packed),
        partial(each, lambda text: organisers_decode(text, 1024, 1024), texts),
    )
    by_rows, by_columns, plain, transposed, copied, scanned = (
        measure.per(MASKS) for measure in (by_rows, by_columns, plain, transposed, copied, scanned)
    )
    memory = "reading the mask from memory"
    why = "a third is reading the mask from memory, half comparing neighbours and listing the edges"
    return [
        Row("encode 1024²", by_rows, loop, "the organisers' loop", copied, "copy of the mask", memory),
        Row("encode 1024²", by_rows, transposed, "pycocotools", scanned, "a look at each pixel", memory, 3, None, why),
        Row(
            "encode 1024² by columns",
            by_columns,
            plain,
            "pycocotools",
            scanned,
            "a look at each pixel",
            memory,
            3,
            None,
            why,
        ),
        Row(
            "decode 1024²", decoded.per(MASKS), slices.per(MASKS), "the organisers'", copied, "copy of the mask", memory
        ),
        Row(
            "decode 1024²",
            decoded.per(MASKS),
            coco_decoded.per(MASKS),
            "pycocotools",
            copied,
            "copy of the mask",
            memory,
        ),
        _submission(),
    ]


def _submission() -> Row:
    """From maps to the file: the kit, and the loop of public kernels (resize, threshold, label, encode, DataFrame)."""
    rng = np.random.default_rng(0)
    maps = [cv2.GaussianBlur(rng.random((512, 512), np.float32), (0, 0), 24) for _ in range(FILES)]
    maps = [((m - m.min()) / (m.max() - m.min()) * 255).astype(np.uint8) for m in maps]
    with TemporaryDirectory() as folder:
        target = Path(folder) / "submission.csv"

        def ours() -> None:
            texts = MaskEncoder(ImageRule(0.8, 2048))
            for index, levels in enumerate(maps):
                texts.add(f"image{index}", cv2.resize(levels, (1024, 1024)))
            submission.write(target, texts.decided().items())

        def published() -> None:
            found = []
            for index, levels in enumerate(maps):
                probability = cv2.resize(levels.astype(np.float32) / 255, (1024, 1024))
                _, mask = cv2.threshold(probability, 0.8, 1, cv2.THRESH_BINARY)
                count, components = cv2.connectedComponents(mask.astype(np.uint8))
                kept = np.zeros((1024, 1024), np.float32)
                for component in range(1, count):
                    if (components == component).sum() > 2048:
                        kept[components == component] = 1
                found.append([f"image{index}", organisers_encode(kept.astype(np.uint8)) if kept.sum() else "-1"])
            pd.DataFrame(found, columns=["ImageId", "EncodedPixels"]).to_csv(target, index=False)

        (fast,) = in_turn(ours)
        (slow,) = in_turn(published, repeats=1, warm=False)
    scale = FILES / COMPETITION
    return Row(
        f"submission of {COMPETITION:,} images from maps at 512 px, by {FILES} of them",
        fast.per(scale),
        slow.per(scale),
        "the published loop",
        bottleneck="enlarging the maps",
        times=50,
    )


def _rim(seed: int) -> np.ndarray:
    """A curved rim such as a pneumothorax has, a few per cent of the image."""
    random = np.random.default_rng(seed)
    canvas = np.zeros((1024, 1024), np.uint8)
    center = tuple(int(value) for value in random.integers(300, 700, 2))
    axes = tuple(int(value) for value in random.integers(120, 280, 2))
    cv2.ellipse(canvas, center, axes, float(random.integers(180)), 20, 200, 1, int(random.integers(15, 60)))
    return canvas.astype(bool)
