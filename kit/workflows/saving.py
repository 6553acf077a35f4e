"""Files that `kit predict --save` writes for each image, for use in other programs."""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kit.competition import pictures, rle, segmentation, submission
from kit.competition.finding import PNEUMOTHORAX, Finding
from kit.core.arrays import save_array
from kit.core.errors import KitError, did_you_mean, printable
from kit.core.files import replacing_folder, write_text
from kit.core.progress import progress
from kit.inference import maps
from kit.recipes.schema import Recipe
from kit.report import gallery
from kit.run import Run

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Predicted:
    """The prediction of one image."""

    image: str
    """Image id, which names the files."""
    path: Path
    levels: np.ndarray
    """uint8 (H, W), level v for p = v / 255, at the image's own size."""
    mask: np.ndarray
    """bool (H, W)."""
    recipe: str
    finding: Finding = PNEUMOTHORAX

    @property
    def overlay(self) -> np.ndarray:
        """The radiograph with probability and outline, uint8 (H, W, 3)."""
        pixels = pictures.read_image(self.path).pixels
        heat = cv2.cvtColor(cv2.applyColorMap(self.levels, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
        grey = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
        weight = self.levels[..., None] / 255 * 0.6  # (H, W, 1): a high probability hides most of the image
        blended = (grey * (1 - weight) + heat * weight).astype(np.uint8)
        return gallery.outlined(blended, [(self.mask, gallery.FOUND, "mask")])


KINDS: dict[str, tuple[str, Callable[[Predicted, Path], None]]] = {
    "png": (".png", lambda image, path: gallery.write(path, image.mask * np.uint8(255))),
    "overlay": (".png", lambda image, path: gallery.write(path, image.overlay)),
    "npy": (".npy", lambda image, path: save_array(path, image.levels)),
    "rle": (".txt", lambda image, path: write_text(path, rle.encode(image.mask) + "\n")),
    "dicom-seg": (
        ".dcm",
        lambda image, path: segmentation.write(path, image.path, image.mask, image.recipe, image.finding),
    ),
}
"""File ending and writer of each kind: the mask in black and white, the radiograph with probability and outline, the
map's levels, the mask's RLE text, and a DICOM segmentation object."""


def kinds_of(text: str) -> tuple[str, ...]:
    """Parses a comma-separated list of kinds.

    Raises:
        KitError: a kind is unknown, or its package is not installed.

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


def check(kinds: Iterable[str], images: Iterable[Path]) -> None:
    """Raises a KitError if some images are of a format that a kind cannot be saved for, before any is predicted."""
    if "dicom-seg" in kinds and (picture := next(filter(pictures.is_picture, images), None)):
        raise KitError(f"--save dicom-seg: {printable(picture)}: is no DICOM file: leave dicom-seg out")


def save(target: Run, paths: dict[str, Path], recipe: Recipe, kinds: Sequence[str], finding: Finding) -> None:
    """Writes the predictions of a run's test images, or of any folder's images, as files of these kinds.

    The masks are taken from the submission, where they may depend on the whole test set.
    """
    predicted, texts = maps.open_maps(target.test(tta=recipe.tta)), submission.read(target.submission)
    rows = [row for row, image in enumerate(predicted.ids) if image not in predicted.unreadable]

    def images() -> Iterator[Predicted]:
        for row in progress(rows, "saving", len(rows)):
            image = predicted.ids[row]
            shape = pictures.shape_of(paths[image])
            mask = rle.decode(texts.get(image, rle.EMPTY), shape, image)
            yield Predicted(image, paths[image], maps.upsample(predicted[row], shape), mask, recipe.name, finding)

    write(kinds, images(), target.folder)
    log.info("%s: %d images saved as %s", target.folder, len(rows), ", ".join(kinds))


def write(kinds: Iterable[str], predicted: Iterable[Predicted], folder: Path | str) -> None:
    """Writes predictions as `FOLDER/KIND/ID.*`; each kind's folder is replaced once all its files are written."""
    with ExitStack() as stack:
        folders = {kind: stack.enter_context(replacing_folder(Path(folder) / kind)) for kind in kinds}
        for prediction in predicted:
            for kind, temporary in folders.items():
                ending, write_file = KINDS[kind]
                write_file(prediction, temporary / f"{prediction.image}{ending}")


def discard(folder: Path | str) -> None:
    """Removes the saved files from a folder of predictions."""
    for kind in KINDS:
        if (Path(folder) / kind).is_dir():
            shutil.rmtree(Path(folder) / kind)
