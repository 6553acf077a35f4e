"""The competition's folder: its layout, images, labels and ground truth.

A layout is recognised by its label file:

    round 2    stage_2_train.csv; training images in dicom-images-train/ and dicom-images-test/ (those of round 1),
               test images in stage_2_images/, their ids in stage_2_sample_submission.csv
    round 1    train-rle.csv; training images in dicom-images-train/, test images in dicom-images-test/,
               their ids in sample_submission.csv
    sample     train-rle-sample.csv beside its DICOM files, which are all training images

Each may have patients.csv (`ImageId,PatientId`), finding.yaml, sizes.csv and solution.csv beside the labels, and may
lack images.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from kit.competition import dicom, finding, image_files, labels, pictures, rle, row_format, shapes
from kit.competition.finding import Finding
from kit.competition.shapes import Shape
from kit.core.errors import KitError
from kit.core.files import is_file_or_raise

T = TypeVar("T")

PATIENTS, SOLUTION = "patients.csv", "solution.csv"
"""Names of the optional tables of patients and of the test images' ground truth."""
PATIENT_COLUMNS = ("ImageId", "PatientId")
_LISTED = 5


@dataclass(frozen=True)
class Competition:
    """Content of a competition's folder."""

    folder: Path
    name: str
    """The folder's base name."""
    train: dict[str, Path]
    """Path of each image with labels, sorted by id."""
    test: dict[str, Path]
    """Path of each test image, sorted by id."""
    unlabelled: tuple[str, ...]
    """Ids of training images without a label row, which are not used."""
    labels: labels.Labels
    """Regions of each image in `train`, in the same order."""
    labels_path: Path
    patients: dict[str, str] | None
    """Patient of each image in patients.csv; None without that file."""
    sample_path: Path | None
    sample_ids: tuple[str, ...]
    """Ids that a submission must contain, in the sample submission's order; without a sample, all test images."""
    solution_path: Path | None
    shape: tuple[int, int]
    """(height, width) of the images; if sizes differ, the most common size, at which ground truth and maps are
    compared."""
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    """(height, width) of each image if sizes differ; else empty."""
    finding: Finding = finding.PNEUMOTHORAX
    """What the masks show."""

    @property
    def shapes(self) -> Shape:
        """(height, width) of all images, or of each image by id."""
        return self.sizes or self.shape

    def truth(self, image_id: str) -> np.ndarray:
        """Returns the ground-truth mask of a training image, bool of `shape`."""
        size = shapes.shape_of(self.shapes, image_id)
        return shapes.resized(rle.union(self.labels[image_id], size, image_id), self.shape)

    def __repr__(self) -> str:
        positive, (height, width) = sum(map(bool, self.labels.values())), self.shape
        size = "several sizes" if self.sizes else f"{width}×{height}"
        paths = (self.labels_path, self.folder / PATIENTS if self.patients else None, self.sample_path)
        names = [path.name for path in (*paths, self.solution_path) if path]
        return (
            f"{self.name}: {len(self.train)} training images, {positive} with {self.finding.name}; "
            f"{len(self.test)} test images; {size}\n{self.folder}: {', '.join(names)}; "
            f"{len(self.unlabelled)} images without a label left out"
        )


@dataclass(frozen=True)
class Layout:
    """File and folder names of one layout of a competition's folder."""

    name: str
    labels: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    sample: str | None


LAYOUTS = (
    Layout(
        "round 2",
        "stage_2_train.csv",
        ("dicom-images-train", "dicom-images-test"),
        ("stage_2_images",),
        "stage_2_sample_submission.csv",
    ),
    Layout("round 1", "train-rle.csv", ("dicom-images-train",), ("dicom-images-test",), "sample_submission.csv"),
    Layout("sample", "train-rle-sample.csv", (".",), (), None),
)


