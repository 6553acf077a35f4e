"""What is wrong with a data set before a training: every file decoded once, every truth checked against its image."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from kit.competition import pictures, rle, row_format, shapes
from kit.competition.labels import Labels
from kit.competition.mirror import Mirror
from kit.competition.shapes import Shape
from kit.core.errors import KitError, printable
from kit.core.parallel import ordered
from kit.core.progress import progress

_DARK = 6
"""Grey levels above the darkest that still count as beyond the body: collimated borders are flat but for noise."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, where, and what next."""

    serious: bool
    """Whether a training refuses it or learns nonsense from it; the others are to be known."""
    image: str
    """Id; empty where it is none's."""
    what: str
    next: str

    def __str__(self) -> str:
        level = "error" if self.serious else "note"
        return printable(f"{level:5}  {self.image or '-'}: {self.what}: {self.next}")


@dataclass(frozen=True)
class Sources:
    """A data set as it is to be inspected."""

    images: dict[str, Path]
    """Every image, training and test."""
    shape: Shape | None
    """(H, W) that all must have, or each; None: any."""
    truth: Callable[[str], np.ndarray | None]
    """Mask of an image, bool (H, W); None where none is known. It raises a KitError where it is unknown."""
    before: tuple[Finding, ...] = ()
    """What was found without decoding anything."""


def of_competition(images: dict[str, Path], shape: Shape, labels: Labels, in_train: Iterable[str]) -> Sources:
    """A competition's folder.

    Args:
        images: Files of training and test images by id.
        shape: Most common (H, W) of them, or of each.
        labels: Rows by image, those without a file included.
        in_train: Ids of the files that lie among the training images.
    """
    found = [
        Finding(True, image, "has label rows, but no file", "fetch it, or use --allow-missing")
        for image in labels
        if image not in images
    ]
    found += [
        Finding(False, image, "has no label row", "it is left out of training")
        for image in in_train
        if image not in labels
    ]

    def truth(image: str) -> np.ndarray | None:
        if image not in labels:
            return None
        own = shapes.of(shape, image)
        pixels = own[0] * own[1]
        if any(row_format.is_absolute(text, pixels) for text in labels[image]):
            raise KitError("this looks like absolute starts: `kit import` converts them")
        return rle.union(labels[image], own)

    return Sources(images, shape, truth, tuple(found))


def of_mirror(found: Mirror) -> Sources:
    """A folder of pictures and masks that `kit import` brings in."""
    before = [
        Finding(True, path.stem, f"{path} has no image of its name", "rename it, or remove it")
        for path in found.unpaired
    ]
    if found.labels_path:
        before += [
            Finding(True, image, f"has rows in {found.labels_path.name}, but no image", "fetch it, or remove the rows")
            for image in found.labels
            if image not in found.images
        ]
    before += [
        Finding(False, image, "has no mask", "it is left out; an image without findings needs an all-black mask")
        for image in found.untold
    ]
    if found.misfit:
        before.append(Finding(True, "", found.misfit.rpartition(": ")[0], found.misfit.rpartition(": ")[2]))
    before += [
        Finding(False, image, f"{found.masks[image].name} and its image differ in size", "import resizes it")
        for image in found.resized
    ]
    for name, path in found.masks.items():
        try:
            if pictures.read_mask(path)[1]:
                before.append(
                    Finding(False, name, f"{path.name} has more than two grey levels", "the brighter half is the mask")
                )
        except KitError:  # reported when the image is examined
            continue
    return Sources(found.images, None, found.truth, tuple(before))


def inspect(sources: Sources) -> Iterator[Finding]:
    """Everything that is wrong, in the order of the images.

    Memory does not grow with them, but for a hash an image.
    """
    yield from sources.before
    seen: dict[bytes, str] = {}

    def one(image: str) -> tuple[str, bytes | None, list[Finding]]:
        return image, *_look(image, sources)

    bar = progress(ordered(one, sources.images), "checking", len(sources.images))
    for image, digest, findings in bar:
        yield from findings
        if digest is None:
            continue
        if (first := seen.setdefault(digest, image)) != image:
            yield Finding(
                False, image, f"has the very pixels of {first}", "give both one patient in patients.csv, or drop one"
            )


def _look(image: str, sources: Sources) -> tuple[bytes | None, list[Finding]]:
    """A hash of an image's pixels, None where it cannot be read, and what is wrong with it and its mask."""
    found = []
    try:
        radiograph = pictures.read_image(
            sources.images[image], None if sources.shape is None else shapes.of(sources.shape, image)
        )
    except KitError as error:
        reason, _, advice = str(error).rpartition(": ")
        return None, [Finding(True, image, reason, advice or "leave it out")]
    pixels = radiograph.pixels
    if radiograph.burned_in:
        found.append(Finding(False, image, "says BurnedInAnnotation=YES", "look at it before you share it"))
    if radiograph.doubt:
        reason, _, advice = radiograph.doubt.rpartition(": ")
        found.append(Finding(False, image, reason, advice))
    if radiograph.inverted:
        found.append(Finding(False, image, "is MONOCHROME1", "nothing: it is inverted when it is read"))
    if pixels.min() == pixels.max():
        found.append(Finding(True, image, "is of one grey level", "fetch it again, or leave it out"))
    try:
        mask = sources.truth(image)
    except KitError as error:
        reason, _, advice = str(error).rpartition(": ")
        return _digest(pixels), [*found, Finding(True, image, reason or str(error), advice or "fix its label rows")]
    if mask is not None and mask.any():
        if mask.mean() > 0.5:
            share = f"{mask.mean():.0%}"
            found.append(Finding(False, image, f"its mask covers {share} of the image", "is the mask inverted?"))
        elif (outside := beyond_body(pixels, mask)) > 0.5:
            found.append(
                Finding(False, image, f"{outside:.0%} of its mask lies outside the body", "is the mask of this image?")
            )
    return _digest(pixels), found


def beyond_body(pixels: np.ndarray, mask: np.ndarray) -> float:
    """The share of a mask that lies in the dark that reaches in from the image's border.

    Args:
        pixels: uint8 (H, W).
        mask: bool (h, w) of the same shape, or of another size.

    Returns:
        In [0, 1].
    """
    side = 256
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    dark = np.pad((small <= small.min() + _DARK).astype(np.uint8), 1, constant_values=1)  # joined all round
    _, components = cv2.connectedComponents(dark, connectivity=4)
    outside = (components == components[0, 0])[1:-1, 1:-1]
    covered = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return float(covered[outside].sum() / covered.sum())


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
