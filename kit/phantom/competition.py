"""Writes the built-in competition: phantoms of chest X-rays with labels and a solution, in the layout of round 1.

An image depends only on the seed, the split and its index.
"""

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from kit.competition import dicom, rle, scoring, submission
from kit.competition.layout import SOLUTION
from kit.core.errors import KitError
from kit.core.files import replacing_folder, write_csv, write_json
from kit.core.parallel import cores
from kit.core.progress import progress
from kit.phantom.anatomy import SIDES, Chest, lung, stream
from kit.phantom.film import Film
from kit.phantom.findings import Region, draw_regions
from kit.phantom.radiograph import expose

_BLOCK = (0,) * 14 + (1,) * 3 + (2,)
"""Numbers of regions of the images of a block, before shuffling: 22 % are positive, a quarter of these have two."""
_MARK = "phantom.json"  # marks the folder of a demo
_SPLITS = ("train", "test")
_UID = "1.2.276.0.7230010.3.1.{kind}.8323329.{number}.1517875{second:03d}.{last:06d}"


@dataclass(frozen=True)
class Case:
    """One image of the phantom competition: label, header, and everything that it is drawn from."""

    seed: int
    split: int  # 0 = training, 1 = test
    index: int

    def stream(self, purpose: str) -> np.random.Generator:
        """Returns the random generator of one purpose, independent of everything else that is drawn."""
        return stream((self.seed, self.split, self.index), purpose)

    @cached_property
    def patient(self) -> "Case":
        """First image of the same patient; now and then, an image shows the same chest as the image before it."""
        again = self.index > 0 and self.stream("again").random() < 0.12
        return Case(self.seed, self.split, self.index - 1).patient if again else self

    @cached_property
    def person(self) -> tuple[str, bool, int]:
        """Patient id, whether female, and age in years."""
        rng = self.patient.stream("person")
        return (
            str(uuid.UUID(bytes=rng.bytes(16), version=4)),
            bool(rng.random() < 0.45),
            int(np.clip(rng.normal(47, 16), 5, 90)),
        )

    @cached_property
    def anteroposterior(self) -> bool:
        """Whether the image is taken from the front, as of a patient in bed."""
        return bool(self.stream("view").random() < 0.4)

    @cached_property
    def uids(self) -> tuple[str, str, str]:
        """UIDs of image, series and study."""
        rng, number = self.stream("ids"), 1000 + 2 * self.index + self.split
        second, last = int(rng.integers(160, 300)), int(rng.integers(100_000, 1_000_000))
        image, series, study = (
            _UID.format(kind=kind, number=number, second=second, last=last - offset)
            for kind, offset in ((4, 0), (3, 2), (2, 1))
        )
        return image, series, study

    @cached_property
    def chest(self) -> Chest:
        """The patient's build, breath and position."""
        build = (self.seed, self.split, self.patient.index)
        return Chest.draw(build, self.stream("taken"), female=self.person[1], in_bed=self.anteroposterior)

    @cached_property
    def regions(self) -> list[Region]:
        """Regions of pneumothorax; none for a negative."""
        block, place = divmod(self.index, len(_BLOCK))
        count = int(stream((self.seed, self.split, block), "block").permutation(_BLOCK)[place])
        return draw_regions(self.chest, count, self.stream("regions"))

    @cached_property
    def pose(self) -> np.ndarray:
        """Affine map from the body to the film, in sides of the film: (2, 3)."""
        rng = self.stream("pose")
        turn, scale, centre = rng.normal(0, 0.04), rng.uniform(0.9, 1.12), np.array([0.5, 0.5])
        turned = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return np.column_stack((turned, centre - turned @ centre + rng.normal(0, 0.012, 2)))

    def masks(self, size: int) -> list[np.ndarray]:
        """Draws the mask of each region: bool (size, size)."""
        film = Film(size, self.pose)
        inside = [film.mask(lung(self.chest, side)) for side in SIDES if self.regions]
        return [film.mask(region.outline) & np.logical_or(*inside) for region in self.regions]

    def pixels(self, size: int) -> np.ndarray:
        """Draws the radiograph: uint8 (size, size)."""
        return expose(self.chest, self.regions, self.pose, size, self.stream("film"))


