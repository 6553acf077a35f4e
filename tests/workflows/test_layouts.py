"""Every supported folder layout of images and masks, from the folder to overlays, segmentations and a kernel."""

import shlex
import sys
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

from kit import cli
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


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    """Runs a command in the folder that the module's tests share, and returns its output or error."""
    place = tmp_path_factory.mktemp("layouts")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        (place / "small.yaml").write_text(RECIPE)

        def run(command: str, capsys) -> str:
            patch.setattr(sys, "argv", ["kit", *shlex.split(command)])
            with pytest.raises(SystemExit) as end:
                cli.main()
            output = capsys.readouterr()
            assert end.value.code == 0, f"{command}: {output.err}"
            return output.out

        yield run


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_is_checked_imported_and_predicted(name, kit, capsys):
    of, folder = LAYOUTS[name], Path(name.replace(" ", "-"))
    draw(folder, of)
    options = " ".join(of.options).replace("--masks ", f"--masks {folder}/")
    told = kit(f"check {folder} {options}", capsys)
    assert f"0 errors, 0 notes; next: kit import {folder}" in told
    kit(told.rpartition("next: kit ")[2], capsys)
    data = layout.open_folder(Path("data", folder))
    assert (len(data.train), len(data.test)) == (TRAIN, TEST if of.test else 0)
    for number, image in enumerate(sorted(data.train)):
        mask = of.case(number)[1]
        assert (rle.union(data.labels[image], mask.shape) == mask).all()
    if of.test is None:
        return
    Path("data", folder, "finding.yaml").write_text("name: bright disc\n")
    run = f"--data data/{folder} --recipe small.yaml"
    for verb in ("folds", "train"):
        kit(f"{verb} {run}", capsys)
    # As the user has them, and as they were brought in: DICOM files, of which alone there are segmentation objects.
    given = {"overlay": folder / Path(of.test).parts[0], "dicom-seg": Path("data", folder, "dicom-images-test")}
    for kind, images in given.items():
        kit(f"predict {run} --images {images} --out found/{folder}/{kind} --save {kind}", capsys)
        assert len(list(Path("found", folder, kind, kind).iterdir())) == TEST
    segments = [pydicom.dcmread(path) for path in Path("found", folder, "dicom-seg", "dicom-seg").iterdir()]
    assert {segment.SegmentSequence[0].SegmentLabel for segment in segments} == {"Bright disc"}
    if name == "PACS":
        assert {segment.PatientID for segment in segments} == {"P6", "P7"}
    kit(f"kernel build {run} --competition discs --user ada", capsys)
    assert Path("kernels", f"kit-{folder}-small".lower(), f"kit-{folder}-small.py".lower()).is_file()
