"""JPEG streams inside DICOM files: decoded only where they are whole and of the size that the header says.

Decoders go on where a stream is damaged: what is missing of a picture silently becomes grey. Pillow decodes: the same
libjpeg as OpenCV's, bit for bit, without its warnings on the terminal.
"""

import io
import re

import numpy as np
from PIL import Image

_END = b"\xff\xd9"
_SCAN = b"\xff\xda"
_PADDINGS = bytes(range(1, 251)) * 2, b"\xfe" * 500, b"\x5a" * 500
_MISSING = 128


class Undecodable(ValueError):
    """What is wrong with a file, and what to do next, without its name."""


def decode(frame: bytes, shape: tuple[int, int]) -> np.ndarray:
    """The picture of a baseline JPEG.

    Args:
        shape: (height, width) that it must have.

    Returns:
        uint8 (height, width).

    Raises:
        Undecodable: it is no JPEG, of another size, or a part of its picture is missing.
    """
    end = frame.rfind(_END)
    ended = end > frame.rfind(_SCAN)  # encoders pad behind the end mark with what they like, and some forget it
    # A byte 0xFF of the picture is followed by 0, which is no padding.
    frame = frame[:end] if ended else re.sub(rb"(\xff\x00)?\x00*\Z", rb"\1", frame)
    pixels = _grey(frame + _END, shape)
    # A decoder that runs out of data leaves the blocks that are missing at middle grey, the last one too. Then more
    # data before the end mark changes the picture; behind a whole picture it is left alone. Without an end mark, the
    # last block may lack its end alone.
    last = pixels[(shape[0] - 1) // 8 * 8 :, (shape[1] - 1) // 8 * 8 :]
    doubtful = not ended or bool((last == _MISSING).all())
    if doubtful and any((_grey(frame + more + _END, shape) != pixels).any() for more in _PADDINGS):
        raise Undecodable("pixels cannot be decoded (a part of the JPEG picture is missing): fetch the file again")
    return pixels


def depth_of_2000(frame: bytes) -> int | None:
    """Bits a pixel that a JPEG 2000 stream itself says; None where it is none."""
    start = frame.find(b"\xff\x4f\xff\x51")  # at 0, but for streams inside a .jp2
    depth = frame[start + 42 : start + 43] if start >= 0 else b""
    return (depth[0] & 127) + 1 if depth else None


def _grey(frame: bytes, shape: tuple[int, int]) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(frame), formats=["JPEG"]) as image:
            if (size := image.size[::-1]) == shape:  # nothing is decoded before
                image.draft("L", image.size)
                return np.asarray(image if image.mode == "L" else image.convert("L"))  # converting copies
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises what its parts raise
        raise Undecodable("pixels cannot be decoded (not a whole JPEG stream): fetch the file again") from error
    raise Undecodable(f"pixels are {size}, not {shape} as its header says: fetch it again")
