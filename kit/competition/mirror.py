"""Folders that are no competition's: the mirrors that people have, and their own images and masks.

What a folder holds is recognised by endings and names (`image_files`):

    images     DICOM files and pictures, anywhere below the folder
    masks      files whose nearest telling folder says "mask", "label" or "seg" (not "image"), or that are called as
               an image with `_mask`, `-mask`, `_seg` or `mask_`
    labels     a file of RLE rows by one of the names of the competition, in place of masks
    test       images whose nearest telling folder says "test" (not "train"), or of stage_2_images/ and nnU-Net's
               imagesTs/, that have no label row
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kit.competition import image_files, labels, layout, pictures, rle, row_format, shapes
from kit.competition.labels import Labels
from kit.competition.pictures import Mask
from kit.competition.row_format import RowFormat
from kit.competition.shapes import Shape
from kit.core.errors import KitError, printable
from kit.core.files import is_file_or_raise


@dataclass(frozen=True)
class ImageFolder:
    """What such a folder holds."""

    folder: Path
    images: dict[str, Path]
    """Sorted by id."""
    masks: dict[str, Path]
    """Mask pictures by the image's id."""
    unpaired: tuple[Path, ...]
    """Mask pictures that have no image of their name."""
    labels_path: Path | None
    labels: Labels
    """RLE rows by image, where they are in a file; some may have no image."""
    in_test: frozenset[str]
    """Images that lie where test images lie."""
    asked: RowFormat | None = None
    """What the user says that rows mean; None: it is guessed."""
    label: int | None = None
    """The value of mask pictures that is foreground; None: what `pictures.read_mask` takes for it."""
    given_shape: Shape | None = None
    """(height, width) that all images must have, or each; None: their headers say it."""

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
    def unlabelled(self) -> tuple[str, ...]:
        """Images without a truth outside of the test images, sorted."""
        test = set(self.test)
        return tuple(image for image in self.images if image not in self.known and image not in test)

    @cached_property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """(height, width) of each image that can be read."""
        if isinstance(self.given_shape, Mapping):
            return dict(self.given_shape)
        if self.given_shape is not None:
            return dict.fromkeys(self.images, self.given_shape)
        found = pictures.shapes_of(self.images)
        if not found:
            pictures.shape_of(next(iter(self.images.values())))  # says what is wrong with it
        return found

    @cached_property
    def format(self) -> RowFormat:
        """What rows mean."""
        return self.asked or row_format.guess(self.labels, self.sizes)

    @cached_property
    def misfit(self) -> str:
        """What is wrong where the rows cannot mean that; empty where nothing tells."""
        return row_format.misfit(self.format, self.labels, self.sizes)

    def shape_of(self, image: str) -> tuple[int, int]:
        """(height, width) that the truth of an image is given at: its own but where the rows are of other images."""
        return (self.format.shape if self.labels else None) or self.sizes.get(image, rle.SHAPE)

    @property
    def shape(self) -> tuple[int, int]:
        """The most common (height, width) that truth is given at."""
        return Counter(map(self.shape_of, self.sizes)).most_common(1)[0][0]

    def truth(self, image: str) -> Mask | None:
        """The mask of an image, of `shape_of`; None where it is not known.

        Raises:
            KitError: it cannot be read, or is of another proportion than its image.
        """
        shape = self.shape_of(image)
        if image in self.masks:
            path = self.masks[image]
            found = pictures.read_mask(path, self.label)
            if not shapes.are_proportional(found.pixels.shape, shape):
                sizes = ["×".join(map(str, size)) for size in (found.pixels.shape, shape)]
                raise KitError(
                    f"{printable(path)}: is {sizes[0]} pixels (height×width), of another proportion than "
                    f"its image of {sizes[1]}: export the mask again"
                )
            if found.pixels.shape == shape:
                return found
            note = found.note or "is of another size: resized to its image"
            regions = None if found.regions is None else shapes.resized(found.regions, shape)
            return Mask(shapes.resized(found.pixels, shape), note, regions)
        if image not in self.labels:
            return None
        try:
            return Mask(self.format.mask(self.labels[image], shape, image))
        except KitError as error:
            raise layout.broken_row(self.labels_path or self.folder, error, self.labels[image], shape) from None

    def __str__(self) -> str:
        """What was found, as a line."""
        kinds = Counter(_kind(path) for path in self.images.values())
        found = " and ".join(f"{count} {kind} images" for kind, count in sorted(kinds.items()))
        truth = f"rows of {self.labels_path.name}" if self.labels_path else f"{len(self.masks)} mask images"
        parts = [f"{found} with {truth}", f"{len(self.train)} to train", f"{len(self.test)} to test"]
        if self.labels and self.format != RowFormat():
            parts.append(f"rows taken for {self.format} (--rle says otherwise)")
        return f"{self.folder}: " + ", ".join(parts)


def recognise(
    folder: Path | str,
    masks: Path | str | None = None,
    mask_suffix: str | None = None,
    rle_format: str | None = None,
    label: int | None = None,
) -> ImageFolder:
    """Finds out what a folder of images and their truth holds.

    Args:
        masks: A folder in which all pictures are masks, in it or elsewhere; None: names tell masks.
        mask_suffix: What the names of masks end with, beside the image's; None: names tell masks.
        rle_format: What label rows mean, see `row_format.parse`; None: it is guessed.
        label: The value of mask pictures that is foreground, see `Mirror.label`.

    Raises:
        KitError: there are no images, no truth of any, or two files of one name.
    """
    folder, masks = Path(folder), None if masks is None else Path(masks)
    for place in filter(None, (folder, masks)):
        if not place.is_dir():
            raise KitError(f"{place}: is not a folder: give one with images and their masks")
    asked = row_format.parse(rle_format) if rle_format else None
    named, in_masks, left_out = image_files.find_with_masks(folder, masks, mask_suffix)
    images = {image: file.path for image, file in named.items()}
    labels_path = find_labels(folder)
    truth: Labels = {}
    if labels_path:
        rows = labels.read(labels_path)
        meant = image_files.match(rows, images, labels_path)
        truth = {meant[given]: texts for given, texts in rows.items()}
        left_out[f"mask files (the rows of {labels_path.name} are used)"] += len(in_masks)
        in_masks = []
    paired, unpaired = image_files.pair(named, in_masks, mask_suffix)
    left_out["masks without an image of their name"] += len(unpaired)
    found = ImageFolder(
        folder=folder,
        images=images,
        masks=paired,
        labels_path=labels_path,
        labels=truth,
        unpaired=tuple(unpaired),
        in_test=frozenset(image for image, file in named.items() if file.in_test),
        asked=asked,
        label=label,
    )
    image_files.warn_left_out(left_out)
    if not found.train:
        wanted = f"masks/{next(iter(images))}.png" if not labels_path else f"a row in {labels_path}"
        say = "" if labels_path else "; --masks FOLDER and --mask-suffix say where they are"
        raise KitError(f"{folder}: none of its {len(images)} images has a mask to train on: {wanted} would be one{say}")
    return found


def find_labels(folder: Path | str) -> Path | None:
    """The label file of a competition's layout, in a folder or below it, the round's that is later first."""
    folder = Path(folder)
    found = list(image_files.walk(folder))
    for known in layout.LAYOUTS:
        for path in (folder / known.labels, *(path for path in found if path.name == known.labels)):
            if is_file_or_raise(path):
                return path
    return None


def _kind(path: Path) -> str:
    ending = path.suffix.lower()
    short = {".jpg": "JPEG", ".tif": "TIFF"}
    return short.get(ending, ending[1:].upper()) if pictures.is_picture(path) else "DICOM"
