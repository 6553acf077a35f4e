"""DICOM files of every kind, whole and broken: read as pydicom reads them, or refused with the reason that fits."""

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
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit

from kit.competition import dicom, jpeg
from kit.core.errors import KitError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    OTHERS = sorted(path for path in get_testdata_files() if Path(path).is_file())
SMOOTH = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (128, 160)).astype(np.uint8), (0, 0), 3)


def refusal(path, **options) -> str:
    with pytest.raises(KitError) as refused:
        dicom.read(path, **options)
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
        with dicom.quiet():
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
        with dicom.quiet():
            dataset = pydicom.dcmread(path)
            return dataset.pixel_array.ndim == 2
    except Exception:
        return False


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("reportsi.dcm", "holds no image: a structured report: leave it out"),
        ("rtplan.dcm", "holds no image: RT Plan"),
        ("DICOMDIR", "holds no image: Media Storage Directory"),
        ("examples_palette.dcm", "is not a grey image (PALETTE COLOR)"),
        ("examples_rgb_color.dcm", "is not one grey image"),
        ("JPEG-lossy.dcm", "unsupported transfer syntax: JPEG Extended"),
        ("MR_truncated.dcm", "8130 of 8192 bytes: it is truncated"),
        ("priv_SQ.dcm", "holds no image: leave it out"),
        ("liver_1frame.dcm", "has 1 bits a pixel"),
        ("badVR.dcm", "is truncated or broken"),
    ],
)
def test_the_reason_that_fits(name, reason):
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
def test_whole_pictures_are_never_taken_for_broken_ones(height, width, seed, kind):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    if kind == "flat":
        pixels[:] = seed % 256
    elif kind == "border":
        pixels[height // 2 :] = 0
    stream = cv2.imencode(".jpg", pixels)[1].tobytes()
    expected = cv2.imdecode(np.frombuffer(stream, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert (jpeg.decode(stream, pixels.shape) == expected).all()


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"NumberOfFrames": ["1", "2"]}, "broken"),
        ({"Rows": 0}, "says that it is 0×160 pixels"),
        ({"Rows": 65535, "Columns": 65535}, "is 65535×65535 pixels: at most 8192×8192 are read"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, r"not a grey image \(PALETTE COLOR\)"),
        ({"PhotometricInterpretation": None}, "no colour space"),
        ({"BitsStored": 40}, "cannot be decoded"),
    ],
)
def test_headers_with_impossible_values(tmp_path, elements, reason):
    with dicom.quiet():
        path = write_dicom(tmp_path / "a.dcm", SMOOTH.astype(np.uint16) * 16, **elements)
    with pytest.raises(KitError, match=reason):
        dicom.read(path)


def test_one_wrong_byte_of_a_type_is_one_line(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", SMOOTH)
    content = path.read_bytes()
    place = content.index(b"US", 300)
    for kind in (b"U/", b"SQ", b"FD", b"\0\0", b"PN"):
        path.write_bytes(content[:place] + kind + content[place + 2 :])
        assert "FILE: " in refusal(path)


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [("NumberOfFrames", "11111111", b"SMITH^JO"), ("WindowCenter", "11111111", b"SMITH^JO")],
)
def test_what_is_refused_never_quotes_an_element(tmp_path, name, value, written):
    path = write_dicom(tmp_path / "a.dcm", SMOOTH.astype(np.uint16), bits=12, WindowWidth=9, **{name: value})
    path.write_bytes(path.read_bytes().replace(value.encode(), written))
    line = refusal(path)
    assert "broken" in line or "cannot be decoded" in line
    assert "SMITH" not in line
    assert "p1" not in line


def test_a_deflated_file_is_read(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", SMOOTH, DeflatedExplicitVRLittleEndian)
    assert (dicom.read(path).pixels == SMOOTH).all()


def test_a_stream_larger_than_its_header_is_not_decoded(tmp_path, monkeypatch):
    large = cv2.imencode(".jpg", np.zeros((6000, 6000), np.uint8))[1].tobytes()
    path = write_dicom(tmp_path / "a.dcm", SMOOTH, JPEGBaseline8Bit, PixelData=encapsulate([large]))
    monkeypatch.setattr(jpeg, "_grey", lambda *_: pytest.fail("it was decoded"))
    assert "pixels are (6000, 6000), not (128, 160) as its header says" in refusal(path)


@pytest.mark.parametrize("place", [8, 12, 24, 28])
@pytest.mark.parametrize("value", [0, 2**16, 2**32 - 1])
def test_a_jpeg_2000_of_impossible_size_or_tiles_is_refused(tmp_path, place, value):
    path = write_dicom(tmp_path / "a.dcm", SMOOTH, JPEG2000Lossless)
    content = path.read_bytes()
    start = content.index(b"\xff\x4f\xff\x51") + place
    path.write_bytes(content[:start] + value.to_bytes(4, "big") + content[start + 4 :])
    if place >= 24 and value >= 2**16:  # one tile that is larger than the picture is legal
        assert (dicom.read(path).pixels == SMOOTH).all()
    else:
        assert "as its header says" in refusal(path) or "tiles" in refusal(path)


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
    assert (jpeg.decode(stream + behind, SMOOTH.shape) == jpeg.decode(stream, SMOOTH.shape)).all()


def test_a_jpeg_without_its_end_mark_is_read_where_it_is_whole():
    """Cut anywhere in its last part, it gives the same picture or is refused."""
    read = 0
    for seed in range(8):
        pixels = np.random.default_rng(seed).integers(0, 256, (40, 48)).astype(np.uint8)
        stream = cv2.imencode(".jpg", pixels)[1].tobytes()
        whole = jpeg.decode(stream, pixels.shape)
        for end in (stream[:-2], stream[:-2] + b"\0"):
            assert (jpeg.decode(end, pixels.shape) == whole).all()
        for cut in range(3, 80):
            try:
                found = jpeg.decode(stream[:-cut], pixels.shape)
            except jpeg.Undecodable:
                continue
            read += 1
            assert (found == whole).all()
    assert read < 20


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1"])
def test_a_file_without_preamble_or_transfer_syntax_is_read_as_it_is_written(tmp_path, syntax):
    path = write_dicom(tmp_path / "a.dcm", SMOOTH, syntax)
    content = path.read_bytes()
    with dicom.quiet():
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
    assert "truncated" in refusal(path)
