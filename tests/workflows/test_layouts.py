"""Every supported folder layout of images and masks, from the folder to overlays and segmentations.

The first layout is trained on, which makes a kernel, too; its run predicts the test images of all others as they lie.
"""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
import tiny_run
from dicoms import write_dicom
from drawn import drawn
from PIL import Image
from pydicom.uid import generate_uid

from kit.competition import layout, rle

TRAIN, TEST = 6, 2
RECIPE = tiny_run.SHORT + "threshold: {rule: fixed}\n"


@dataclass(frozen=True)
class Layout:
    """A folder layout: paths of image and mask by number, the masks' foreground value, and options for `check`."""

    image: str
    mask: str
    test: str | None
    foreground: int = 255
    options: tuple[str, ...] = ()
    others: dict[str, int] = field(default_factory=dict)
    """Values of other classes in the masks."""
    mixed: bool = False
    """Whether every other image has another size."""

    def case(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns an image and its mask, bool."""
        pixels, mask = drawn(number)
        if self.mixed and number % 2:
            return cv2.resize(pixels, (48, 80)), cv2.resize(mask.astype(np.uint8), (48, 80)).astype(bool)
        return pixels, mask


LAYOUTS = {
    "folders": Layout("images/c{}.png", "masks/c{}.png", "test/c{}.png"),
    "beside": Layout("scans/c{}.bmp", "scans/c{}_mask.bmp", "test/c{}.bmp"),
    "nnU-Net": Layout("imagesTr/c{}_0000.tif", "labelsTr/c{}.tif", "imagesTs/c{}_0000.tif", foreground=1),
    "PACS": Layout("DICOM/P{}/S1/IM0001", "masks/P{}/S1/IM0001.png", "test/P{}/S1/IM0001", mixed=True),
    "named": Layout("a/c{}.gif", "b/c{}_lesion.png", "test/c{}.gif", 255, ("--masks b", "--mask-suffix _lesion")),
    "classes": Layout("images/c{}.png", "masks/c{}.png", "test/c{}.png", 2, ("--label 2",), {"lung": 1}),
    "no test": Layout("images/c{}.jpg", "masks/c{}.png", None),
}


def draw(folder: Path, of: Layout) -> None:
    for number in range(TRAIN + TEST * bool(of.test)):
        pixels, mask = of.case(number)
        values = mask.astype(np.uint8) * of.foreground
        for other in of.others.values():
            values[:6, :6] = other
        put(folder / (of.image if number < TRAIN else of.test).format(number), pixels)
        if number < TRAIN:
            put(folder / of.mask.format(number), values)


def put(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix:
        Image.fromarray(pixels).save(path)
    else:
        patient = path.parts[-3]
        study, series = (f"1.2.{number}.{patient[1:]}" for number in (4, 5))
        of_patient = {"PatientID": patient, "StudyInstanceUID": study, "SeriesInstanceUID": series}
        write_dicom(path, pixels, **of_patient, SOPInstanceUID=generate_uid(), Modality="CR")


TRAINED = next(iter(LAYOUTS))
RUN = f"--data data/{TRAINED} --recipe small.yaml"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a recipe, which the tests of the module share."""
    folder = tmp_path_factory.mktemp("layouts")
    (folder / "small.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def working_folder(place):
    return place


@pytest.fixture
def run(kit):
    """Runs a command that must succeed, and returns its output."""

    def call(command: str) -> str:
        code, out, errors = kit(*shlex.split(command))
        assert code == 0, f"{command}: {errors}"
        return out

    return call


@pytest.mark.parametrize("name", LAYOUTS)
def test_it_is_checked_brought_in_and_predicted(name, run):
    of, folder = LAYOUTS[name], Path(name.replace(" ", "-"))
    draw(folder, of)
    options = " ".join(of.options).replace("--masks ", f"--masks {folder}/")
    told = run(f"check {folder} {options}")
    assert f"0 errors, 0 notes; next: kit import {folder}" in told
    run(told.rpartition("next: kit ")[2])
    data = layout.open_folder(Path("data", folder))
    assert (len(data.train), len(data.test)) == (TRAIN, TEST if of.test else 0)
    for number, image in enumerate(sorted(data.train)):
        mask = of.case(number)[1]
        assert (rle.union(data.labels[image], mask.shape) == mask).all()
    if of.test is None:
        return
    if name == TRAINED:
        Path("data", folder, "finding.yaml").write_text("name: bright disc\n")
        for command in ("folds", "train", "kernel build --competition discs --user ada"):
            run(f"{command} {RUN}")
        assert Path("kernels", f"kit-{folder}-small", f"kit-{folder}-small.py").is_file()
    # As the user has them, and as they were brought in: DICOM files, of which alone there are segmentation objects.
    given = {"overlay": folder / Path(of.test).parts[0], "dicom-seg": Path("data", folder, "dicom-images-test")}
    for kind, images in given.items():
        run(f"predict {RUN} --images {images} --out found/{folder}/{kind} --save {kind}")
        assert len(list(Path("found", folder, kind, kind).iterdir())) == TEST
    segments = [pydicom.dcmread(path) for path in Path("found", folder, "dicom-seg", "dicom-seg").iterdir()]
    assert {segment.SegmentSequence[0].SegmentLabel for segment in segments} == {"Bright disc"}
    if name == "PACS":
        assert {segment.PatientID for segment in segments} == {"P6", "P7"}
