"""Picture files: grey radiographs and masks, as the mirrors of the competition and people's own data hold them.

A picture is upright as its EXIF orientation says, since that is how annotators saw it.
"""

import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageOps

from kit.competition import dicom
from kit.competition.dicom import MOST_PIXELS, Radiograph
from kit.core.errors import KitError, printable
from kit.core.files import opened

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif")
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF")
_FEW = 20
"""The most levels or colours of a mask that was drawn, not resized or compressed."""
_DARK = 32
"""Levels of a JPEG that its compression makes of black."""
_ORIENTATION = 0x0112


def is_picture(path: Path | str) -> bool:
    """Whether a file's name ends as that of a picture that is read: PNG, JPEG, TIFF, BMP or GIF."""
    return Path(path).suffix.lower() in ENDINGS


def read_image(path: Path | str, shape: tuple[int, int] | None = None) -> Radiograph:
    """Reads an image of either kind: a picture by its ending, everything else as DICOM.

    Args:
        shape: (height, width) that it must have; None: any.

    Raises:
        KitError: it cannot be read, or is of another size.
    """
    if is_picture(path):
        pixels = read(path)
        image = Radiograph(None, None, None, None, pixels.shape, None, burned_in=False, inverted=False, pixels=pixels)
    else:
        image = dicom.read(path)
    if shape is not None and image.shape != tuple(shape):
        sizes = ["×".join(map(str, size)) for size in (image.shape, shape)]
        what = f"is {sizes[0]} pixels, not {sizes[1]} as the others: leave it out or resize it"
        raise KitError(f"{printable(path)}: {what}")
    return image


def resized(image: Radiograph, shape: tuple[int, int]) -> Radiograph:
    """An image at another (height, width): made smaller by area, larger linearly."""
    if image.pixels.shape == shape:
        return image
    smaller = image.pixels.shape[0] > shape[0]
    pixels = cv2.resize(image.pixels, shape[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return Radiograph(**{**vars(image), "shape": shape, "pixels": pixels})


def read(path: Path | str) -> np.ndarray:
    """The grey levels of a picture, uint8 (H, W).

    Colours become their luminance, transparency is dropped, and 16 bits are scaled to 8 by the file's own range.

    Raises:
        KitError: the file is missing, broken, too large, or no single picture.
    """
    picture = _decoded(path)
    if picture.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(picture, np.float64))
        low, high = values.min(), values.max()
        return np.rint((values - low) / ((high - low) or 1) * 255).astype(np.uint8)
    return np.array(picture.convert("L"))


def luminance(pixels: np.ndarray) -> np.ndarray:
    """The grey levels of a colour picture: uint8 (H, W, 3) of red, green, blue, or with alpha behind → uint8 (H, W)."""
    colours = np.ascontiguousarray(pixels[..., :3])
    return np.array(Image.fromarray(colours).convert("L"))


class Mask(NamedTuple):
    """What a picture of a mask holds."""

    pixels: np.ndarray
    """bool (H, W)."""
    note: str = ""
    """What is to be known of the picture, a colon, and how it is read."""
    regions: np.ndarray | None = None
    """int (H, W): the number of each pixel's region, 0 for none; None where regions are components."""


def read_mask(path: Path | str, label: int | None = None) -> Mask:
    """The mask that a picture holds, whatever it was drawn with: foreground on a black or transparent background.

    Where the opaque part of a picture with transparency is of one colour, that part is the mask. A palette's indices
    are labels, but for those that are black. Few small values, such as 1, 2, 3, each are a region. Where there are more
    than two levels, as after JPEG or a resize, the brighter half is the mask.

    Args:
        label: Foreground is just this value, a grey level or an index of the palette; None: as above.

    Raises:
        KitError: as `read`, or it cannot be told which part is the mask, or a JPEG is asked for a value, which it does
            not keep.
    """
    picture = _decoded(path)
    if label is not None:
        if _is_lossy(picture):
            raise KitError(f"{printable(path)}: is a JPEG, whose values are not exact: export the masks as PNG")
        exact = picture.mode == "P" or picture.mode.startswith(("I", "F"))
        return Mask(np.asarray(picture if exact else picture.convert("L")) == label)
    try:
        return _foreground(_levels(picture), _is_lossy(picture))
    except ValueError as error:  # what makes it ambiguous, and what to do
        raise KitError(f"{printable(path)}: {error}") from None


def shape_of(path: Path | str) -> tuple[int, int]:
    """(height, width) of an image of either kind, by its header alone."""
    if not is_picture(Path(path)):
        return dicom.read_metadata(path).shape
    return _opened(path, decode=False)[1]


def shapes_of(paths: Mapping[str, Path]) -> dict[str, tuple[int, int]]:
    """(H, W) of each image by its header; unreadable ones are left out here and reported when they are decoded."""
    shapes = {}
    for image_id, path in paths.items():
        with suppress(KitError):
            shapes[image_id] = shape_of(path)
    return shapes


def _decoded(path: Path | str) -> Image.Image:
    return _opened(path, decode=True)[0]


def _opened(path: Path | str, decode: bool) -> tuple[Image.Image, tuple[int, int]]:
    """A picture, decoded and turned upright or not, and its upright (height, width)."""
    with opened(path) as handle:
        try:
            picture = Image.open(handle, formats=_FORMATS)
            if (pages := getattr(picture, "n_frames", 1)) > 1 and picture.format in ("TIFF", "GIF"):
                raise KitError(f"{printable(path)}: holds {pages} pictures: save the one that counts")
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise KitError(f"{printable(path)}: is {width}×{height} pixels: {dicom.TOO_LARGE}")
            if decode:
                ImageOps.exif_transpose(picture, in_place=True)
            elif (
                width != height and picture.format != "TIFF" and picture.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8)
            ):
                width, height = height, width  # Pillow says TIFF's upright size by itself
        except (KitError, MemoryError):  # the second says nothing of the file
            raise
        except Image.DecompressionBombError as error:  # found before Pillow tells the size
            count = int(re.findall(r"\d+", str(error))[0])
            raise KitError(f"{printable(path)}: is {count:,} pixels: {dicom.TOO_LARGE}") from None
        except Exception as error:  # Pillow's readers raise what their parts raise: OSError, SyntaxError, struct.error
            raise KitError(
                f"{printable(path)}: is no PNG, JPEG, TIFF, BMP or GIF file, or is cut ({type(error).__name__}): "
                "fetch it again"
            ) from None
    return picture, (height, width)


