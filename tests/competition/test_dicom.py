import threading
import warnings

import cv2
import numpy as np
import pydicom
import pytest
from dicoms import write_dicom
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from kit.competition import dicom, pictures
from kit.core.errors import KitError


@pytest.fixture
def picture():
    """Every grey level, uint8 (64, 96)."""
    rows, columns = np.mgrid[:64, :96]
    return ((rows * 3 + columns) % 256).astype(np.uint8)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "image.dcm"


class TestPixels:
    def test_uncompressed_8_bits_are_unchanged(self, path, picture):
        assert (dicom.read(write_dicom(path, picture)).pixels == picture).all()

    def test_jpeg_baseline_equals_another_decoder(self, path):
        smooth = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (64, 96)).astype(np.uint8), (0, 0), 5)
        write_dicom(path, smooth, JPEGBaseline8Bit)
        expected = pydicom.dcmread(path).pixel_array
        read = dicom.read(path).pixels
        assert read.dtype == np.uint8
        assert (read == expected).all()

    def test_jpeg_2000(self, path, picture):
        assert (dicom.read(write_dicom(path, picture, JPEG2000Lossless)).pixels == picture).all()

    @pytest.mark.parametrize("syntax", [None, JPEGBaseline8Bit])
    def test_monochrome1_is_inverted(self, path, picture, syntax):
        options = {} if syntax is None else {"syntax": syntax}
        plain = dicom.read(write_dicom(path, picture, **options)).pixels
        inverted = dicom.read(write_dicom(path, picture, PhotometricInterpretation="MONOCHROME1", **options)).pixels
        assert (inverted == 255 - plain).all()

    @pytest.mark.parametrize(("bits", "kind"), [(10, np.uint16), (12, np.uint16), (16, np.uint16), (12, np.int16)])
    def test_deep_images_are_scaled_by_their_full_range(self, path, bits, kind):
        top = 2 ** (bits - 1) - 1 if kind is np.int16 else 2**bits - 1
        bottom = -top if kind is np.int16 else 0
        deep = np.linspace(bottom, top, 64 * 96).round().astype(kind).reshape(64, 96)
        expected = np.linspace(0, 255, 64 * 96).reshape(64, 96)
        assert np.abs(dicom.read(write_dicom(path, deep, bits=bits)).pixels - expected).max() <= 1

    def test_a_window_clips_and_stretches(self, path):
        deep = np.arange(4096, dtype=np.uint16).reshape(64, 64)
        write_dicom(path, deep, bits=12, WindowCenter=2048, WindowWidth=1024)
        pixels = dicom.read(path).pixels.ravel().astype(int)
        assert (pixels[:1535] == 0).all()
        assert (pixels[2561:] == 255).all()
        # PS3.3 C.11.2.1.2: ((x - (c - 0.5)) / (w - 1) + 0.5) of the output's range.
        inside = np.arange(1540, 2555)
        expected = ((inside - 2047.5) / 1023 + 0.5) * 255
        assert np.abs(pixels[inside] - expected).max() <= 0.51

    def test_a_rescaled_window(self, path):
        deep = np.arange(4096, dtype=np.uint16).reshape(64, 64)
        plain = dicom.read(write_dicom(path, deep, bits=12, WindowCenter=2048, WindowWidth=1024)).pixels
        shifted = dicom.read(
            write_dicom(
                path, deep, bits=12, RescaleSlope=1, RescaleIntercept=-1000, WindowCenter=1048, WindowWidth=1024
            )
        ).pixels
        assert np.abs(plain.astype(int) - shifted).max() <= 1

    def test_a_negative_slope_inverts_the_levels(self, path):
        deep = np.arange(4096, dtype=np.uint16).reshape(64, 64)
        window = {"bits": 12, "WindowCenter": 2048, "WindowWidth": 1024}
        plain = dicom.read(write_dicom(path, deep, **window)).pixels
        falling = dicom.read(write_dicom(path, deep, RescaleSlope=-1, RescaleIntercept=4095, **window)).pixels
        assert np.abs(plain.astype(int) - falling[::-1, ::-1]).max() <= 1

    def test_a_table_of_levels_is_windowed_in_its_own_range(self, path):
        deep = np.arange(4096, dtype=np.uint16).reshape(64, 64)
        table = pydicom.Dataset()
        table.LUTDescriptor = [4096, 0, 16]
        table.add_new("LUTData", "OW", (deep * 16).tobytes())
        write_dicom(path, deep, bits=12, ModalityLUTSequence=[table], WindowCenter=32768, WindowWidth=65536)
        assert np.abs(dicom.read(path).pixels.ravel() - np.arange(4096) * 16 / 65535 * 255).max() <= 1

    @pytest.mark.parametrize("window", [{"WindowWidth": 50}, {"WindowCenter": None, "WindowWidth": None}])
    def test_an_incomplete_window_is_ignored(self, path, window):
        deep = np.linspace(1000, 1500, 64 * 64).astype(np.uint16).reshape(64, 64)
        pixels = dicom.read(write_dicom(path, deep, bits=12, **window)).pixels
        assert (pixels.min(), pixels.max()) == (0, 255)

    def test_a_flat_deep_image_is_black(self, path):
        assert not dicom.read(write_dicom(path, np.full((8, 8), 700, np.uint16), bits=12)).pixels.any()


