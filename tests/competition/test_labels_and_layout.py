import os
import shutil

import numpy as np
import pytest

from kit.competition import image_files, labels, layout, rle
from kit.core.errors import KitError


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    return path


class TestLabels:
    EXPECTED = {"a": (), "b": ("1 2", "5 6"), "c": ("3 4",)}  # noqa: RUF012

    @pytest.mark.parametrize(
        "text",
        [
            "ImageId,EncodedPixels\na,-1\nb,1 2\nb,5 6\nc,3 4\n",
            "ImageId, EncodedPixels\na, -1\nb, 1 2\nb, 5 6\nc, 3 4\n",
            "\ufeffa,-1\r\nb, 1 2\r\nb, 5 6\r\nc, 3 4",
            "a,-1\na,-1\nb,1 2\nc,3 4\nb,5 6\nb,1 2\nc,-1\n",
            "ImageId,EncodedPixels\n\na,\nb,1 2\nb,5 6\nc,3 4\n\n",
            '"ImageId","EncodedPixels"\n"a","-1"\n"b","1 2"\n"b","5 6"\n"c","3 4"\n',
            "\n  \nImageId,EncodedPixels\na,-1\nb,1 2\nImageId,EncodedPixels\nb,5 6\nc,3 4\n",
        ],
        ids=["plain", "spaces", "bom, no header, CRLF", "duplicates and order", "blank lines", "quotes", "joined"],
    )
    def test_every_variant_of_the_file_is_read(self, tmp_path, text):
        assert labels.read(write(tmp_path / "l.csv", text)) == self.EXPECTED

    def test_strata(self):
        found = {image_id: labels.stratum(regions) for image_id, regions in self.EXPECTED.items()}
        assert found == {"a": "negative", "b": "multiple", "c": "single"}

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("ImageId,EncodedPixels\n", "no rows"),
            ("ImageId,EncodedPixels\na,1 2,x\n", ":2: 3 fields"),
            (",1 2\n", ":1: the first of ImageId,EncodedPixels is empty"),
            ("ImageId,Mask\na,1 2\n", ":1: header"),
            ('a,-1\nb,"1 2\nc,3 4\n', ":3: is not a CSV"),
        ],
    )
    def test_malformed_files_name_the_line(self, tmp_path, text, reason):
        with pytest.raises(KitError, match=reason):
            labels.read(write(tmp_path / "l.csv", text))

    @pytest.mark.parametrize("mark", [",", ";", "\t"])
    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
    def test_a_table_saved_by_a_spreadsheet_is_read(self, tmp_path, mark, encoding):
        text = f"ImageId{mark}EncodedPixels\r\na{mark}-1\r\nb{mark}1 2\r\nb{mark}5 6\r\nc{mark}3 4\r\n"
        (tmp_path / "l.csv").write_bytes(text.encode(encoding))
        assert labels.read(tmp_path / "l.csv") == self.EXPECTED

    @pytest.mark.parametrize("number", ["7,39E+07", "8.91E+05", "1E+10"])
    def test_ids_turned_into_numbers_are_refused(self, tmp_path, number):
        path = write(tmp_path / "l.csv", f'ImageId,EncodedPixels\n"{number}","1 2"\n')
        with pytest.raises(KitError, match=r"l\.csv:2: .* is a spreadsheet's number in place of an id"):
            labels.read(path)

    def test_a_row_as_long_as_a_spreadsheets_cell_is_reported(self, tmp_path, caplog):
        whole = "1 1 " * 8192
        for length, told in ((32_765, False), (32_766, True), (32_767, True), (32_768, False)):
            caplog.clear()
            labels.read(write(tmp_path / "l.csv", f"ImageId,EncodedPixels\na,{whole[: length - 1]}1\n"))
            assert ("as long as a cell of a spreadsheet" in caplog.text) is told

    def test_a_mask_may_be_longer_than_python_lets_a_field_be(self, tmp_path):
        mask = np.random.default_rng(0).random((400, 400)) > 0.5
        text = rle.encode(mask)
        assert len(text) > 131_072
        found = labels.read(write(tmp_path / "l.csv", f"a,{text}\n"))
        assert (rle.union(found["a"], mask.shape) == mask).all()


