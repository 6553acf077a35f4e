"""What is wrong with a data set before a training: every file decoded once, every truth checked against its image."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from kit.competition import pictures, shapes
from kit.competition.labels import is_cut
from kit.competition.mirror import ImageFolder
from kit.core.errors import KitError, printable
from kit.core.parallel import map_in_order
from kit.core.progress import progress

_DARK = 6
"""Grey levels above the darkest that still count as beyond the body: collimated borders are flat but for noise."""
_ABSENT = "fetch it, or leave it out with --allow-missing (folds) or --skip-bad (import)"
_NO_MASK = "has no mask", "it is left out; an image without findings needs an all-black mask"
_INVERTED = 0.9
"""Cover from which on a mask looks inverted."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, where, and what next."""

    serious: bool
    """Whether a training refuses it or learns nonsense from it; the others are to be known."""
    image: str
    """Id; empty where it is none's."""
    what: str
    next: str

    def line(self, images: Sequence[str]) -> str:
        """What a person reads where the same is wrong with all these images.

        >>> print(Finding(False, "", "has no mask", "draw one").line(["a", "b"]))
        note   2 × has no mask (first: a): draw one
        """
        level, first = "error" if self.serious else "note", images[0] or "-"
        what = f"{first}: {self.what}" if len(images) == 1 else f"{len(images)} × {self.what} (first: {first})"
        return printable(f"{level:5}  {what}: {self.next}")


def _before_decoding(found: ImageFolder) -> Iterator[Finding]:
    """What names and tables tell."""
    for path in found.unpaired:
        place = str(path.relative_to(found.folder) if path.is_relative_to(found.folder) else path)
        what = "is a mask without an image of its name"
        yield Finding(True, place, what, "rename it, remove it, or say how masks' names end with --mask-suffix")
    for image, texts in found.labels.items():
        if image not in found.images:
            yield Finding(True, image, "has label rows, but no file", _ABSENT)
        if any(map(is_cut, texts)):
            yield Finding(True, image, "a row is just as long as a cell of a spreadsheet", "get the file as it was")
    lacking = ("has no label row", "it is left out of training") if found.labels_path else _NO_MASK
    yield from (Finding(False, image, *lacking) for image in found.unlabelled)
    if found.misfit:
        yield Finding(True, "", *_parted(found.misfit))


def masks_problem(covers: Sequence[float], label: int | None = None) -> str:
    """What is wrong with the masks of a data set as a whole, and what to do; empty where nothing is.

    Args:
        covers: The share of the image that each mask covers, empty ones included; NaN where it cannot be read.
        label: The value of mask pictures that is foreground, where one was chosen.

    >>> masks_problem([0.97, 1.0, 0.99, 0.1])
    '3 of 4 masks cover more than 90 % of their image: they look inverted: draw the finding white on black'
    """
    if label is not None and not any(covers):
        return f"no mask has the value {label}: choose another with --label"
    full = sum(cover > _INVERTED for cover in covers)
    if full <= len(covers) / 2:
        return ""
    what = f"{full} of {len(covers)} masks cover more than {_INVERTED * 100:.0f} % of their image"
    return f"{what}: they look inverted: draw the finding white on black"


def inspect(found: ImageFolder) -> Iterator[Finding]:
    """Everything that is wrong, in the order of the images.

    Memory does not grow with them, but for a hash an image.
    """
    yield from _before_decoding(found)
    seen: dict[bytes, str] = {}
    covers: list[float] = []

    def one(image: str) -> tuple[str, bytes | None, float | None, list[Finding]]:
        return image, *_look(image, found)

    bar = progress(map_in_order(one, found.images), "checking", len(found.images))
    for image, digest, cover, findings in bar:
        yield from findings
        if cover is not None:
            covers.append(cover)
        if digest is None:
            continue
        if (first := seen.setdefault(digest, image)) != image:
            yield Finding(
                False, image, f"has the very pixels of {first}", "give them one patient in patients.csv, or drop one"
            )
    if problem := masks_problem(covers, found.label):
        yield Finding(True, "", *_parted(problem))


def _look(image: str, source: ImageFolder) -> tuple[bytes | None, float | None, list[Finding]]:
    """A hash of an image's pixels, None where it cannot be read, the cover of its mask, and what is wrong.

    The cover is None where no mask is known, NaN where it cannot be read.
    """
    found = []
    try:
        wanted = None if source.given_shape is None else shapes.shape_of(source.given_shape, image)
        radiograph = pictures.read_image(source.images[image], wanted)
    except KitError as error:
        return None, None, [Finding(True, image, *_parted(str(error)))]
    pixels = radiograph.pixels
    if radiograph.burned_in:
        found.append(Finding(False, image, "says BurnedInAnnotation=YES", "look at it before you share it"))
    if radiograph.doubt:
        found.append(Finding(False, image, *_parted(radiograph.doubt)))
    if radiograph.inverted:
        found.append(Finding(False, image, "is MONOCHROME1", "nothing: it is inverted when it is read"))
    if pixels.min() == pixels.max():
        found.append(Finding(True, image, "is of one grey level", "fetch it again, or leave it out"))
    try:
        mask = source.truth(image)
    except KitError as error:
        return _digest(pixels), math.nan, [*found, Finding(True, image, *_parted(str(error)))]
    cover = None if mask is None else float(mask.pixels.mean())
    if mask is not None and mask.note:
        found.append(Finding(False, image, *_parted(f"its mask {mask.note}")))
    if mask is not None and cover:
        if cover > 0.5:
            found.append(Finding(False, image, f"its mask covers {cover:.0%} of the image", "is the mask inverted?"))
        elif (outside := beyond_body(pixels, mask.pixels)) > 0.5:
            found.append(
                Finding(False, image, f"{outside:.0%} of its mask lies outside the body", "is the mask of this image?")
            )
    return _digest(pixels), cover, found


def _parted(line: str) -> tuple[str, str]:
    """What is wrong, and what to do, of a line that ends in it."""
    what, _, advice = line.rpartition(": ")
    return what or line, advice if what else "fix it, or leave it out"


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
