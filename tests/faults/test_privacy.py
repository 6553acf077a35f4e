"""A data set with a name, an id or a date in every tag: none of them reaches a file or a line of the kit's own."""

import shutil
from pathlib import Path

import pydicom
from faulty_disk import run
from tiny_run import SHORT, command, pristine

from kit.competition import dicom

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
    work = pristine(tmp_path / "work", SHORT)
    poisoned(work / "tiny")
    said = run(work, [*command("folds"), "--hash-patients"]).said
    assert "BurnedInAnnotation=YES" in said
    for arguments in (command("train"), command("submit"), command("report"), ["kernel", *command("build")]):
        ended = run(work, arguments)
        assert ended.code == 0, ended.said
        said += ended.said
    broken = next(iter((work / "tiny").rglob("dicom-images-test/**/*.dcm")))
    broken.write_bytes(broken.read_bytes().replace(b"US\x02\x00", b"PN\x02\x00"))
    refused = run(work, command("predict"))
    assert refused.code == 2
    said += refused.said
    assert not any(word in said.encode() for word in POISON)
    assert (work / "build/kernel/kit-tiny-small/manifest.json").is_file()
    shutil.rmtree(work / "tiny")
    assert found(tmp_path) == []


def test_without_being_asked_to_hash_the_fold_file_alone_holds_the_patients_ids(tmp_path):
    work = pristine(tmp_path / "work", SHORT)
    poisoned(work / "tiny")
    assert run(work, command("folds")).code == 0
    shutil.rmtree(work / "tiny")
    assert [Path(name).name for name in found(tmp_path)] == ["tiny.csv"]
