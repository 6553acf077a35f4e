"""Predictions as files that other programs open, one an image and kind."""

import shutil
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kit.competition import pictures, rle, segmentation
from kit.core.arrays import save_array
from kit.core.errors import KitError
from kit.core.files import replacing_folder, write_text
from kit.core.suggest import did_you_mean
from kit.report import gallery


@dataclass(frozen=True)
class Predicted:
    """One image and what is predicted of it."""

    image: str
    """Id, the name of its files."""
    path: Path
    levels: np.ndarray
    """uint8 (H, W), level v for p = v / 255, at the image's own size."""
    mask: np.ndarray
    """bool (H, W)."""
    recipe: str


def _png(found: Predicted, path: Path) -> None:
    gallery.write(path, found.mask * np.uint8(255))


def _overlay(found: Predicted, path: Path) -> None:
    pixels = pictures.read_image(found.path).pixels
    heat = cv2.cvtColor(cv2.applyColorMap(found.levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    grey = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
    weight = found.levels[..., None] / 255 * 0.6  # (H, W, 1): what is sure hides most of the image
    blended = (grey * (1 - weight) + heat * weight).astype(np.uint8)
    gallery.write(path, gallery.outlined(blended, [(found.mask, gallery.FOUND, "mask")]))


def _npy(found: Predicted, path: Path) -> None:
    save_array(path, found.levels)


def _rle(found: Predicted, path: Path) -> None:
    write_text(path, rle.encode(found.mask) + "\n")


def _segmentation(found: Predicted, path: Path) -> None:
    segmentation.write(path, found.path, found.mask, found.recipe)


KINDS: dict[str, tuple[Callable[[Predicted, Path], None], str]] = {
    "png": (_png, ".png"),
    "overlay": (_overlay, ".png"),
    "npy": (_npy, ".npy"),
    "rle": (_rle, ".txt"),
    "dicom-seg": (_segmentation, ".dcm"),
}
"""What writes each kind, and how its files end: masks as black and white, the radiograph with probability and outline,
the map's levels, the mask's RLE text, and a DICOM segmentation object."""


def kinds_of(text: str) -> tuple[str, ...]:
    """The kinds of a list with commas.

    Raises:
        KitError: one is none, or lacks its package.

    >>> kinds_of("png,dicom-seg")
    ('png', 'dicom-seg')
    """
    kinds = tuple(kind.strip() for kind in text.split(",") if kind.strip())
    for kind in kinds:
        if kind not in KINDS:
            raise KitError(f"--save {kind}: is none of {', '.join(KINDS)}{did_you_mean(kind, KINDS)}")
    if "dicom-seg" in kinds:
        segmentation.library()
    return kinds


def save(kinds: Iterable[str], predicted: Iterable[Predicted], folder: Path) -> None:
    """Writes predictions as `FOLDER/KIND/ID.*`, in the place of what was saved there of others.

    Each kind's folder is replaced as a whole, once all of it is written.
    """
    with ExitStack() as stack:
        places = {kind: stack.enter_context(replacing_folder(folder / kind)) for kind in kinds}
        for found in predicted:
            for kind, place in places.items():
                write, ending = KINDS[kind]
                write(found, place / f"{found.image}{ending}")


def discard(folder: Path) -> None:
    """Removes what was saved in a folder of predictions."""
    for kind in KINDS:
        if (folder / kind).is_dir():
            shutil.rmtree(folder / kind)
