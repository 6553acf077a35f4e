"""Checks a data set before training: decodes every file once and compares each mask with its image."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from kit.competition import pictures, shapes
from kit.competition.labels import is_cut
from kit.competition.mirror import ImageFolder
from kit.core.errors import KitError, printable
from kit.core.parallel import map_in_order
from kit.core.progress import progress

_DARK = 6
"""Grey levels above the darkest one that still count as background: collimated borders are flat except for noise."""
_MISSING = "fetch it, or leave it out with --allow-missing (folds) or --skip-bad (import)"
_NO_MASK = "has no mask", "it is left out; an image without findings needs an all-black mask"
_INVERTED = 0.9
"""Share of the image above which a mask looks inverted."""


@dataclass(frozen=True)
class Finding:
    """One problem of a data set: where it is, what is wrong, and what to do next."""

    image: str
    """Image id; empty for a problem of the whole data set."""
    what: str
    next: str
    serious: bool = field(default=False, kw_only=True)
    """Whether training refuses the image or would learn nonsense from it; other findings are for information."""

    def line(self, images: Sequence[str]) -> str:
        """Formats the finding for all images that share it.

        >>> print(Finding("", "has no mask", "draw one").line(["a", "b"]))
        note   2 × has no mask (first: a): draw one
        """
        level, first = "error" if self.serious else "note", images[0] or "-"
        what = f"{first}: {self.what}" if len(images) == 1 else f"{len(images)} × {self.what} (first: {first})"
        return printable(f"{level:5}  {what}: {self.next}")


def _check_tables(folder: ImageFolder) -> Iterator[Finding]:
    """Yields the findings that need no decoding: names of files and label rows."""
    for path in folder.unpaired:
        place = str(path.relative_to(folder.folder) if path.is_relative_to(folder.folder) else path)
        remedy = "rename it, remove it, or say how masks' names end with --mask-suffix"
        yield Finding(place, "is a mask without an image of its name", remedy, serious=True)
    for image, texts in folder.labels.items():
        if image not in folder.images:
            yield Finding(image, "has label rows, but no file", _MISSING, serious=True)
        if any(map(is_cut, texts)):
            yield Finding(
                image, "a row is just as long as a cell of a spreadsheet", "get the file as it was", serious=True
            )
    unlabelled = ("has no label row", "it is left out of training") if folder.labels_path else _NO_MASK
    yield from (Finding(image, *unlabelled) for image in folder.unlabelled)
    if folder.misfit:
        yield _error("", folder.misfit)


def masks_problem(covers: Sequence[float], label: int | None = None) -> str:
    """Describes a problem of all masks together, with its remedy; empty if there is none.

    Args:
        covers: Share of the image that each mask covers, 0 for empty masks; NaN for unreadable ones.
        label: Foreground value in mask pictures, if one was chosen.

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


def inspect(folder: ImageFolder) -> Iterator[Finding]:
    """Yields all findings, in the order of the images; per image, only one hash is kept in memory."""
    yield from _check_tables(folder)
    first_by_digest: dict[bytes, str] = {}
    covers: list[float] = []

    def check(image: str) -> tuple[str, bytes | None, float | None, list[Finding]]:
        return image, *_check_image(image, folder)

    for image, digest, cover, findings in progress(map_in_order(check, folder.images), "checking", len(folder.images)):
        yield from findings
        if cover is not None:
            covers.append(cover)
        if digest is not None and (first := first_by_digest.setdefault(digest, image)) != image:
            yield Finding(
                image, f"has the same pixels as {first}", "give them one patient in patients.csv, or drop one"
            )
    if problem := masks_problem(covers, folder.label):
        yield _error("", problem)


def _check_image(image: str, folder: ImageFolder) -> tuple[bytes | None, float | None, list[Finding]]:
    """Returns a hash of the image's pixels, the share of the image that its mask covers, and the findings.

    The hash is None if the image cannot be read; the share is None without a mask, NaN if the mask cannot be read.
    """
    findings = []
    try:
        shape = None if folder.given_sizes is None else shapes.shape_of(folder.given_sizes, image)
        radiograph = pictures.read_image(folder.images[image], shape)
    except KitError as error:
        return None, None, [_error(image, str(error))]
    pixels = radiograph.pixels
    if radiograph.burned_in:
        findings.append(Finding(image, "says BurnedInAnnotation=YES", "look at it before you share it"))
    if radiograph.doubt:
        findings.append(Finding(image, *_split_remedy(radiograph.doubt)))
    if radiograph.inverted:
        findings.append(Finding(image, "is MONOCHROME1", "nothing: it is inverted when it is read"))
    if pixels.min() == pixels.max():
        findings.append(Finding(image, "has a single grey level", "fetch it again, or leave it out", serious=True))
    try:
        mask = folder.truth(image)
    except KitError as error:
        return _digest(pixels), math.nan, [*findings, _error(image, str(error))]
    if mask is None:
        return _digest(pixels), None, findings
    cover = float(mask.pixels.mean())
    if mask.note:
        findings.append(Finding(image, *_split_remedy(f"its mask {mask.note}")))
    if cover > 0.5:
        findings.append(Finding(image, f"its mask covers {cover:.0%} of the image", "is the mask inverted?"))
    elif cover and (outside := beyond_body(pixels, mask.pixels)) > 0.5:
        what = f"{outside:.0%} of its mask lies outside the body"
        findings.append(Finding(image, what, "is the mask of this image?"))
    return _digest(pixels), cover, findings


def _error(image: str, line: str) -> Finding:
    return Finding(image, *_split_remedy(line), serious=True)


def _split_remedy(line: str) -> tuple[str, str]:
    """Splits a message at its last colon into the problem and the remedy."""
    what, _, remedy = line.rpartition(": ")
    return what or line, remedy if what else "fix it, or leave it out"


def beyond_body(pixels: np.ndarray, mask: np.ndarray) -> float:
    """Returns the share of a mask that lies in the dark background connected to the image's border.

    Args:
        pixels: uint8 (H, W).
        mask: bool (h, w), not empty; its size may differ from the image's.

    Returns:
        In [0, 1].
    """
    side = 256
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    dark = np.pad((small <= small.min() + _DARK).astype(np.uint8), 1, constant_values=1)  # one background
    _, components = cv2.connectedComponents(dark, connectivity=4)
    outside = (components == components[0, 0])[1:-1, 1:-1]
    covered = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return float(covered[outside].sum() / covered.sum())


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).digest()