def open_folder(folder: Path | str, *, allow_missing: bool = False) -> Competition:
    """Opens a competition's folder.

    Args:
        allow_missing: Ignore label rows without an image instead of raising.

    Raises:
        KitError: no layout matches, label rows or sample ids have no image, or a file is malformed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise KitError(f"{folder}: is not a folder: give the competition's folder")
    layout = find_layout(folder)
    if layout is None:
        for inside in sorted(folder.iterdir()):
            if any((inside / kind.labels).is_file() for kind in LAYOUTS):
                raise KitError(f"{folder}: is not a competition's folder, but {inside} is: give that one")
        layouts = "; ".join(f"{kind.name}: {kind.labels} with {' and '.join(kind.train)}/" for kind in LAYOUTS)
        how = f"`kit import {folder} --out data/NAME` brings in images of other formats or places"
        raise KitError(f"{folder}: is not a competition's folder; looked for {layouts}; {how}")
    labels_path = folder / layout.labels
    images, test = find_dicoms(folder, layout)
    regions = read_labels(labels_path, images)
    missing = sorted(regions.keys() - images.keys())
    if missing and not allow_missing:
        raise KitError(
            f"{labels_path}: {len(missing)} of {len(regions)} labelled images have no DICOM file in "
            f"{' or '.join(layout.train)} ({_first(missing)}), where there are {_first(list(images)) or 'none'}: fetch "
            "them (docs/how-to/competition.md names mirrors; Kaggle's files of round 2 hold the test images alone), "
            f"bring in other formats with `kit import {folder} --out data/NAME`, or use --allow-missing"
        )
    train = {image_id: path for image_id, path in images.items() if image_id in regions}
    if not train:
        raise KitError(f"{folder}: no image in {' or '.join(layout.train)} has a row in {layout.labels}")
    sizes: dict[str, tuple[int, int]] = read_optional(folder / shapes.NAME, shapes.read, {})
    shape = usual_shape(list(train.values()))
    for image_id in train:
        for text in regions[image_id]:  # reports a file that was truncated within a row at once
            size = shapes.shape_of(sizes or shape, image_id)
            try:
                rle.runs(text, size[0] * size[1], image_id)
            except KitError as error:
                raise broken_row(labels_path, error, [text], size) from None
    sample_path = _if_exists(folder / layout.sample) if layout.sample else None
    # Round 1's sample repeats an id for each region of the ground truth; a submission contains each id once.
    sample_ids = tuple(labels.read(sample_path)) if sample_path else tuple(test)
    meant = image_files.match(sample_ids, test, sample_path or folder)
    for name, image in meant.items():  # a submission spells ids as the sample does
        if name not in test and image in test:
            test[name] = test.pop(image)
    absent = sorted(set(sample_ids) - test.keys())
    if absent and test:
        problem = f"{len(absent)} ids have no image in {' and '.join(layout.test)} ({_first(absent)})"
        raise KitError(f"{sample_path}: {problem}: fetch them")
    all_ids = images.keys() | test.keys()
    return Competition(
        folder=folder,
        name=folder.resolve().name,
        train=train,
        test=dict(sorted(test.items())),
        unlabelled=tuple(sorted(images.keys() - regions.keys())),
        labels={image_id: regions[image_id] for image_id in train},
        labels_path=labels_path,
        patients=read_optional(folder / PATIENTS, lambda path: read_patients(path, all_ids), None),
        sample_path=sample_path,
        sample_ids=sample_ids,
        solution_path=_if_exists(folder / SOLUTION),
        shape=shape,
        sizes=sizes,
        finding=read_optional(folder / finding.NAME, finding.read, finding.PNEUMOTHORAX),
    )


def find_layout(folder: Path | str) -> Layout | None:
    """Returns the layout whose label file is in the folder, the later round's first; None without a label file."""
    return next((layout for layout in LAYOUTS if is_file_or_raise(Path(folder, layout.labels))), None)


def find_dicoms(folder: Path | str, layout: Layout) -> tuple[dict[str, Path], dict[str, Path]]:
    """Finds the training and test images of a competition's folder by id, sorted."""
    train, test = ([Path(folder, name) for name in names] for names in (layout.train, layout.test))
    return image_files.find_dicoms(*train), image_files.find_dicoms(*test)


def read_optional(path: Path | str, read: Callable[[Path], T], default: T) -> T:
    """Reads a file that a competition's folder may lack; returns the default if it does."""
    return read(Path(path)) if is_file_or_raise(path) else default


def read_labels(path: Path | str, images: Container[str]) -> labels.Labels:
    """Reads a label file and replaces each id by that of the image that it means, see `image_files.match`."""
    rows = labels.read(path)
    meant = image_files.match(rows, images, path)
    return {meant[name]: texts for name, texts in rows.items()}


def read_patients(path: Path | str, images: Set[str]) -> dict[str, str]:
    """Reads the patient of each image.

    Raises:
        KitError: the file is malformed, names none of the images, or an image has two patients.
    """
    table = labels.rows(path, PATIENT_COLUMNS)
    meant = image_files.match([image for _, (image, _) in table], images, path)
    patients: dict[str, str] = {}
    for line, (name, patient) in table:
        image = meant[name]
        if not patient:
            raise KitError(f"{path}:{line}: {image} has no patient: name one, or leave the row out")
        if patients.setdefault(image, patient) != patient:
            raise KitError(f"{path}:{line}: {image} has two patients, {patients[image]} and {patient}: keep one")
    if patients.keys().isdisjoint(images):
        first = next(iter(patients))
        raise KitError(f"{path}: names none of the {len(images)} images (first: {first}): is it of other data?")
    return patients


def broken_row(path: Path | str, error: KitError, texts: Iterable[str], shape: tuple[int, int]) -> KitError:
    """Returns the error and remedy for label rows that cannot be decoded as gaps on an image of (H, W)."""
    if any(row_format.is_absolute(text, shape[0] * shape[1]) for text in texts):
        return KitError(
            f"{path}: {error}: this looks like absolute starts, where each gap counts from the run before: "
            f"`kit import {Path(path).parent} --out data/NAME` converts them"
        )
    return KitError(f"{path}: {error}: was the file cut? Fetch it again")


def usual_shape(paths: list[Path]) -> tuple[int, int]:
    """Returns the most common size in up to nine evenly spaced headers, ignoring files without a header."""
    sample = paths[:: max(1, len(paths) // 9)][:9]
    counts = Counter(pictures.shapes_of({str(path): path for path in sample}).values())
    return counts.most_common(1)[0][0] if counts else dicom.read_metadata(sample[0]).shape


def _if_exists(path: Path) -> Path | None:
    return path if is_file_or_raise(path) else None


def _first(ids: list[str]) -> str:
    return ", ".join(ids[:_LISTED]) + (", …" if len(ids) > _LISTED else "")
