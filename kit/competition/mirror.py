"""Folders that are no competition's: the mirrors that people have, and their own images and masks.

What a folder holds is recognised by endings and names:

    images     DICOM, with or without an ending, else PNG or JPEG, anywhere below the folder
    masks      pictures in a folder with "mask" in its name, or called NAME_mask, each named as its image
    labels     a file of RLE rows by one of the names of the competition, in place of masks
    test       images in a folder with "test" in its name, and images of stage_2_images/, that have no label row
"""

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from kit.competition import labels, layout, pictures, rle
from kit.competition.labels import Labels
from kit.core.errors import KitError, printable
from kit.core.files import below, present

_SUFFIX = "_mask"
_TEST = re.compile(r"(?<![a-z])test|stage_2_images")  # not "latest"


@dataclass(frozen=True)
class Mirror:
    """What such a folder holds."""

    folder: Path
    images: dict[str, Path]
    """Sorted by id."""
    masks: dict[str, Path]
    """Mask pictures by the image's id; some may have no image."""
    labels_path: Path | None
    labels: Labels
    """RLE rows by image, where they are in a file; some may have no image."""
    in_test: frozenset[str]
    """Images that lie where test images lie."""

    @property
    def known(self) -> frozenset[str]:
        """Images whose truth is there."""
        return frozenset(self.images) & (self.labels.keys() | self.masks.keys())

    @property
    def test(self) -> tuple[str, ...]:
        """Test images, sorted; the truth of some may be known. A label row makes a training image."""
        return tuple(image for image in self.images if image in self.in_test and image not in self.labels)

    @property
    def train(self) -> tuple[str, ...]:
        """Training images, sorted."""
        test = set(self.test)
        return tuple(image for image in self.images if image in self.known and image not in test)

    @property
    def untold(self) -> tuple[str, ...]:
        """Images without a truth outside of the test images, sorted."""
        test = set(self.test)
        return tuple(image for image in self.images if image not in self.known and image not in test)

    @cached_property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """(height, width) of each image that can be read.

        Raises:
            KitError: none of them can be.
        """
        found = {}
        problem = KitError(f"{self.folder}: has no images")
        for image, path in self.images.items():
            try:
                found[image] = pictures.shape_of(path)
            except KitError as error:  # reported when the images are decoded
                problem = error
        if not found:
            raise problem
        return found

    @cached_property
    def is_reduced(self) -> bool:
        """Whether the rows are those of the competition's 1024×1024 images, and the pictures smaller ones of these."""
        misfits, masks = 0, 0
        for image, texts in self.labels.items():
            own, whole = math.prod(self.sizes.get(image, rle.SHAPE)), math.prod(rle.SHAPE)
            for text in texts:
                if text.strip() in ("", rle.EMPTY) or not _fits(text, whole):
                    continue  # says nothing of the size: it is no mask, or a broken one
                masks += 1
                misfits += not _fits(text, own)
        return misfits > masks / 4  # small masks near the first pixel fit any size; a few broken ones prove nothing

    def shape_of(self, image: str) -> tuple[int, int]:
        """(height, width) that the truth of an image is given at: its own but where it is a reduced one."""
        return rle.SHAPE if self.is_reduced else self.sizes.get(image, rle.SHAPE)

    @property
    def shape(self) -> tuple[int, int]:
        """The most common (height, width) that truth is given at."""
        return rle.SHAPE if self.is_reduced else Counter(self.sizes.values()).most_common(1)[0][0]

    @cached_property
    def absolute(self) -> int | None:
        """Number of the first pixel where the rows hold absolute starts; None where they hold gaps."""
        texts = [(text, math.prod(self.shape_of(image))) for image, rows in self.labels.items() for text in rows]
        if not any(rle.is_absolute(text, pixels) for text, pixels in texts):
            return None
        return min(1, *(int(text.split()[0]) for text, _ in texts))

    def truth(self, image: str) -> np.ndarray | None:
        """The mask of an image, bool (H, W), of its picture's size or of `shape_of`; None where it is not known.

        Raises:
            KitError: it cannot be read.
        """
        if image in self.masks:
            return pictures.read_mask(self.masks[image])[0]
        if image not in self.labels:
            return None
        rows = self.labels[image]
        if self.absolute is not None:
            rows = tuple(rle.from_absolute(text, self.absolute) for text in rows)
        try:
            return rle.union(rows, self.shape_of(image), image)
        except KitError as error:
            raise KitError(f"{self.labels_path}: {error}: was the file cut? Fetch it again") from None

    def __str__(self) -> str:
        """What was found, as a line."""
        kinds = Counter(_kind(path) for path in self.images.values())
        found = " and ".join(f"{count} {kind} images" for kind, count in sorted(kinds.items()))
        truth = f"rows of {self.labels_path.name}" if self.labels_path else f"{len(self.masks)} mask images"
        parts = [f"{found} with {truth}", f"{len(self.train)} to train", f"{len(self.test)} to test"]
        if self.absolute is not None:
            parts.append(f"absolute starts in {self.labels_path.name if self.labels_path else 'the rows'}")
        return f"{self.folder}: " + ", ".join(parts)


def recognise(folder: Path | str) -> Mirror:
    """Finds out what a folder of images and their truth holds.

    Raises:
        KitError: there are no images, no truth of any, or two files of one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise KitError(f"{folder}: is not a folder: give one with images and their masks")
    labels_path = find_labels(folder)
    dicoms = layout.find_dicoms(folder)
    images: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for path in sorted(below(folder)):
        if not pictures.is_picture(path):
            continue
        is_mask = path.stem.endswith(_SUFFIX) or any("mask" in part.lower() for part in _parts(folder, path))
        taken, name = (masks, path.stem.removesuffix(_SUFFIX)) if is_mask else (images, path.stem)
        if unfit := layout.unfit(name):
            raise KitError(f"{printable(path)}: {unfit}: rename the file")
        if taken.setdefault(name, path) != path:
            raise KitError(f"{path}: {taken[name]} has the same name: rename or remove one of them")
    images = dict(sorted((dicoms or images).items()))
    found = Mirror(
        folder=folder,
        images=images,
        masks={} if labels_path else masks,
        labels_path=labels_path,
        labels=labels.read(labels_path) if labels_path else {},
        in_test=frozenset(
            name for name, path in images.items() if any(_TEST.search(part.lower()) for part in _parts(folder, path))
        ),
    )
    if not images:
        raise KitError(f"{folder}: holds no DICOM, PNG or JPEG image: give a folder with images and their masks")
    if not found.train:
        wanted = f"masks/{next(iter(images))}.png" if not labels_path else f"a row in {labels_path}"
        raise KitError(f"{folder}: none of its {len(images)} images has a mask to train on: {wanted} would be one")
    return found


def _fits(text: str, pixels: int) -> bool:
    """Whether a text can be a mask of so many pixels, by gaps or by absolute starts."""
    try:
        rle.runs(text, pixels)
    except KitError:
        return rle.is_absolute(text, pixels)
    return True


def find_labels(folder: Path | str) -> Path | None:
    """The label file of a competition's layout, in a folder or below it, the round's that is later first."""
    folder = Path(folder)
    for known in layout.LAYOUTS:
        for path in (folder / known.labels, *sorted(folder.rglob(known.labels))):
            if present(path):
                return path
    return None


def _parts(folder: Path, path: Path) -> tuple[str, ...]:
    return path.relative_to(folder).parts[:-1]


def _kind(path: Path) -> str:
    return {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}.get(path.suffix.lower(), "DICOM")
