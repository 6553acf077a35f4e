"""DICOM files of every kind, whole and broken: read as pydicom reads them, or refused with a fitting reason."""

import warnings
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from dicoms import write_dicom
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import mutate, originals
from pydicom.data import get_testdata_files
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit

from kit.competition import dicom
from kit.core.errors import KitError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    OTHERS = sorted(path for path in get_testdata_files() if Path(path).is_file())
SMOOTH = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (128, 160)).astype(np.uint8), (0, 0), 3)


def refusal(path) -> str:
    with pytest.raises(KitError) as refused:
        dicom.read(path)
    line = str(refused.value)
    assert str(path) in line
    assert "\n" not in line
    return line.replace(str(path), "FILE")


def test_every_file_that_pydicom_ships_is_read_as_pydicom_reads_it_or_refused_with_its_reason():
    read = refused = 0
    for path in OTHERS:
        try:
            found = dicom.read(path).pixels
        except KitError as error:
            refused += 1
            assert "fetch it again" not in str(error) or not is_whole_grey_image(path), error
            continue
        read += 1
        with dicom.ignore_invalid_values():
            dataset = pydicom.dcmread(path)
            pixels = dataset.pixel_array
        assert found.shape == pixels.shape
        assert found.dtype == np.uint8
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            found = 255 - found
        if dataset.BitsStored <= 8 and not dataset.PixelRepresentation:
            assert (found == pixels).all(), path
        else:  # brighter pixels are never darker
            order = np.argsort(pixels, axis=None)
            steps = np.diff(found.ravel()[order].astype(int))
            assert (steps >= 0).all() or "RescaleSlope" in dataset or "ModalityLUTSequence" in dataset, path
    assert read >= 25
    assert read + refused == len(OTHERS) >= 100


def is_whole_grey_image(path) -> bool:
    """Whether pydicom decodes it to one grey picture."""
    try:
        with dicom.ignore_invalid_values():
            dataset = pydicom.dcmread(path)
            return dataset.pixel_array.ndim == 2
    except Exception:
        return False


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("reportsi.dcm", "holds no image"),
        ("priv_SQ.dcm", "holds no image"),
        ("examples_palette.dcm", "is not one grey image"),
        ("examples_rgb_color.dcm", "is not one grey image"),
        ("liver_1frame.dcm", "is not one grey image"),
        ("JPEG-lossy.dcm", "cannot be decoded (JPEG Extended"),
        ("MR_truncated.dcm", "cannot be decoded (Explicit VR Little Endian"),
        ("badVR.dcm", "is truncated or broken"),
    ],
)
def test_each_refusal_gives_its_reason(name, reason):
    path = next(path for path in OTHERS if Path(path).name == name)
    assert reason in refusal(path)


@pytest.mark.parametrize("share", [0.02, 0.1, 0.25, 0.5, 0.75, 0.95])
@pytest.mark.parametrize("restart", [0, 4])
def test_a_jpeg_without_a_part_of_its_picture_is_refused(tmp_path, share, restart):
    stream = cv2.imencode(".jpg", SMOOTH, [cv2.IMWRITE_JPEG_RST_INTERVAL, restart])[1].tobytes()
    scan = stream.index(b"\xff\xda") + 10
    cut = scan + int((len(stream) - scan) * share)
    path = write_dicom(tmp_path / "a.dcm", SMOOTH, JPEGBaseline8Bit)
    whole = dicom.read(path).pixels
    write_dicom(path, SMOOTH, JPEGBaseline8Bit, PixelData=encapsulate([stream[:cut] + b"\xff\xd9"]))
    assert "a part of the JPEG picture is missing" in refusal(path)
    write_dicom(path, SMOOTH, JPEGBaseline8Bit, PixelData=encapsulate([stream]))
    assert (dicom.read(path).pixels == whole).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(9, 70), st.integers(9, 70), st.integers(0, 2**32), st.sampled_from(["flat", "border", "noise"]))
def test_a_whole_jpeg_is_never_refused(height, width, seed, kind):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    if kind == "flat":
        pixels[:] = seed % 256
    elif kind == "border":
        pixels[height // 2 :] = 0
    stream = cv2.imencode(".jpg", pixels)[1].tobytes()
    expected = cv2.imdecode(np.frombuffer(stream, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert (dicom.decode_jpeg(stream, pixels.shape) == expected).all()


@pytest.mark.parametrize("name", ["NumberOfFrames", "WindowCenter"])
def test_a_refusal_never_quotes_an_element(tmp_path, name):
    path = write_dicom(tmp_path / "a.dcm", SMOOTH.astype(np.uint16), bits=12, WindowWidth=9, **{name: "11111111"})
    path.write_bytes(path.read_bytes().replace(b"11111111", b"SMITH^JO"))
    line = refusal(path)
    assert "broken" in line or "cannot be decoded" in line
    assert "SMITH" not in line
    assert "p1" not in line


def test_mutated_files_are_read_or_refused(tmp_path):
    files, path = originals(tmp_path), tmp_path / "mutated.dcm"
    refused = 0
    for number in range(500):
        path.write_bytes(mutate(files[number % len(files)], np.random.default_rng(number)))
        try:
            dicom.read(path)
        except KitError as error:
            refused += 1
            assert "\n" not in str(error)
    assert 100 < refused < 500


@pytest.mark.parametrize("behind", [b"\xff", b"\r\n", b"\0", b"\0\xff\0", b"\xff\xda and more"])
def test_bytes_behind_a_jpegs_end_mark_change_nothing(behind):
    stream = cv2.imencode(".jpg", SMOOTH)[1].tobytes()
    assert (dicom.decode_jpeg(stream + behind, SMOOTH.shape) == dicom.decode_jpeg(stream, SMOOTH.shape)).all()


def test_a_jpeg_without_its_end_mark_is_read_if_it_is_whole():
    """Cut anywhere in its last part, it gives the same picture or is refused."""
    read = 0
    for seed in range(8):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 48)).astype(np.uint8)
        stream = cv2.imencode(".jpg", pixels)[1].tobytes()
        whole = dicom.decode_jpeg(stream, pixels.shape)
        for end in (stream[:-2], stream[:-2] + b"\0"):
            assert (dicom.decode_jpeg(end, pixels.shape) == whole).all()
        for cut in range(3, 80):
            try:
                found = dicom.decode_jpeg(stream[:-cut], pixels.shape)
            except dicom.Undecodable:
                continue
            read += 1
            assert (found == whole).all()
    assert read < 20


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_a_file_without_preamble_or_transfer_syntax_is_read_as_it_is_written(tmp_path, syntax):
    path = write_dicom(tmp_path / "a.dcm", SMOOTH, syntax)
    content = path.read_bytes()
    with dicom.ignore_invalid_values():
        meta = pydicom.filereader.read_file_meta_info(path)
    elements = content[132 + 12 + meta.FileMetaInformationGroupLength :]
    for name, written in (
        ("bare", elements),
        ("meta alone", content[132:]),
        ("preamble alone", content[:132] + elements),
    ):
        path.write_bytes(written)
        assert (dicom.read(path).pixels == SMOOTH).all(), name
        assert dicom.holds_image(path)
    path.write_bytes(elements[: len(elements) // 2])
    assert "cannot be decoded" in refusal(path)