class TestMetadata:
    def test_patient_and_view(self, path, picture):
        write_dicom(path, picture)
        for found in (dicom.read(path), dicom.read_metadata(path)):
            assert (found.sex, found.age, found.view_position, found.patient_id) == ("F", 45, "PA", "p1")
            assert found.shape == (64, 96)

    @pytest.mark.parametrize(
        ("header", "area"),
        [
            ({"PixelSpacing": [0.2, 0.5]}, 0.1),
            ({"ImagerPixelSpacing": [0.2, 0.2]}, 0.04),
            ({"PixelSpacing": [0, 0.5], "ImagerPixelSpacing": [0.2, 0.2]}, 0.04),
            ({"PixelSpacing": [0.2]}, None),
            ({}, None),
        ],
    )
    def test_the_header_gives_the_pixel_area(self, path, picture, header, area):
        found = dicom.read_metadata(write_dicom(path, picture, **header)).pixel_area
        assert found == (None if area is None else pytest.approx(area))

    def test_missing_elements_are_none(self, path, picture):
        write_dicom(path, picture, PatientAge="", PatientSex="", ViewPosition="", PatientID="")
        found = dicom.read_metadata(path)
        assert (found.sex, found.age, found.view_position, found.patient_id) == (None, None, None, None)

    def test_illegal_values_are_read_silently_and_settings_stay(self, path, picture):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write_dicom(path, picture, StudyInstanceUID="ID_illegal.0x", PatientAge="10")
        before = pydicom.config.settings.reading_validation_mode
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert dicom.read(path).age == 10
        assert pydicom.config.settings.reading_validation_mode == before

    def test_threads_leave_the_settings_as_they_were(self, path, picture):
        write_dicom(path, picture)
        before, filters = pydicom.config.settings.reading_validation_mode, list(warnings.filters)
        threads = [threading.Thread(target=lambda: [dicom.read(path) for _ in range(20)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pydicom.config.settings.reading_validation_mode == before
        assert list(warnings.filters) == filters


class TestBadFiles:
    def refused(self, path, reason, read=dicom.read):
        with pytest.raises(KitError, match=reason) as refused:
            read(path)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)

    @pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", JPEGBaseline8Bit, JPEG2000Lossless])
    def test_truncated_anywhere(self, path, syntax):
        noise = np.random.default_rng(0).integers(0, 256, (64, 96)).astype(np.uint8)
        content = write_dicom(path, noise, syntax).read_bytes()
        for share in (0.05, 0.2, 0.5, 0.8, 0.97):
            path.write_bytes(content[: int(len(content) * share)])
            self.refused(path, "truncated|cannot be decoded|not a DICOM|no pixels")

    def test_an_image_of_another_size_is_refused(self, path, picture):
        write_dicom(path, picture)
        self.refused(path, "64×96 pixels, not 64×64", lambda path: pictures.read_image(path, (64, 64)))
        assert pictures.read_image(path, (64, 96)).shape == (64, 96)

    def test_an_impossible_size_is_refused(self, path, picture):
        self.refused(write_dicom(path, picture, Rows=0), "says that it is 0×96")
        self.refused(write_dicom(path, picture, Rows=65535, Columns=65535), "at most 8192×8192 are read")

    def test_a_header_that_contradicts_the_pixels_is_refused(self, path, picture):
        write_dicom(path, picture, JPEGBaseline8Bit, Rows=32)
        self.refused(path, "as its header says")
        write_dicom(path, picture, Rows=128)
        self.refused(path, "cannot be decoded")

    def test_colour_and_several_frames_are_refused(self, path, picture):
        write_dicom(path, np.stack([picture, picture, 255 - picture], axis=-1))
        self.refused(path, "not one grey image")
        write_dicom(path, picture, NumberOfFrames=2)
        self.refused(path, "not one grey image")

    @pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
    def test_colour_of_equal_channels_is_grey(self, path, picture, syntax):
        write_dicom(path, np.stack([picture] * 3, axis=-1), syntax)
        np.testing.assert_array_equal(dicom.read(path).pixels, picture)

    def test_every_bad_file_is_listed(self, caplog):
        errors = [KitError("b.dcm: is empty"), KitError("c.dcm: is 32×96 pixels")]
        with pytest.raises(KitError, match=r"2 files cannot be read.*b\.dcm: is empty; c\.dcm: is 32×96 pixels"):
            dicom.report_bad(errors, skip_bad=False)
        dicom.report_bad(errors, skip_bad=True)
        assert caplog.text.count("skipping") == 2
        dicom.report_bad([], skip_bad=False)
