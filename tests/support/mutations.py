"""Randomly broken copies of DICOM files. As a script, reads a number of copies and counts the outcomes.

python tests/support/mutations.py 100000
"""

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from dicoms import write_dicom
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

VRS = [b"US", b"UL", b"IS", b"DS", b"SQ", b"OB", b"OW", b"UN", b"LO", b"PN", b"U/", b"\0\0", b"UT", b"FD", b"AT"]


def originals(folder: Path) -> list[bytes]:
    """Returns one readable file of each kind, of 32 × 48 pixels."""
    random = np.random.default_rng(0)
    noise = cv2.GaussianBlur(random.integers(0, 256, (32, 48)).astype(np.uint8), (0, 0), 2)
    deep = noise.astype(np.uint16) * 16
    made = [
        write_dicom(folder / "native.dcm", noise),
        write_dicom(folder / "jpeg.dcm", noise, JPEGBaseline8Bit, PhotometricInterpretation="MONOCHROME1"),
        write_dicom(folder / "j2k.dcm", noise, JPEG2000Lossless),
        write_dicom(folder / "window.dcm", deep, bits=12, WindowCenter=2048, WindowWidth=1024, RescaleSlope=1),
        write_dicom(folder / "rle.dcm", deep, RLELossless, bits=12),
        write_dicom(folder / "deflated.dcm", noise, DeflatedExplicitVRLittleEndian),
    ]
    return [path.read_bytes() for path in made]


def mutate(content: bytes, random: np.random.Generator) -> bytes:
    """Makes one to eight changes: bytes, VRs, lengths, truncation, repeated parts, missing parts."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 9))):
        # Half of the changes hit the header, which is the smaller part.
        end = len(data) if random.random() < 0.5 else min(len(data), 700)
        place = int(random.integers(min(132, max(end - 1, 1)), max(end, 134))) if end > 134 else 0
        kind = random.integers(7)
        if kind == 0:
            data[place : place + 1] = random.bytes(1)
        elif kind == 1:
            data[place : place + 2] = VRS[random.integers(len(VRS))]
        elif kind == 2:
            data[place : place + 4] = int(random.choice([0, 1, 2**16, 2**31, 2**32 - 1])).to_bytes(4, "little")
        elif kind == 3 and random.random() < 0.3:
            del data[place:]
        elif kind == 4:
            data[place:place] = random.bytes(int(random.integers(1, 20)))
        elif kind == 5:
            del data[place : place + int(random.integers(1, 20))]
        else:
            data[place:place] = data[place : place + int(random.integers(1, 20))]
    return bytes(data)


def main(count: int) -> None:
    """Prints how many copies were read, refused and escaped, and the slowest."""
    from kit.competition import dicom
    from kit.core.errors import KitError

    outcomes, escapes, slowest = Counter(), Counter(), (0.0, -1)
    with tempfile.TemporaryDirectory() as folder:
        files, path = originals(Path(folder)), Path(folder, "mutated.dcm")
        for number in range(count):
            random = np.random.default_rng(number)
            path.write_bytes(mutate(files[number % len(files)], random))
            start = time.monotonic()
            try:
                dicom.read(path)
                outcomes["read"] += 1
            except KitError as error:
                outcomes["refused"] += 1
                assert "\n" not in str(error)
            except BaseException as error:
                outcomes["escaped"] += 1
                escapes[f"{type(error).__name__} {str(error)[:80]} (first: {number})"] += 1
            slowest = max(slowest, (time.monotonic() - start, number))
            if number % 10_000 == 0:
                print(number, dict(outcomes), f"slowest {slowest[0]:.2f} s (number {slowest[1]})", flush=True)
    print(count, dict(outcomes), f"slowest {slowest[0]:.2f} s (number {slowest[1]})")
    print("\n".join(f"{times} × {what}" for what, times in escapes.most_common()))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main(int(sys.argv[1]))
