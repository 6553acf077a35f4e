"""Predictions saved as files, read back by other libraries."""

import sys
from dataclasses import replace

import cv2
import numpy as np
import pydicom
import pytest

from kit.competition import dicom, rle
from kit.competition.finding import Finding
from kit.core.errors import KitError
from kit.workflows import saving
from kit.workflows.saving import Predicted


@pytest.fixture
def found(phantoms):
    image = next(iter(phantoms.train))
    levels = np.zeros(phantoms.shape, np.uint8)
    levels[30:60, 40:90] = np.linspace(0, 255, 50).astype(np.uint8)
    return Predicted(image, phantoms.train[image], levels, levels >= 100, "exp5")


def test_each_kind_holds_the_prediction(found, tmp_path):
    saving.write(saving.kinds_of("png, overlay,npy,rle,dicom-seg"), [found], tmp_path)
    files = {path.parent.name: path for path in tmp_path.rglob("*.*")}
    assert set(files) == set(saving.KINDS)
    assert {path.name.removesuffix(path.suffix) for path in files.values()} == {found.image}
    assert (cv2.imread(str(files["png"]), cv2.IMREAD_UNCHANGED) == found.mask * 255).all()
    assert (np.load(files["npy"]) == found.levels).all()
    assert (rle.decode(files["rle"].read_text(), found.mask.shape) == found.mask).all()
    segment, source = pydicom.dcmread(files["dicom-seg"]), pydicom.dcmread(found.path)
    assert (segment.pixel_array.astype(bool) == found.mask).all()
    assert segment.SOPClassUID.name == "Segmentation Storage"
    assert segment.PatientID == source.PatientID
    assert segment.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == found.image
    assert segment.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Pneumothorax"
    overlay = cv2.cvtColor(cv2.imread(str(files["overlay"])), cv2.COLOR_BGR2RGB).astype(int)
    pixels = dicom.read(found.path).pixels
    untouched = found.levels == 0
    untouched[28:62, 38:92] = False  # but for the outline
    assert (overlay[untouched] == pixels[untouched][:, None]).all()
    assert (overlay[45, 88] != pixels[45, 88]).any()


@pytest.mark.parametrize(
    ("finding", "label", "code"),
    [(Finding(name="nodule", code=27925004), "Nodule", "27925004"), (Finding(name="finding"), "Finding", "49755003")],
)
def test_a_segmentation_names_the_finding_of_the_data_set(found, tmp_path, finding, label, code):
    saving.write(["dicom-seg"], [replace(found, finding=finding)], tmp_path)
    [segment] = pydicom.dcmread(tmp_path / f"dicom-seg/{found.image}.dcm").SegmentSequence
    assert (segment.SegmentLabel, segment.SegmentedPropertyTypeCodeSequence[0].CodeValue) == (label, code)


def test_an_empty_mask_is_a_segmentation_too(found, tmp_path):
    empty = Predicted(found.image, found.path, found.levels * 0, found.mask & False, "exp5")
    saving.write(["dicom-seg", "rle"], [empty], tmp_path)
    assert not pydicom.dcmread(tmp_path / f"dicom-seg/{found.image}.dcm").pixel_array.any()
    assert (tmp_path / f"rle/{found.image}.txt").read_text() == "-1\n"


def test_files_that_cannot_be_saved_are_refused(found, tmp_path, monkeypatch):
    with pytest.raises(KitError, match=r"--save dcm-seg: is none of .*; did you mean dicom-seg\?"):
        saving.kinds_of("png,dcm-seg")
    cv2.imwrite(str(tmp_path / "a.png"), found.levels)
    picture = Predicted("a", tmp_path / "a.png", found.levels, found.mask, "exp5")
    with pytest.raises(KitError, match=r"a\.png: is no DICOM file"):
        saving.write(["dicom-seg"], [picture], tmp_path)
    saving.check(["png"], [tmp_path / "a.png"])
    with pytest.raises(KitError, match=r"--save dicom-seg: .*a\.png: is no DICOM file: leave dicom-seg out"):
        saving.check(["png", "dicom-seg"], [found.path, tmp_path / "a.png"])
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with pytest.raises(KitError, match=r"highdicom is not installed: pip install"):
        saving.kinds_of("png,dicom-seg")


def test_saved_files_replace_earlier_ones(found, tmp_path):
    saving.write(["rle", "png"], [found, replace(found, image="other")], tmp_path)
    saving.write(["rle"], [found], tmp_path)
    assert [path.name for path in (tmp_path / "rle").iterdir()] == [f"{found.image}.txt"]
    with pytest.raises(KitError):
        saving.write(["dicom-seg", "rle"], [replace(found, path=tmp_path / "a.png")], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["png", "rle"]
    (tmp_path / "mine").mkdir()
    saving.discard(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
