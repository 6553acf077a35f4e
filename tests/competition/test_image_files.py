"""Which files of a folder are images, and what each is called."""

import logging
import unicodedata

import cv2
import numpy as np
import pytest
from dicoms import write_dicom
from pydicom.uid import generate_uid

from kit.competition import dicom, image_files, mirror
from kit.core.errors import KitError

DICOMDIR = "1.2.840.10008.1.3.10"
REPORT = "1.2.840.10008.5.1.4.1.1.88.11"
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


def put_dicom(path, grey=0, kind=None, **elements):
    path.parent.mkdir(parents=True, exist_ok=True)
    with dicom.ignore_invalid_values():
        write_dicom(path, np.full((8, 8), grey, np.uint8), **elements)
    if kind:
        import pydicom

        dataset = pydicom.dcmread(path)
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = kind
        dataset.save_as(path)


def put_picture(path, grey=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((8, 8), grey, np.uint8))


def test_pictures_and_dicom_files_are_found_among_other_files(tmp_path, caplog):
    put_picture(tmp_path / "a.png")
    put_picture(tmp_path / "b.JPG")
    for number, ending in enumerate((".dcm", ".DICOM", ".dic", ".ima", "")):
        put_dicom(tmp_path / "export" / f"IM{number}{ending}", grey=number)
    put_dicom(tmp_path / "DICOMDIR", kind=DICOMDIR)
    put_dicom(tmp_path / "report.dcm", kind=REPORT)
    put_dicom(tmp_path / "segmentation.dcm", kind=SEGMENTATION)
    for name in ("c.webp", "d.HEIC", "e.nrrd", "scan.nii.gz"):
        (tmp_path / name).write_bytes(b"of another kind")
    for name in ("notes.txt", "train.csv", "Thumbs.db", "LICENSE"):
        (tmp_path / name).write_bytes(b"no image")
    for folder in (".ipynb_checkpoints", "@eaDir", "__MACOSX"):
        put_picture(tmp_path / folder / "a.png", 9)
    (tmp_path / "._a.png").write_bytes(b"of macOS")
    (tmp_path / "folder.png").mkdir()
    put_picture(tmp_path / "folder.png/inside.png")
    assert list(image_files.find(tmp_path)) == ["IM0", "IM1", "IM2", "IM3", "IM4", "a", "b", "inside"]
    assert caplog.text.count("left out") == 1
    for counted in (
        "1 .heic files",
        "1 .nii.gz files",
        "1 .nrrd files",
        "1 .webp files",
        "3 DICOM files without an image",
    ):
        assert counted in caplog.text


def test_masks_are_not_predicted(tmp_path, caplog):
    for number in range(3):
        put_dicom(tmp_path / f"case{number}.dcm", grey=number)
        put_picture(tmp_path / "masks" / f"case{number}.png")
    put_picture(tmp_path / "pictures" / "case7.png")
    put_picture(tmp_path / "pictures" / "case7_mask.png")
    assert list(image_files.find(tmp_path)) == ["case0", "case1", "case2", "case7"]
    assert "4 masks" in caplog.text


def test_a_truncated_dicom_file_counts_as_an_image(tmp_path):
    (tmp_path / "torn.dcm").write_bytes(b"")
    assert list(image_files.find(tmp_path)) == ["torn"]


def test_linked_folders_are_followed_once(tmp_path):
    put_picture(tmp_path / "disk/b.png")
    put_picture(tmp_path / "data/a.png")
    (tmp_path / "data/away").symlink_to(tmp_path / "disk")
    (tmp_path / "data/again").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/circle").symlink_to(tmp_path / "data")
    (tmp_path / "data/linked.png").symlink_to(tmp_path / "disk/b.png")
    assert list(image_files.find(tmp_path / "data")) == ["a", "b", "linked"]


def test_a_link_to_itself_ends(tmp_path):
    put_picture(tmp_path / "a.png")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "missing").symlink_to("nowhere")
    assert list(image_files.find(tmp_path)) == ["a"]


