"""Grey levels of deep films whose headers contradict their pixels."""

import logging

import numpy as np
import pydicom
import pytest
from dicoms import write_dicom
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from kit.competition import dicom

RAMP = np.tile(np.linspace(0, 4095, 64).round().astype(np.uint16), (64, 1))
FULL = np.rint(RAMP / 4095 * 255)


def read(folder, pixels, *, syntax=ExplicitVRLittleEndian, stored=12, **elements):
    """Reads a film of 16 bits per pixel whose header claims `stored` bits."""
    path = write_dicom(folder / "a.dcm", pixels, syntax, **elements)
    film = pydicom.dcmread(path)
    film.BitsStored, film.HighBit = stored, stored - 1
    film.save_as(path)
    return dicom.read(path)


def table(entries, bits, first=0):
    """Returns a lookup table whose descriptor claims that its entries have `bits` bits."""
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(entries) % 2**16, first, bits]
    item["LUTDescriptor"].VR = "US"
    item.add_new("LUTData", "OW", np.asarray(entries, "<u2").tobytes())
    return item


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_the_largest_entry_of_a_table_is_white_whatever_its_depth(tmp_path, bits):
    pixels = read(tmp_path, RAMP, VOILUTSequence=[table(np.arange(4096), bits)]).pixels
    assert np.abs(pixels - FULL).max() <= 1


def test_a_table_without_entries_gives_way_to_the_window_and_values_beyond_a_table_to_its_ends(tmp_path):
    window = {"WindowCenter": 1024, "WindowWidth": 2048}
    expected = read(tmp_path, RAMP, **window).pixels
    assert (read(tmp_path, RAMP, VOILUTSequence=[table([], 12)], **window).pixels == expected).all()
    short = read(tmp_path, RAMP, VOILUTSequence=[table(np.arange(2048), 12, first=1000)]).pixels
    assert np.abs(short - np.clip((RAMP.astype(float) - 1000) / 2047, 0, 1) * 255).max() <= 1


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": 0, "WindowWidth": 0},
        {"WindowCenter": 2048, "WindowWidth": -4096},
        {"WindowCenter": 2048, "WindowWidth": 4096, "VOILUTFunction": "LINEAR_FOO"},
        {"WindowCenter": [0, 2047.5], "WindowWidth": [0, 4096]},
        {"WindowCenter": [30000, 2047.5], "WindowWidth": [20, 4096]},
    ],
)
def test_invalid_windows_are_skipped(tmp_path, window):
    assert np.abs(read(tmp_path, RAMP, **window).pixels - FULL).max() <= 1


def test_a_window_beside_the_pixels_is_logged_once_and_ignored(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(dicom, "_LOGGED_DOUBTS", set())
    with caplog.at_level(logging.WARNING, "kit"):
        films = [read(tmp_path, RAMP + 12000, stored=16, WindowCenter=3174, WindowWidth=2426) for _ in range(3)]
    assert np.abs(films[0].pixels - FULL).max() <= 1
    assert "window does not cover" in films[0].doubt
    assert caplog.text.count("window does not cover") == 1
    assert not read(tmp_path, RAMP, WindowCenter=2048, WindowWidth=700).doubt


def test_the_functions_of_windows_are_those_of_the_standard(tmp_path):
    window, x = {"WindowCenter": 2000, "WindowWidth": 1000}, RAMP.astype(float)
    exact = read(tmp_path, RAMP, VOILUTFunction="LINEAR_EXACT", **window).pixels
    assert np.abs(exact - np.clip((x - 2000) / 1000 + 0.5, 0, 1) * 255).max() <= 0.51
    sigmoid = read(tmp_path, RAMP, VOILUTFunction="SIGMOID", **window).pixels
    assert np.abs(sigmoid - 255 / (1 + np.exp(-4 * (x - 2000) / 1000))).max() <= 0.51


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("padding", [{"PixelPaddingValue": 65535}, {"PixelPaddingValue": 65500, "limit": 65535}])
def test_padding_is_black_and_costs_no_contrast(tmp_path, inverted, padding):
    film = RAMP.copy()
    film[:9] = 65535
    kind = "MONOCHROME1" if inverted else "MONOCHROME2"
    limit = {"PixelPaddingRangeLimit": padding["limit"]} if "limit" in padding else {}
    value = {"PixelPaddingValue": padding["PixelPaddingValue"]}
    pixels = read(tmp_path, film, stored=16, PhotometricInterpretation=kind, **value, **limit).pixels
    assert not pixels[:9].any()
    assert np.abs(pixels[9:] - (255 - FULL if inverted else FULL)[9:]).max() <= 1


def test_signed_padding(tmp_path):
    film = RAMP.astype(np.int16) - 1000
    film[:, :9] = -2000
    pixels = read(tmp_path, film, stored=16, PixelPaddingValue=-2000).pixels
    assert not pixels[:, :9].any()
    low = film[:, 9:].min()
    assert np.abs(pixels[:, 9:] - (film[:, 9:] - float(low)) / (film.max() - float(low)) * 255).max() <= 1


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless])
def test_an_overlay_above_the_stored_bits_is_no_part_of_the_picture(tmp_path, syntax):
    film = RAMP.copy()
    film[20:30, 10:50] |= 0x8000
    film[5:9, 5:9] |= 0x4000
    assert np.abs(read(tmp_path, film, syntax=syntax).pixels - FULL).max() <= 1


@pytest.mark.parametrize("stored", [8, 10])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless, RLELossless])
def test_pixels_that_are_deeper_than_their_header_never_wrap(tmp_path, syntax, stored):
    assert np.abs(read(tmp_path, RAMP, syntax=syntax, stored=stored).pixels - FULL).max() <= 1


def test_a_depth_declared_by_the_stream_is_trusted(tmp_path):
    noise = np.random.default_rng(0).integers(0, 1024, (64, 64)).astype(np.uint16)
    noise[0, :2] = 0, 1023
    pixels = read(tmp_path, noise, syntax=JPEG2000Lossless, stored=8, bits=10).pixels
    assert np.abs(pixels - noise / 1023 * 255).max() <= 1


def test_a_slope_of_0_is_ignored(tmp_path):
    assert np.abs(read(tmp_path, RAMP, RescaleSlope=0, RescaleIntercept=0).pixels - FULL).max() <= 1


def test_signed_values_without_their_sign_extended(tmp_path):
    film = RAMP.astype(np.int16) - 2048
    pixels = read(tmp_path, (film & 0xFFF).astype(np.int16)).pixels
    assert np.abs(pixels - FULL).max() <= 1
