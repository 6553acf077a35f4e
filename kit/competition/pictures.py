"""PNG and JPEG files: grey radiographs and masks, as the mirrors of the competition and people's own data hold them."""

from pathlib import Path

import numpy as np
from PIL import Image

from kit.competition import dicom
from kit.competition.dicom import Radiograph
from kit.core.errors import KitError, printable
from kit.core.files import opened

ENDINGS = (".png", ".jpg", ".jpeg")
_MOST_PIXELS = 2**26


def is_picture(path: Path | str) -> bool:
    """Whether a file's name ends as that of a PNG or JPEG file."""
    return Path(path).suffix.lower() in ENDINGS


def read_image(path: Path | str, shape: tuple[int, int] | None = None) -> Radiograph:
    """Reads an image of either kind: a picture by its ending, everything else as DICOM.

    Args:
        path: The file.
        shape: (height, width) that it must have; None: any.

    Raises:
        KitError: it cannot be read, or is of another size.
    """
    if not is_picture(Path(path)):
        return dicom.read(path, shape)
    pixels = read(path)
    if shape is not None and pixels.shape != tuple(shape):
        sizes = ["×".join(map(str, size)) for size in (pixels.shape, shape)]
        raise KitError(f"{printable(path)}: is {sizes[0]} pixels, not {sizes[1]} as the others: leave it out")
    return Radiograph(None, None, None, None, pixels.shape, burned_in=False, inverted=False, pixels=pixels)


def read(path: Path | str) -> np.ndarray:
    """The grey levels of a picture, uint8 (H, W).

    Colours become their luminance, transparency is dropped, and 16 bits are scaled to 8 by the file's own range.

    Raises:
        KitError: the file is missing, broken, or no picture.
    """
    picture = _opened(path)
    if picture.mode.startswith(("I", "F")):
        values = np.asarray(picture, np.float64)
        low, high = values.min(), values.max()
        return np.rint((values - low) / max(high - low, 1) * 255).astype(np.uint8)
    return np.array(picture.convert("L"))


def read_mask(path: Path | str) -> tuple[np.ndarray, bool]:
    """The mask that a picture holds: what is brighter than half of its brightest level, nothing where all is black.

    Returns:
        bool (H, W), and whether the picture has more than two grey levels, as after JPEG or a resize.

    Raises:
        KitError: as `read`.
    """
    picture = _opened(path)
    indices = picture.mode == "P"  # a palette's indices are the labels, whatever their colours
    values = np.asarray(picture if indices or picture.mode.startswith(("I", "F")) else picture.convert("L"))
    brightest = int(values.max())
    return values > brightest / 2, len(np.unique(values)) > 2


def shape_of(path: Path | str) -> tuple[int, int]:
    """(height, width) of an image of either kind, by its header alone.

    Raises:
        KitError: it cannot be read.
    """
    if not is_picture(Path(path)):
        return dicom.read_metadata(path).shape
    width, height = _opened(path, header_only=True).size
    return height, width


def _opened(path: Path | str, header_only: bool = False) -> Image.Image:
    with opened(path) as handle:
        try:
            picture = Image.open(handle, formats=("PNG", "JPEG"))
            if picture.width * picture.height > _MOST_PIXELS:
                raise KitError(f"{printable(path)}: is {picture.width}×{picture.height} pixels: no radiograph is")
            if not header_only:
                picture.load()
        except KitError:
            raise
        except Exception as error:  # Pillow's readers raise what their parts raise: OSError, SyntaxError, struct.error
            raise KitError(
                f"{printable(path)}: is no PNG or JPEG file, or is cut ({type(error).__name__}): fetch it again"
            ) from None
    return picture