def test_one_file_name_for_several_patients(tmp_path):
    for grey, patient in enumerate(("anna", "bert")):
        put_dicom(tmp_path / f"pacs/{patient}/S1/IM0001", grey, PatientID=patient, SOPInstanceUID=generate_uid())
    put_dicom(tmp_path / "pacs/anna/S1/IM0002")
    assert list(image_files.find(tmp_path)) == ["IM0002", "pacs-anna-S1-IM0001", "pacs-bert-S1-IM0001"]
    with pytest.raises(KitError, match=r"has the name of another image, .*: rename one of them"):
        image_files.find_dicoms(tmp_path)


PACS = ("DICOM/P1/S1/IM0001", "DICOM/P2/S1/IM0001", "DICOM/P2/S2/IM0001")


@pytest.mark.parametrize(
    "place",
    [
        lambda image: f"masks/{image.removeprefix('DICOM/')}.png",
        lambda image: f"masks/{image}.png",
        lambda image: f"masks/{image.replace('/', '-')}.png",
        lambda image: f"{image}_mask.png",
        lambda image: f"{image.replace('IM', 'seg/IM')}.png",
    ],
    ids=["by patient", "by the whole path", "by the id", "beside", "in a folder beside"],
)
def test_masks_of_files_of_one_name_are_paired_by_their_folders(tmp_path, place):
    for grey, image in enumerate(PACS):
        put_dicom(tmp_path / image, grey, SOPInstanceUID=generate_uid())
        put_picture(tmp_path / place(image), 200 + grey)
    put_dicom(tmp_path / "DICOMDIR", kind=DICOMDIR)
    found = mirror.recognise(tmp_path)
    assert found.train == tuple(image.replace("/", "-") for image in PACS)
    assert [found.masks[image] for image in found.train] == [tmp_path / place(image) for image in PACS]


def test_a_mask_of_another_folder_has_no_image(tmp_path):
    for grey, image in enumerate(PACS):
        put_dicom(tmp_path / image, grey, SOPInstanceUID=generate_uid())
    put_picture(tmp_path / "masks/P1/S1/IM0001.png")
    for patient in ("P3/S1", "P3/S2", "S1"):  # of a patient who has no image, and of two who might be meant
        put_picture(tmp_path / f"masks/{patient}/IM0001.png", 9)
    assert mirror.recognise(tmp_path).masks == {"DICOM-P1-S1-IM0001": tmp_path / "masks/P1/S1/IM0001.png"}


def test_folders_below_a_given_mask_folder_pair_masks_and_images(tmp_path):
    for grey, image in enumerate(PACS):
        put_dicom(tmp_path / image, grey, SOPInstanceUID=generate_uid())
        put_picture(tmp_path / f"drawn/{image.removeprefix('DICOM/')}.png", 200 + grey)
    assert len(mirror.recognise(tmp_path, masks=tmp_path / "drawn").train) == 3
    assert len(mirror.recognise(tmp_path / "DICOM", masks=tmp_path / "drawn").train) == 3


def test_thousands_of_files_of_one_name_are_not_compared_with_each_other(tmp_path, monkeypatch):
    for number in range(20):
        put_dicom(tmp_path / f"P{number}/IM0001", number, SOPInstanceUID=generate_uid())
    monkeypatch.setattr(image_files, "sha256", lambda _: pytest.fail("a whole file was read"))
    assert len(image_files.find(tmp_path)) == 20


def test_a_copy_counts_once(tmp_path, caplog):
    for folder in ("a", "b", "c"):
        put_picture(tmp_path / folder / "x.png")
    assert list(image_files.find(tmp_path)) == ["x"]
    assert "2 copies of other images" in caplog.text
    put_dicom(tmp_path / "d/x.dcm")
    with pytest.raises(KitError, match="has the name of another image"):
        image_files.find_dicoms(tmp_path / "d", put_and_return(tmp_path / "e/x.dcm"))


def put_and_return(path):
    put_dicom(path, 50)
    return path.parent