def write(folder: Path | str, train: int = 240, test: int = 100, size: int = 1024, seed: int = 0) -> None:
    """Writes a competition folder of phantoms: DICOM files, labels, a sample submission and the solution.

    An earlier phantom folder is replaced. The folder is complete or does not exist.

    Args:
        folder: Missing, empty, or an earlier phantom folder.
        seed: Seed of the patients.

    Raises:
        KitError: the folder holds something else, or cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / _MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise KitError(f"{folder}: holds something that is not a phantom competition: name another folder")
    with replacing_folder(folder) as new:
        _fill(new, {"train": train, "test": test, "size": size, "seed": seed})


def _fill(folder: Path, settings: dict[str, int]) -> None:
    size = settings["size"]
    training, tests = ([Case(settings["seed"], k, i) for i in range(settings[name])] for k, name in enumerate(_SPLITS))

    def save(case: Case) -> list[str]:
        image, series, study = case.uids
        target = folder / f"dicom-images-{_SPLITS[case.split]}" / study / series / f"{image}.dcm"
        target.parent.mkdir(parents=True)
        pydicom.dcmwrite(target, header(case, case.pixels(size)), enforce_file_format=True)
        return [rle.encode(mask) for mask in case.masks(size)] or [rle.EMPTY]

    with ThreadPoolExecutor(cores()) as pool:
        saved = pool.map(save, training + tests)
        bar = progress(saved, "phantoms", len(training + tests))
        labels = dict(zip(training + tests, bar, strict=True))

    twice = {case for case in training if not case.regions and case.stream("twice").random() < 0.05}
    rows = [(case.uids[0], f" {text}") for case in training for text in labels[case] * (1 + (case in twice))]
    write_csv(folder / "train-rle.csv", ("ImageId", " EncodedPixels"), rows)
    usage = dict(zip(tests, scoring.assign_usage([bool(case.regions) for case in tests]), strict=True))
    tests.sort(key=lambda case: case.uids)
    submission.write(folder / "sample_submission.csv", [(case.uids[0], rle.EMPTY) for case in tests])
    truth = [(case.uids[0], text, usage[case]) for case in tests for text in labels[case]]
    write_csv(folder / SOLUTION, ("ImageId", "EncodedPixels", "Usage"), truth)
    write_json(folder / _MARK, {"about": "phantom chest X-rays: drawn, of nobody", **settings})


def is_drawn(folder: Path) -> bool:
    """Whether the folder is a phantom competition."""
    return (folder / _MARK).is_file()


def header(case: Case, pixels: np.ndarray) -> Dataset:
    """Returns the DICOM file of a radiograph, uint8 (size, size), with the competition's tags (paper, Figure 3)."""
    image, series, study = case.uids
    patient, female, age = case.person
    view = "AP" if case.anteroposterior else "PA"
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    data.file_meta.MediaStorageSOPInstanceUID = UID(image)
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.SpecificCharacterSet = "ISO_IR 100"
    data.SOPClassUID = SecondaryCaptureImageStorage
    data.SOPInstanceUID = image
    data.StudyDate, data.StudyTime, data.AccessionNumber = "19010101", "000000.00", ""
    data.Modality, data.ConversionType, data.ReferringPhysicianName = "CR", "WSD", ""
    data.SeriesDescription = f"view: {view}"
    data.PatientName = data.PatientID = patient
    data.PatientBirthDate, data.PatientSex = "", "F" if female else "M"
    with dicom.ignore_invalid_values():
        data.PatientAge = str(age)  # without a unit, as in the competition
    data.BodyPartExamined, data.ViewPosition = "CHEST", view
    data.StudyInstanceUID, data.SeriesInstanceUID = study, series
    data.StudyID, data.SeriesNumber, data.InstanceNumber, data.PatientOrientation = "", "1", "1", ""
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.PixelSpacing = [round(0.143 * 1024 / pixels.shape[0], 3)] * 2
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.LossyImageCompression, data.LossyImageCompressionMethod = "01", "ISO_10918_1"
    jpeg = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])[1]
    data.PixelData = encapsulate([jpeg.tobytes()])
    data["PixelData"].is_undefined_length = True
    return data
