"""The rehearsal: a kernel's own file run as Kaggle would, in each of the layouts that its inputs may come in."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from kit.competition import submission
from kit.core import files
from kit.core.errors import KitError
from kit.kernel.bundle import Kernel
from kit.kernel.sandbox import Sandbox, can_isolate


class Layout(NamedTuple):
    """How Kaggle mounts the inputs."""

    new: bool
    """datasets/OWNER/SLUG and competitions/NAME; else SLUG and NAME."""
    archived: bool
    """As they were uploaded; else unpacked."""

    def __str__(self) -> str:
        dataset, competition = ("datasets/OWNER/SLUG", "competitions/NAME") if self.new else ("SLUG", "NAME")
        return f"/kaggle/input/{dataset} and {competition}, {'archives' if self.archived else 'unpacked'}"


LAYOUTS = (Layout(False, False), Layout(True, False), Layout(False, True), Layout(True, True))


def rehearse(kernel: Kernel, images: dict[str, Path], reference: Path, first: int, say: Callable[[str], None]) -> None:
    """Runs the kernel on test images in every layout, without a network.

    Args:
        kernel: As built.
        images: DICOM file of each test image.
        reference: What `kit predict` makes of them with the bundle's weights.
        first: The first layout gets all images, the others so many.
        say: Takes a line of progress.

    Raises:
        KitError: it fails, reaches for the network, or its submission differs from the reference by a byte.
    """
    about = check_metadata(kernel)
    rows = submission.read(reference)
    some = set(sorted(images)[:first])
    with tempfile.TemporaryDirectory(prefix="kit-rehearsal-") as folder:
        sandbox = Sandbox(Path(folder), can_isolate())
        say("in namespaces of its own" if sandbox.namespaces else "without namespaces: sockets are refused instead")
        for number, layout in enumerate(LAYOUTS):
            wanted = {image_id: row for image_id, row in rows.items() if number == 0 or image_id in some}
            shutil.rmtree(sandbox.kaggle, ignore_errors=True)
            there = {image_id: images[image_id] for image_id in wanted if image_id in images}
            lay_out(sandbox.kaggle / "input", kernel, about["competition_sources"][0], list(wanted), there, layout)
            expected = Path(folder) / "expected.csv"
            submission.write(expected, wanted.items())
            log = play(sandbox, kernel, layout, expected)
            say(f"{layout}: {len(wanted)} images, as predicted here; {log.splitlines()[-1]}")


def play(sandbox: Sandbox, kernel: Kernel, layout: Layout, expected: Path) -> str:
    """Runs the kernel once and compares its submission; gives what it printed."""
    done = sandbox.run(kernel.script)
    lines = done.stdout.strip().splitlines()
    written = sandbox.kaggle / "working" / "submission.csv"
    if sandbox.network_log.exists():
        reached = "; ".join(sandbox.network_log.read_text().splitlines()[:5])
        raise KitError(f"{kernel.script}: reaches for the network, which a kernel has not: {reached}")
    if done.returncode:
        told = "\n  ".join(lines[-15:])
        raise KitError(f"{kernel.script}: fails in {layout}: mend it and build anew; it ended with\n  {told}")
    if not written.is_file():
        raise KitError(f"{kernel.script}: has written no submission.csv in {layout}")
    if written.read_bytes() != expected.read_bytes():
        ours, theirs = submission.read(expected), submission.read(written)
        wrong = [image_id for image_id in ours if theirs.get(image_id) != ours[image_id]]
        raise KitError(
            f"{kernel.script}: predicts other masks than `kit predict` for {len(wrong)} of {len(ours)} images"
        )
    return done.stdout.strip()


def lay_out(
    root: Path, kernel: Kernel, competition: str, ids: list[str], images: dict[str, Path], layout: Layout
) -> None:
    """Fills /kaggle/input with the bundle and the test images."""
    dataset = root / ("datasets/somebody" if layout.new else "") / kernel.dataset
    place = root / ("competitions" if layout.new else "") / competition
    sources = {path.name: path for path in sorted(kernel.bundle.iterdir())}
    pictures = {f"{image_id}.dcm": path for image_id, path in images.items()}
    place.mkdir(parents=True)
    submission.write(place / "stage_2_sample_submission.csv", [(image_id, "-1") for image_id in ids])
    if layout.archived:
        _pack(dataset / "archive.zip", sources)
        _pack(place / "stage_2_images.zip", pictures)
    else:
        _link(dataset, sources)
        _link(place / "stage_2_images", pictures)


def check_metadata(kernel: Kernel) -> dict:
    """The kernel's metadata, if it keeps the kernel private and offline.

    Raises:
        KitError: it does not, or there is no kernel.
    """
    if not kernel.script.is_file() or not kernel.manifest.is_file():
        raise KitError(f"{kernel.folder}: there is no built kernel: run `make kernel` first")
    about = files.read_json(kernel.metadata)
    for key, value in (("enable_internet", False), ("is_private", True), ("code_file", kernel.script.name)):
        if about.get(key) != value:
            raise KitError(f"{kernel.metadata}: {key} is {about.get(key)!r}, not {value!r}: build the kernel anew")
    return about


def _link(folder: Path, sources: dict[str, Path]) -> None:
    folder.mkdir(parents=True)
    for name, path in sources.items():
        try:
            os.link(path, folder / name)
        except OSError:  # Another file system.
            shutil.copyfile(path, folder / name)


def _pack(archive: Path, sources: dict[str, Path]) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as target:
        for name, path in sources.items():
            target.write(path, name)