def test_ids_are_compared_in_composed_unicode_and_without_endings(tmp_path, caplog):
    decomposed = unicodedata.normalize("NFD", "müller")
    put_picture(tmp_path / f"{decomposed}.png")
    put_picture(tmp_path / "plain.png", 1)
    images = image_files.find(tmp_path)
    assert list(images) == ["müller", "plain"]
    with caplog.at_level(logging.INFO, "kit"):
        meant = image_files.match([decomposed, "plain.png", "none.png"], images, "rows.csv")
    assert list(meant.values()) == ["müller", "plain", "none.png"]
    assert "rows.csv: 2 ids spelt unlike the files" in caplog.text
    assert image_files.match(["images/plain.png"], images, "")["images/plain.png"] == "plain"
    twice = image_files.match(["a/plain", "b/plain"], images, "")
    assert twice == {"a/plain": "a/plain", "b/plain": "b/plain"}  # one image cannot be both


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("images/a.png", "masks/a.png"),
        ("a.png", "a_mask.png"),
        ("a.png", "a-mask.png"),
        ("a.png", "a_seg.png"),
        ("a.png", "mask_a.png"),
        ("scans/a.png", "labels/a.png"),
        ("images/a.png", "labels/a_seg.png"),
        ("imagesTr/a_0000.png", "labelsTr/a.png"),
        ("trainImages/a.png", "trainMasks/a.png"),
        ("Original/a.png", "Ground Truth/a.png"),
        ("unmasked/a.png", "masks/a.png"),
        ("x-images-and-masks/png_images/a.png", "x-images-and-masks/png_masks/a.png"),
        ("images/mask_1.png", "masks/mask_1.png"),
        ("p1/images/a.png", "p1/masks/a.png"),
        ("images/p1/a.png", "masks/p1/a.png"),
    ],
)
def test_masks_are_recognised_by_the_innermost_folder_or_their_names(tmp_path, caplog, image, mask):
    put_picture(tmp_path / image, 9)
    put_picture(tmp_path / mask)
    found = mirror.recognise(tmp_path)
    (name,) = found.train
    assert (found.images[name], found.masks[name]) == (tmp_path / image, tmp_path / mask)
    caplog.clear()
    assert image_files.find(tmp_path) == found.images  # as a prediction takes them
    assert caplog.messages == ["left out: 1 masks"]


def test_a_mask_folder_or_suffix_can_be_named(tmp_path, caplog):
    for place in ("a/x.png", "b/x.png"):
        put_picture(tmp_path / place, len(place) + ord(place[0]))
    with pytest.raises(KitError, match=r"--masks FOLDER"):
        mirror.recognise(tmp_path)
    found = mirror.recognise(tmp_path, masks=tmp_path / "b")
    assert found.masks == {"x": tmp_path / "b/x.png"}
    put_picture(tmp_path / "c/y.png", 3)
    put_picture(tmp_path / "c/y_lesion.png")
    put_picture(tmp_path / "c/z_lesion.png")
    found = mirror.recognise(tmp_path / "c", mask_suffix="_lesion")
    assert found.masks == {"y": tmp_path / "c/y_lesion.png"}
    assert "1 masks without an image of their name" in caplog.text
    outside = mirror.recognise(tmp_path / "a", masks=tmp_path / "b")
    assert outside.masks == {"x": tmp_path / "b/x.png"}


def test_equal_names_of_training_and_test_images(tmp_path):
    for grey, part in enumerate(("train", "test")):
        put_picture(tmp_path / part / "images/1.png", 10 + grey)
        put_picture(tmp_path / part / "masks/1.png", 0)
    found = mirror.recognise(tmp_path)
    assert (found.train, found.test) == (("train-1",), ("test-1",))
    assert found.masks["test-1"] == tmp_path / "test/masks/1.png"


def test_two_masks_of_one_image_are_refused(tmp_path):
    put_picture(tmp_path / "images/a.png", 1)
    put_picture(tmp_path / "masks/a.png")
    put_picture(tmp_path / "masks/a_mask_1.png")
    with pytest.raises(KitError, match="is a mask of the same image"):
        mirror.recognise(tmp_path)


def test_pictures_below_a_folder_named_for_masks(tmp_path):
    put_picture(tmp_path / "mask-project/a.png")
    for find in (mirror.recognise, image_files.find):
        with pytest.raises(KitError, match=r"but 1 that its folders' names call masks \(--masks FOLDER"):
            find(tmp_path)
