"""JPEG streams inside DICOM files: decoded only where they are whole and of the size that the header says.

Decoders go on where a stream is damaged: what is missing of a picture silently becomes grey. Streams that
claim to be larger than the header says would take memory and time for nothing. Pillow decodes: the same libjpeg as
OpenCV's, bit for bit, without its warnings on the terminal.
"""

import io
import re

import numpy as np
from PIL import Image

_END = b"\xff\xd9"
_SCAN = b"\xff\xda"
_SIZES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_PADDINGS = bytes(range(1, 251)) * 2, b"\xfe" * 500, b"\x5a" * 500
_MISSING = 128
_MOST_TILES = 4096


class Undecodable(ValueError):
    """What is wrong with a stream, and what to do next."""


def decode(frame: bytes, shape: tuple[int, int]) -> np.ndarray:
    """The picture of a baseline JPEG.

    Args:
        frame: The stream.
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
    frame += _END
    if (size := _size(frame)) != shape:
        raise Undecodable(f"pixels are {size}, not {shape} as its header says: fetch it again")
    pixels = _grey(frame)
    # A decoder that runs out of data leaves the blocks that are missing at middle grey, the last one too. Then more
    # data before the end mark changes the picture; behind a whole picture it is left alone. Without an end mark, the
    # last block may lack its end alone.
    last = pixels[(shape[0] - 1) // 8 * 8 :, (shape[1] - 1) // 8 * 8 :]
    doubtful = not ended or bool((last == _MISSING).all())
    if doubtful and any((_grey(frame[: -len(_END)] + more + _END) != pixels).any() for more in _PADDINGS):
        raise Undecodable("pixels cannot be decoded (a part of the JPEG picture is missing): fetch the file again")
    return pixels


def check_2000(frame: bytes, shape: tuple[int, int]) -> int:
    """Refuses a JPEG 2000 stream of another size than the header says, or of too many tiles to be a radiograph.

    Returns:
        Bits a pixel by the stream itself.

    Raises:
        Undecodable: so it is, or it is no JPEG 2000.
    """
    start = frame.find(b"\xff\x4f\xff\x51")  # at 0, but for streams inside a .jp2
    numbers = np.frombuffer(frame[start + 8 : start + 40], ">u4").astype(np.int64) if start >= 0 else np.empty(0)
    if len(numbers) < 8:
        raise Undecodable("pixels cannot be decoded (not a JPEG 2000 stream): fetch the file again")
    size, offset, tile = numbers[1::-1], numbers[3:1:-1], numbers[5:3:-1]  # height, width of each
    if tuple((size - offset).tolist()) != shape:
        raise Undecodable(
            f"pixels are {tuple((size - offset).tolist())}, not {shape} as its header says: fetch it again"
        )
    if (tile < 1).any() or int(np.prod(-(-size // np.maximum(tile, 1)))) > _MOST_TILES:
        raise Undecodable("pixels cannot be decoded (its tiles are too small): fetch the file again")
    return (frame[start + 42] & 127) + 1 if len(frame) > start + 42 else 0


def _grey(frame: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(frame), formats=["JPEG"]) as image:
            image.draft("L", image.size)
            return np.asarray(image if image.mode == "L" else image.convert("L"))  # converting copies
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Undecodable("pixels cannot be decoded (not a whole JPEG stream): fetch the file again") from error


def _size(frame: bytes) -> tuple[int, int]:
    """(height, width) by the stream's own header."""
    place = 2
    while frame[place : place + 1] == b"\xff" and place + 9 <= len(frame):
        marker, length = frame[place + 1], int.from_bytes(frame[place + 2 : place + 4], "big")
        if marker in _SIZES:
            return int.from_bytes(frame[place + 5 : place + 7], "big"), int.from_bytes(
                frame[place + 7 : place + 9], "big"
            )
        # 0xFF alone fills up to the next marker.
        place += 1 if marker == 0xFF else 2 + length
    raise Undecodable("pixels cannot be decoded (not a JPEG stream): fetch the file again")
