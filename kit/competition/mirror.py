"""Folders in no competition's layout: mirrors of the data, and the user's own images and masks.

Files are recognised by endings and names (`image_files`):

    images     DICOM files and pictures, anywhere below the folder
    masks      files whose innermost unambiguous folder says "mask", "label" or "seg" (not "image"), or that are named
               as an image with `_mask`, `-mask`, `_seg` or `mask_`
    labels     a file of RLE rows under one of the competition's names, instead of masks
    test       images without a label row whose innermost unambiguous folder says "test" (not "train"), or in
               stage_2_images/ or nnU-Net's imagesTs/
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from kit.competition import image_files, layout, pictures, rle, row_format, shapes
from kit.competition.labels import Labels
from kit.competition.pictures import Mask
from kit.competition.row_format import RowFormat
from kit.core.errors import KitError, printable
from kit.core.files import is_file_or_raise


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images and their ground truth."""

    folder: Path
    images: dict[str, Path]
    """Path of each image, sorted by id."""
    masks: dict[str, Path]
    """Path of the mask picture by image."""
    unpaired: tuple[Path, ...]
    """Mask pictures without an image of the same name."""
    labels_path: Path | None
    labels: Labels
    """RLE rows by image, if they are in a file; an image may have no file."""
    in_test: frozenset[str]
    """Images in folders named for test images."""
    given_format: RowFormat | None = None
    """Format of the label rows according to the user; if None, it is guessed."""
    label: int | None = None
    """Foreground value of mask pictures; if None, `pictures.read_mask` decides."""
    given_sizes: Mapping[str, tuple[int, int]] | None = None
    """(height, width) that each image must have; if None, the headers decide."""

    @property
    def with_truth(self) -> frozenset[str]:
        """Images with ground truth."""
        return frozenset(self.images) & (self.labels.keys() | self.masks.keys())

    @property
    def test(self) -> tuple[str, ...]:
        """Test images, sorted; some may have ground truth. An image with a label row is a training image."""
        return tuple(image for image in self.images if image in self.in_test and image not in self.labels)

    @property
    def train(self) -> tuple[str, ...]:
        """Training images, sorted."""
        train = self.with_truth.difference(self.test)
        return tuple(image for image in self.images if image in train)

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """Images without ground truth that are not test images, sorted."""
        used = self.with_truth.union(self.test)
        return tuple(image for image in self.images if image not in used)

    @cached_property
    def sizes(self) -> dict[str, tuple[int, int]]:
        """(height, width) of each readable image."""
        if self.given_sizes is not None:
            return dict(self.given_sizes)
        sizes = pictures.shapes_of(self.images)
        if not sizes:
            pictures.shape_of(next(iter(self.images.values())))  # raises what is wrong with the file
        return sizes

    @cached_property
    def format(self) -> RowFormat:
        """Format of the label rows."""
        return self.given_format or row_format.guess(self.labels, self.sizes)

    @cached_property
    def misfit(self) -> str:
        """Why the rows cannot be in `format`; empty if nothing speaks against it."""
        return row_format.misfit(self.format, self.labels, self.sizes)

    def shape_of(self, image: str) -> tuple[int, int]:
        """Returns the (height, width) of an image's ground truth: that of the label rows' format, else the image's."""
        return (self.format.shape if self.labels else None) or self.sizes.get(image, rle.SHAPE)

    @property
    def shape(self) -> tuple[int, int]:
        """Most common (height, width) of the ground truth."""
        return Counter(map(self.shape_of, self.sizes)).most_common(1)[0][0]

    def truth(self, image: str) -> Mask | None:
        """Returns the mask of an image, of `shape_of`; None if it is unknown.

        Raises:
            KitError: the mask cannot be read, or its aspect ratio differs from the image's.
        """
        shape = self.shape_of(image)
        if image in self.masks:
            path = self.masks[image]
            mask = pictures.read_mask(path, self.label)
            if not shapes.are_proportional(mask.pixels.shape, shape):
                sizes = ["×".join(map(str, size)) for size in (mask.pixels.shape, shape)]
                raise KitError(
                    f"{printable(path)}: is {sizes[0]} pixels (height×width), of another proportion than "
                    f"its image of {sizes[1]}: export the mask again"
                )
            if mask.pixels.shape == shape:
                return mask
            note = mask.note or "is of another size: resized to its image"
            regions = None if mask.regions is None else shapes.resized(mask.regions, shape)
            return Mask(shapes.resized(mask.pixels, shape), note, regions)
        if image not in self.labels:
            return None
        try:
            return Mask(self.format.mask(self.labels[image], shape, image))
        except KitError as error:
            raise layout.broken_row(self.labels_path or self.folder, error, self.labels[image], shape) from None

    def __str__(self) -> str:
        kinds = Counter(_kind(path) for path in self.images.values())
        images = " and ".join(f"{count} {kind} images" for kind, count in sorted(kinds.items()))
        truth = f"rows of {self.labels_path.name}" if self.labels_path else f"{len(self.masks)} mask images"
        parts = [f"{images} with {truth}", f"{len(self.train)} to train", f"{len(self.test)} to test"]
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
    """Recognises the images in a folder and their ground truth.

    Args:
        masks: Folder that holds only masks, inside `folder` or elsewhere; if None, masks are told by their names.
        mask_suffix: Ending of the masks' names after the image's name; if None, masks are told by their names.
        rle_format: Format of the label rows, see `row_format.parse`; if None, it is guessed.
        label: Foreground value of mask pictures, see `ImageFolder.label`.

    Raises:
        KitError: there are no images, none has ground truth, or two have the same id.
    """
    folder, masks = Path(folder), None if masks is None else Path(masks)
    for place in filter(None, (folder, masks)):
        if not place.is_dir():
            raise KitError(f"{place}: is not a folder: give one with images and their masks")
    given_format = row_format.parse(rle_format) if rle_format else None
    files, in_masks, left_out = image_files.find_with_masks(folder, masks, mask_suffix)
    images = {image: file.path for image, file in files.items()}
    labels_path = find_labels(folder)
    truth: Labels = {}
    if labels_path:
        truth = layout.read_labels(labels_path, images)
        left_out[f"mask files (the rows of {labels_path.name} are used)"] += len(in_masks)
        in_masks = []
    paired, unpaired = image_files.pair(files, in_masks, mask_suffix)
    left_out["masks without an image of their name"] += len(unpaired)
    recognised = ImageFolder(
        folder=folder,
        images=images,
        masks=paired,
        labels_path=labels_path,
        labels=truth,
        unpaired=tuple(unpaired),
        in_test=frozenset(image for image, file in files.items() if file.in_test),
        given_format=given_format,
        label=label,
    )
    image_files.warn_left_out(left_out)
    if not recognised.train:
        example = f"masks/{next(iter(images))}.png" if not labels_path else f"a row in {labels_path}"
        how = "" if labels_path else "; --masks FOLDER and --mask-suffix say where they are"
        problem = f"none of its {len(images)} images has a mask to train on"
        raise KitError(f"{folder}: {problem}: {example} would be one{how}")
    return recognised


def find_labels(folder: Path | str) -> Path | None:
    """Returns the competition's label file in a folder or below it, the later round's first; None if there is none."""
    folder = Path(folder)
    paths = list(image_files.walk(folder))
    for kind in layout.LAYOUTS:
        for path in (folder / kind.labels, *(path for path in paths if path.name == kind.labels)):
            if is_file_or_raise(path):
                return path
    return None


def _kind(path: Path) -> str:
    ending = path.suffix.lower()
    return {".jpg": "JPEG", ".tif": "TIFF"}.get(ending, ending[1:].upper()) if pictures.is_picture(path) else "DICOM"