class TestLayout:
    @pytest.fixture
    def images(self, phantoms):
        return list(phantoms.train.values())

    def put(self, images, folder, *ids):
        for number, image_id in enumerate(ids):
            (folder / "s").mkdir(parents=True, exist_ok=True)
            shutil.copy(images[number], folder / "s" / f"{image_id}.dcm")

    def round2(self, images, folder, text="a,-1\nb,1 2\nc,-1\n"):
        write(folder / "stage_2_train.csv", text)
        self.put(images, folder / "dicom-images-train", "a", "b")
        self.put(images, folder / "dicom-images-test", "c", "u")
        self.put(images, folder / "stage_2_images", "ID_1", "ID_2")
        write(folder / "stage_2_sample_submission.csv", "ImageId,EncodedPixels\nID_2,-1\nID_1,-1\n")
        return folder

    def test_round_2_trains_on_both_folders_of_round_1(self, images, tmp_path):
        found = layout.open_folder(self.round2(images, tmp_path / "siim"))
        assert found.name == "siim"
        assert list(found.train) == list(found.labels) == ["a", "b", "c"]
        assert found.unlabelled == ("u",)
        assert list(found.test) == ["ID_1", "ID_2"]
        assert found.sample_ids == ("ID_2", "ID_1")
        assert found.shape == (128, 128)
        assert found.patients is None
        assert found.solution_path is None

    def test_a_competition_one_folder_below_is_named(self, images, tmp_path):
        self.round2(images, tmp_path / "mirror" / "pneumothorax")
        with pytest.raises(KitError, match=r"mirror: is not a competition's folder, but .*pneumothorax is: give that"):
            layout.open_folder(tmp_path / "mirror")

    def test_round_1_keeps_its_test_images_and_answers_repeated_ids_once(self, images, tmp_path):
        write(tmp_path / "train-rle.csv", "ImageId, EncodedPixels\na, -1\nb, 1 2\n")
        self.put(images, tmp_path / "dicom-images-train", "a", "b")
        self.put(images, tmp_path / "dicom-images-test", "x", "y")
        write(tmp_path / "sample_submission.csv", "ImageId,EncodedPixels\ny,1 2\ny,1 2\nx,1 2\n")
        write(tmp_path / "patients.csv", "ImageId,PatientId\na,P1\nb,P2\n")
        found = layout.open_folder(tmp_path)
        assert (list(found.train), list(found.test)) == (["a", "b"], ["x", "y"])
        assert found.sample_ids == ("y", "x")
        assert found.patients == {"a": "P1", "b": "P2"}

    def test_labels_without_an_image_are_an_error_unless_allowed(self, images, tmp_path):
        self.round2(images, tmp_path, "a,-1\nb,1 2\nmissing,-1\n")
        with pytest.raises(KitError, match=r"1 of 3 labelled images .*\(missing\).*--allow-missing"):
            layout.open_folder(tmp_path)
        assert list(layout.open_folder(tmp_path, allow_missing=True).train) == ["a", "b"]

    def test_an_unrecognised_folder_lists_what_was_looked_for(self, tmp_path):
        with pytest.raises(KitError, match=r"stage_2_train\.csv.*train-rle\.csv"):
            layout.open_folder(tmp_path)
        with pytest.raises(KitError, match="is not a folder"):
            layout.open_folder(tmp_path / "none")
        with pytest.raises(KitError, match="is not a folder"):
            layout.open_folder(write(tmp_path / "file", ""))

    def test_two_images_of_one_id_are_refused(self, images, tmp_path):
        self.round2(images, tmp_path)
        self.put(images, tmp_path / "dicom-images-train" / "again", "a")
        layout.open_folder(tmp_path)  # a copy of the very file
        shutil.copy(images[1], tmp_path / "dicom-images-train/again/s/a.dcm")
        with pytest.raises(KitError, match=r"a\.dcm: has the name of another image, .*: rename one of them"):
            layout.open_folder(tmp_path)

    def test_ids_with_the_ending_of_the_file_are_the_same_images(self, images, tmp_path):
        self.round2(images, tmp_path, "a.dcm,-1\nb.dcm,1 2\nc,-1\n")
        write(tmp_path / "stage_2_sample_submission.csv", "ImageId,EncodedPixels\nID_1.dcm,-1\n")
        write(tmp_path / "patients.csv", "ImageId,PatientId\na.dcm,P1\nb,P1\n")
        found = layout.open_folder(tmp_path)
        assert found.labels == {"a": (), "b": ("1 2",), "c": ()}
        assert found.sample_ids == ("ID_1.dcm",)  # as a submission has to write it
        assert list(found.test) == ["ID_1.dcm", "ID_2"]
        assert found.patients == {"a": "P1", "b": "P1"}

    def test_unmatched_ids_are_listed_with_the_files_ids(self, images, tmp_path):
        """Such as ids whose leading zeros a spreadsheet has dropped."""
        write(tmp_path / "train-rle.csv", "ImageId,EncodedPixels\n4567,-1\n891,-1\n")
        self.put(images, tmp_path / "dicom-images-train", "04567", "891")
        with pytest.raises(KitError, match=r"\(4567\), where there are 04567, 891: fetch them"):
            layout.open_folder(tmp_path)

    def test_training_images_that_are_missing_as_a_whole(self, images, tmp_path):
        self.round2(images, tmp_path)
        shutil.rmtree(tmp_path / "dicom-images-train")
        shutil.rmtree(tmp_path / "dicom-images-test")
        with pytest.raises(
            KitError, match=r"3 of 3 labelled .* there are none: .*Kaggle's files of round 2 hold the test"
        ):
            layout.open_folder(tmp_path)

    def test_ids_of_the_sample_without_an_image(self, images, tmp_path):
        self.round2(images, tmp_path)
        write(tmp_path / "stage_2_sample_submission.csv", "ImageId,EncodedPixels\nID_1,-1\nID_9,-1\n")
        with pytest.raises(KitError, match="1 ids have no image in stage_2_images"):
            layout.open_folder(tmp_path)

    @pytest.mark.parametrize("cut", [";", "x", " 5"])
    def test_labels_that_end_in_the_middle_of_a_row_are_refused_at_once(self, images, tmp_path, cut):
        self.round2(images, tmp_path, f"a,-1\nc,-1\nb,1 2{cut}")
        with pytest.raises(KitError, match=r"stage_2_train\.csv: image b: RLE pair .*: was the file cut\?"):
            layout.open_folder(tmp_path)

    def test_file_names_that_no_table_can_hold_are_refused(self, images, tmp_path):
        for name in (b"a\xff.dcm", b"a\nb.dcm", b" a.dcm"):
            folder = tmp_path / str(len(name) + name[1])
            folder.mkdir()
            shutil.copy(images[0], os.path.join(os.fsencode(folder), name))
            with pytest.raises(KitError, match=r"the name .*: rename the file") as refused:
                image_files.find(folder)
            assert str(refused.value).isprintable()
        good = tmp_path / "good"
        good.mkdir()
        for name in ("a b.dcm", "a,b.dcm", 'a"b.dcm', "ä.dcm"):
            shutil.copy(images[0], good / name)
        assert list(image_files.find(good)) == ["a b", 'a"b', "a,b", "ä"]

    def test_one_image_of_another_size_does_not_change_the_usual_one(self, images, tmp_path, phantoms):
        path = write(tmp_path / "broken.dcm", "")
        assert layout.usual_shape([path, *images[:3]]) == phantoms.shape