def _is_lossy(picture: Image.Image) -> bool:
    return picture.format == "JPEG" or picture.info.get("compression") in ("jpeg", "tiff_jpeg")


def _levels(picture: Image.Image) -> np.ndarray:
    """How bright each pixel of a mask is, or which label it has; 0 where it is black or transparent, (H, W).

    Raises:
        ValueError: it cannot be told what is background.
    """
    if picture.mode.startswith(("I", "F")):
        return np.maximum(np.nan_to_num(np.asarray(picture)), 0)
    pixels = np.asarray(picture.convert("RGBA")).astype(np.int32)
    colours, alpha = pixels[..., :3], pixels[..., 3]
    transparent = alpha <= (alpha.max() // 2 if alpha.min() < alpha.max() else 0)
    ids = colours @ np.array([1 << 16, 1 << 8, 1], np.int32)
    if transparent.any():
        drawn = np.unique(ids[~transparent])
        if len(drawn) == 1:
            return np.where(transparent, 0, 255)
        if not len(drawn) and len(np.unique(ids)) > 1:
            raise ValueError("is transparent throughout, yet has colours: export the mask without transparency")
        colours, ids = np.where(transparent[..., None], 0, colours), np.where(transparent, 0, ids)
    brightest, used = colours.max(axis=2), np.unique(ids)
    if _is_lossy(picture) or len(used) > _FEW or (brightest == colours.min(axis=2)).all():
        return brightest
    if used[0] != 0:
        raise ValueError(f"has {len(used)} colours, none of them black: export the mask white on black")
    if picture.mode == "P":  # its indices are the labels
        indices = np.asarray(picture).astype(np.int32)
        return np.where(ids == 0, 0, np.where(indices == 0, 256, indices))
    if len(used) > 2:
        raise ValueError(f"has {len(used)} colours, as of several classes: export one class, white on black")
    return brightest


def _foreground(levels: np.ndarray, lossy: bool) -> Mask:
    """The mask of levels (H, W) of 0 and more.

    Raises:
        ValueError: it cannot be told which levels are foreground.
    """
    used = np.unique(levels)
    low, high, drawn = used[0], used[-1], not lossy and len(used) <= _FEW
    if lossy and 0 < high < _DARK:
        return Mask(levels < 0, f"is a JPEG with no level above {high}: it counts as all black")
    if high > 0 and (low == high or (lossy and high - low < _DARK)) and high not in (255, 65535):
        raise ValueError(f"has no level but {high:g}: draw the mask white on black")
    if low == high or (drawn and low == 0 and len(used) == 2):
        return Mask(levels > 0)
    if drawn and high <= _FEW and np.issubdtype(levels.dtype, np.integer):
        if low > 0:
            raise ValueError(f"has no background: its values are {_listed(used)}, none of them 0: draw it black")
        return Mask(
            levels > 0, f"has the values {_listed(used[1:])}: each is a region; --label takes one alone", levels
        )
    if drawn and _has_areas_between(levels, used):
        raise ValueError(f"has the levels {_listed(used)}, as of several classes: choose one with --label")
    note = "has more than two grey levels: the brighter half is the mask" if len(used) > 2 else ""
    return Mask(levels > high / 2, note)


def _has_areas_between(levels: np.ndarray, used: np.ndarray) -> bool:
    """Whether a level between the darkest and the brightest fills an area, not only edges as after a resize."""
    square = np.ones((3, 3), np.uint8)
    return any(cv2.erode((levels == level).astype(np.uint8), square).any() for level in used[1:-1])


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values)
