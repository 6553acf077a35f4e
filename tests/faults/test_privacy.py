"""A data set with a name, an id or a date in every tag: none of them reaches a file or a line of the kit's own."""

import shutil
from pathlib import Path

import pydicom
from faulty_disk import run

from kit import phantom
from kit.competition import dicom

RECIPE = """
about: The smallest.
folds: {count: 2}
network: {encoder: tu-mobilenetv3_small_050, encoder_weights: null, decoder_channels: [8, 8, 8, 8, 8]}
stages:
  - {size: 32, epochs: 1, batch_size: 2}
"""
NAMES = [
    "PatientName",
    "OtherPatientNames",
    "PatientMotherBirthName",
    "PatientID",
    "OtherPatientIDs",
    "IssuerOfPatientID",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "PhysiciansOfRecord",
    "RequestingPhysician",
    "InstitutionName",
    "InstitutionAddress",
    "InstitutionalDepartmentName",
    "StationName",
    "StudyDescription",
    "SeriesDescription",
    "ProtocolName",
    "PatientAddress",
    "PatientTelephoneNumbers",
    "PatientComments",
    "ImageComments",
    "StudyID",
    "DeviceSerialNumber",
    "AdditionalPatientHistory",
    "MedicalRecordLocator",
    "EthnicGroup",
    "Occupation",
]
DATES = ["StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "PatientBirthDate"]
POISON = (b"POISON", b"18770913")


def poisoned(folder: Path) -> None:
    """Writes both into every tag that may name somebody, patients kept apart."""
    patients: dict[str, str] = {}
    for path in folder.rglob("*.dcm"):
        with dicom.ignore_invalid_values():
            dataset = pydicom.dcmread(path)
            patient = patients.setdefault(dataset.PatientID, f"POISON {len(patients)}")
            for name in NAMES:
                setattr(dataset, name, patient)
            for name in DATES:
                setattr(dataset, name, "18770913")
            dataset.add_new((0x0009, 0x0010), "LO", "POISON")
            dataset.add_new((0x0009, 0x1001), "PN", "POISON")
            dataset.BurnedInAnnotation = "YES"
            dataset.save_as(path)


def found(folder: Path) -> list[str]:
    """Files below a folder that hold one of them, in their bytes or their name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(word in path.read_bytes() + bytes(path) for word in POISON)]


def test_no_name_id_or_date_leaves_the_dicom_files(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    phantom.write(work / "tiny", train=10, test=3, size=64, seed=2)
    poisoned(work / "tiny")
    (work / "small.yaml").write_text(RECIPE)
    options = ["--data", "tiny", "--recipe", "small.yaml"]
    said = run(work, ["folds", *options, "--hash-patients"]).said
    assert "BurnedInAnnotation=YES" in said
    for verb in (["train"], ["submit"], ["report"], ["kernel", "build"]):
        ended = run(work, [*verb, *options])
        assert ended.code == 0, ended.said
        said += ended.said
    broken = next(iter((work / "tiny").rglob("dicom-images-test/**/*.dcm")))
    broken.write_bytes(broken.read_bytes().replace(b"US\x02\x00", b"PN\x02\x00"))
    refused = run(work, ["predict", *options])
    assert refused.code == 2
    said += refused.said
    assert not any(word in said.encode() for word in POISON)
    assert (work / "build/kernel/kit-tiny-small/manifest.json").is_file()
    shutil.rmtree(work / "tiny")
    assert found(tmp_path) == []


def test_without_being_asked_to_hash_the_fold_file_alone_holds_the_patients_ids(tmp_path):
    work = tmp_path / "work"
    work.mkdir()
    phantom.write(work / "tiny", train=10, test=3, size=64, seed=2)
    poisoned(work / "tiny")
    (work / "small.yaml").write_text(RECIPE)
    assert run(work, ["folds", "--data", "tiny", "--recipe", "small.yaml"]).code == 0
    shutil.rmtree(work / "tiny")
    assert [Path(name).name for name in found(tmp_path)] == ["tiny.csv"]
