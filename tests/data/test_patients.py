"""Patient ids by the table, by the header, or one per image."""

import dataclasses

import numpy as np
from dicoms import write_dicom

from kit.competition import dicom
from kit.data import patients


def with_header(phantoms, tmp_path, **elements):
    """Four images with patient ids in their headers."""
    paths = {}
    for number in range(4):
        with dicom.ignore_invalid_values():
            paths[f"i{number}"] = write_dicom(tmp_path / f"i{number}.dcm", np.zeros((8, 8), np.uint8), **elements)
    return dataclasses.replace(phantoms, train=paths, labels=dict.fromkeys(paths, ()), patients=None)


def test_images_that_the_table_lacks_are_grouped_by_their_header(phantoms, tmp_path, caplog):
    some = dataclasses.replace(with_header(phantoms, tmp_path, PatientID="x"), patients={"i0": "y"})
    assert patients.patient_ids(some) == ["y", "x", "x", "x"]
    assert "3 of 4 training images have no row: they are grouped" in caplog.text


def test_an_image_without_a_readable_header_is_a_patient_of_its_own(phantoms, tmp_path, caplog):
    some = with_header(phantoms, tmp_path, PatientID="x")
    some.train["i1"].write_bytes(b"torn")
    assert patients.patient_ids(some) == ["x", "i1", "x", "x"]
    assert "i1.dcm: is not a DICOM file" in caplog.text


def test_one_patient_id_in_most_headers_is_ignored(phantoms, tmp_path, caplog):
    some = with_header(phantoms, tmp_path, PatientID="ANONYMOUS")
    many = {f"i{number}": some.train[f"i{number % 4}"] for number in range(20)}
    same = dataclasses.replace(some, train=many, labels=dict.fromkeys(many, ()))
    assert patients.patient_ids(same) == list(many)
    assert "20 of 20 images have one PatientID" in caplog.text
    assert "ANONYMOUS" not in caplog.text  # it may be somebody's
    few = dataclasses.replace(some, train={k: many[k] for k in list(many)[:19]})
    assert set(patients.patient_ids(few)) == {"ANONYMOUS"}
    assert (
        patients.patient_ids(dataclasses.replace(same, patients=dict.fromkeys(many, "one"))) == ["one"] * 20
    )  # as the user says
