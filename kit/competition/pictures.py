"""Picture files: grey radiographs and masks, from mirrors of the competition and people's own data.

Pictures are turned upright by their EXIF orientation, as annotators saw them.
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
"""Most levels or colours of a mask that was drawn and not resized or compressed."""
_JPEG_NOISE = 32
"""Range of grey levels that JPEG compression makes of a flat area."""
_INDEX_0 = 256
"""Label of a palette's index 0 if its colour is not black; larger than any index."""
_ORIENTATION = 0x0112


def is_picture(path: Path | str) -> bool:
    """Whether a file name has the ending of a readable picture: PNG, JPEG, TIFF, BMP or GIF."""
    return Path(path).suffix.lower() in ENDINGS


def read_image(path: Path | str, shape: tuple[int, int] | None = None) -> Radiograph:
    """Reads an image: a picture if its name ends as one, any other file as DICOM.

    Args:
        shape: (height, width) that the image must have; None accepts any.

    Raises:
        KitError: the file cannot be read, or the image is of another size.
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
    """Resizes an image to (height, width): by area if it becomes smaller, linearly if larger."""
    if image.pixels.shape == shape:
        return image
    smaller = image.pixels.shape[0] > shape[0]
    pixels = cv2.resize(image.pixels, shape[::-1], interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
    return Radiograph(**{**vars(image), "shape": shape, "pixels": pixels})


def read(path: Path | str) -> np.ndarray:
    """Returns the grey levels of a picture, uint8 (H, W).

    Colours become their luminance, transparency is dropped, and 16 bits are scaled to 8 by the file's own range.

    Raises:
        KitError: the file is missing, broken, too large, or holds several pictures.
    """
    picture, _ = _open(path, decode=True)
    if picture.mode.startswith(("I", "F")):
        values = np.nan_to_num(np.asarray(picture, np.float64))
        low, high = values.min(), values.max()
        return np.rint((values - low) / ((high - low) or 1) * 255).astype(np.uint8)
    return np.array(picture.convert("L"))


def luminance(pixels: np.ndarray) -> np.ndarray:
    """Returns the grey levels of a colour picture: uint8 (H, W, 3) of RGB or (H, W, 4) of RGBA → uint8 (H, W)."""
    colours = np.ascontiguousarray(pixels[..., :3])
    return np.array(Image.fromarray(colours).convert("L"))


class Mask(NamedTuple):
    """A mask as read from a picture."""

    pixels: np.ndarray
    """bool (H, W)."""
    note: str = ""
    """What is unusual about the picture and how it is read, with a colon between; empty if nothing is unusual."""
    regions: np.ndarray | None = None
    """int (H, W): number of each pixel's region, 0 for none; None if the regions are connected components."""


def read_mask(path: Path | str, label: int | None = None) -> Mask:
    """Reads a mask from a picture, however it was drawn: foreground on a black or transparent background.

    If the opaque part of a picture with transparency has one colour, that part is the mask. Indices of a palette are
    labels, except those of black. If there are few small values, such as 1, 2, 3, each is a region. If there are more
    than two levels, as after JPEG or a resize, the brighter half is the mask.

    Args:
        label: Only value that is foreground, a grey level or an index of the palette; if None, as above.

    Raises:
        KitError: as `read`; it is unclear which part is the mask; or `label` is given for a JPEG, which does not
            preserve values.
    """
    picture, _ = _open(path, decode=True)
    if label is not None:
        if _is_lossy(picture):
            raise KitError(f"{printable(path)}: is a JPEG, whose values are not exact: export the masks as PNG")
        exact = picture.mode == "P" or picture.mode.startswith(("I", "F"))
        return Mask(np.asarray(picture if exact else picture.convert("L")) == label)
    try:
        return _foreground(_levels(picture), lossy=_is_lossy(picture))
    except ValueError as error:  # says what is ambiguous, and what to do
        raise KitError(f"{printable(path)}: {error}") from None


def shape_of(path: Path | str) -> tuple[int, int]:
    """Returns the (height, width) of a picture or DICOM file by its header alone."""
    if not is_picture(Path(path)):
        return dicom.read_metadata(path).shape
    return _open(path, decode=False)[1]


def shapes_of(paths: Mapping[str, Path]) -> dict[str, tuple[int, int]]:
    """Returns the (height, width) of each image by its header; unreadable images are omitted, and reported later."""
    shapes = {}
    for image_id, path in paths.items():
        with suppress(KitError):
            shapes[image_id] = shape_of(path)
    return shapes


def _open(path: Path | str, *, decode: bool) -> tuple[Image.Image, tuple[int, int]]:
    """Opens a picture and returns it with its upright (height, width); if `decode`, it is read and turned upright."""
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
                width, height = height, width  # for TIFF, Pillow gives the upright size itself
        except (KitError, MemoryError):  # running out of memory is no fault of the file
            raise
        except Image.DecompressionBombError as error:  # raised before the size is known
            count = int(re.findall(r"\d+", str(error))[0])
            raise KitError(f"{printable(path)}: is {count:,} pixels: {dicom.TOO_LARGE}") from None
        except Exception as error:  # Pillow's readers raise many types: OSError, SyntaxError, struct.error
            raise KitError(
                f"{printable(path)}: is no PNG, JPEG, TIFF, BMP or GIF file, or is cut ({type(error).__name__}): "
                "fetch it again"
            ) from None
    return picture, (height, width)


def _is_lossy(picture: Image.Image) -> bool:
    return picture.format == "JPEG" or picture.info.get("compression") in ("jpeg", "tiff_jpeg")


def _levels(picture: Image.Image) -> np.ndarray:
    """Returns the brightness or the label of each pixel of a mask, (H, W); 0 where it is black or transparent.

    Raises:
        ValueError: it is unclear which part is background.
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
    if picture.mode == "P":  # the palette's indices are the labels
        indices = np.asarray(picture).astype(np.int32)
        return np.where(ids == 0, 0, np.where(indices == 0, _INDEX_0, indices))
    if len(used) > 2:
        raise ValueError(f"has {len(used)} colours, as of several classes: export one class, white on black")
    return brightest


def _foreground(levels: np.ndarray, *, lossy: bool) -> Mask:
    """Returns the mask in levels ≥ 0, (H, W).

    Raises:
        ValueError: it is unclear which levels are foreground.
    """
    used = np.unique(levels)
    low, high, drawn = used[0], used[-1], not lossy and len(used) <= _FEW
    if lossy and 0 < high < _JPEG_NOISE:
        return Mask(np.zeros(levels.shape, bool), f"is a JPEG with no level above {high}: it counts as all black")
    if high > 0 and (low == high or (lossy and high - low < _JPEG_NOISE)) and high not in (255, 65535):
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
    """Whether a level between the darkest and the brightest fills an area, instead of edges alone as after a resize."""
    square = np.ones((3, 3), np.uint8)
    return any(cv2.erode((levels == level).astype(np.uint8), square).any() for level in used[1:-1])


def _listed(values: np.ndarray) -> str:
    return ", ".join(f"{value:g}" for value in values)
