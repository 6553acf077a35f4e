"""The rehearsal: a kernel's own code run as Kaggle would, in each of the layouts that its inputs may come in.

The last layout is hostile: a file that is no image, an image of another size and kind, a name that is there twice, an
archive that is none, and a network that raises, all in what passes for a competition's hidden rerun.
"""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from kit.competition import pictures, rle, scoring, shapes, submission
from kit.competition.shapes import Shape
from kit.core.errors import KitError, counted
from kit.core.files import read_text
from kit.core.progress import working
from kit.kernel import code, metadata
from kit.kernel.bundle import Kernel
from kit.kernel.environment import Environment
from kit.kernel.sandbox import Sandbox, can_isolate

CLOSE = 0.995
"""Mean Dice to our own masks that other versions of the packages, or batches of other sizes, must reach."""
LEAST = 4
"""Images that a hostile layout needs: two are spoiled, the others stay as they are."""
FAULT = """
import torch
_raised = []
def _raise_once(module, inputs):
    if not _raised:
        _raised.append(module)
        raise RuntimeError("a fault of the rehearsal")
torch.nn.modules.module.register_module_forward_pre_hook(_raise_once)
"""
"""What a hostile layout puts before the kernel's code."""
Rows = dict[str, str]
"""RLE text of each image."""


class Layout(NamedTuple):
    """How Kaggle mounts the inputs."""

    new: bool
    """datasets/OWNER/SLUG and competitions/NAME; else SLUG and NAME."""
    archived: bool
    """As they were uploaded; else unpacked."""
    hostile: bool = False

    def __str__(self) -> str:
        dataset, competition = ("datasets/OWNER/SLUG", "competitions/NAME") if self.new else ("SLUG", "NAME")
        state = "with faults" if self.hostile else "archives" if self.archived else "unpacked"
        return f"/kaggle/input/{dataset} and {competition}, {state}"


LAYOUTS = (
    Layout(False, False),
    Layout(True, False),
    Layout(False, True),
    Layout(True, True),
    Layout(False, False, hostile=True),
)


def rehearse(
    kernel: Kernel,
    images: dict[str, Path],
    order: Sequence[str],
    predict: Callable[[dict[str, Path], Sequence[str]], Rows],
    first: int,
    environment: Environment,
    say: Callable[[str], None],
) -> None:
    """Runs the kernel on test images in every layout, without a network; keeps what it has written.

    Args:
        images: File of each test image.
        order: Ids that the submission answers.
        predict: What `kit predict` makes of images with the bundle's weights, for the ids of a submission.
        first: The first layout gets all images, the others so many.

    Raises:
        KitError: it cannot be rehearsed here, it fails, it reaches for the network or writes into its inputs, its
            masks differ from the reference by a byte, or on other versions of the packages by more than those may.
    """
    about = check_metadata(kernel)
    if not can_isolate():
        raise KitError(f"{kernel.code}: cannot be rehearsed: this system gives no namespaces (`unshare` fails)")
    some = set(sorted(images)[: max(first, LEAST)])
    known: dict[tuple[int, bool], Rows] = {}  # what the kernel has written, by how many images, spoiled or not
    with tempfile.TemporaryDirectory(prefix="kit-rehearsal-") as folder:
        sandbox = Sandbox(Path(folder), environment)
        for number, layout in enumerate(LAYOUTS):
            wanted = [name for name in order if number == 0 or name in some]
            there = {name: images[name] for name in wanted if name in images}
            if layout.hostile and len(there) < LEAST:
                say(f"not rehearsed: {layout}: there are not {LEAST} images")
                continue
            if layout.hostile:
                there = spoil(there, Path(folder))
            ours = known.get((len(wanted), layout.hostile))
            exact = ours is not None or not (environment.exact or layout.hostile)
            ours = ours or predict(there, wanted)
            shutil.rmtree(sandbox.kaggle, ignore_errors=True)
            lay_out(sandbox.kaggle / "input", kernel, about.competition_sources[0], wanted, there, layout)
            written, log = play(sandbox, kernel, layout)
            told = compare(kernel, ours, written, pictures.shapes_of(there), exact)
            known[len(wanted), layout.hostile] = written
            if number == 0:
                submission.write(kernel.rehearsed, written.items())
            say(f"{layout}: {counted(len(wanted), 'image')}, {told}; {log.splitlines()[-1]}")


def spoil(images: dict[str, Path], folder: Path) -> dict[str, Path]:
    """The images with a file that is none in place of the first, and the second as a PNG file of half the size.

    Args:
        images: File of each image.
        folder: Takes the two files.
    """
    broken, smaller = sorted(images)[:2]
    (folder / "broken.dcm").write_bytes(b"no image")
    Image.fromarray(pictures.read_image(images[smaller]).pixels[::2, ::2]).save(folder / "smaller.png")
    return images | {broken: folder / "broken.dcm", smaller: folder / "smaller.png"}


def play(sandbox: Sandbox, kernel: Kernel, layout: Layout) -> tuple[Rows, str]:
    """Runs the kernel once; gives its submission and what it printed.

    Raises:
        KitError: it fails, reaches for the network, or writes no submission.
    """
    text = code.as_script(read_text(kernel.code))
    log = run_once(sandbox, kernel, FAULT + text if layout.hostile else text, str(layout), rerun=layout.hostile)
    written = sandbox.kaggle / "working" / "submission.csv"
    if not written.is_file():
        raise KitError(f"{kernel.code}: has written no submission.csv in {layout}")
    return submission.read(written), log


def run_once(sandbox: Sandbox, kernel: Kernel, text: str, where: str, rerun: bool = False) -> str:
    """Runs a kernel's code; gives what it printed.

    Raises:
        KitError: it fails, or reaches for the network.
    """
    with working(f"rehearsing {where}"):
        done = sandbox.run(text, rerun)
    if sandbox.network_log.exists():
        reached = "; ".join(sandbox.network_log.read_text("utf-8", "replace").splitlines()[:5])
        raise KitError(f"{kernel.code}: reaches for the network, which a kernel has not: {reached}")
    if done.returncode:
        told = "\n  ".join(done.stdout.strip().splitlines()[-15:])
        raise KitError(f"{kernel.code}: fails in {where}: correct it and build it again; it ended with\n  {told}")
    return done.stdout.strip()


def compare(kernel: Kernel, ours: Rows, theirs: Rows, shape: Shape, exact: bool) -> str:
    """How the kernel's masks stand to those expected.

    Args:
        ours: RLE text of each image, as expected.
        theirs: As the kernel has written it.
        shape: (H, W) of the images, or of each.
        exact: Every byte must be the same.

    Raises:
        KitError: they differ more than they may.
    """
    different = [name for name in ours if theirs.get(name) != ours[name]]
    if list(ours) != list(theirs) or (exact and different):
        raise KitError(
            f"{kernel.code}: predicts other masks than `kit predict` for {len(different)} of {len(ours)} images"
        )
    if not different:
        return "as predicted here"
    dices = {}
    for name in different:
        masks = (rle.decode(text, shapes.shape_of(shape, name)) for text in (theirs[name], ours[name]))
        dices[name] = scoring.dice(*masks)
    worst = min(dices, key=lambda name: dices[name])
    mean = float(np.mean([dices.get(name, 1.0) for name in ours]))
    told = f"{counted(len(different), 'mask')} unlike those predicted here, mean Dice to them {mean:.4f}"
    if mean < CLOSE:
        raise KitError(f"{kernel.code}: {told} over all {len(ours)} images, {dices[worst]:.4f} for {worst}")
    return told


def lay_out(
    root: Path, kernel: Kernel, competition: str, ids: list[str], images: dict[str, Path], layout: Layout
) -> None:
    """Fills /kaggle/input with the bundle and the test images."""
    dataset = root / ("datasets/somebody" if layout.new else "") / kernel.dataset
    place = root / ("competitions" if layout.new else "") / competition
    sources = {path.name: path for path in sorted(kernel.bundle.iterdir())}
    files = {f"{name}{path.suffix if pictures.is_picture(path) else '.dcm'}": path for name, path in images.items()}
    place.mkdir(parents=True)
    submission.write(place / "stage_2_sample_submission.csv", [(name, rle.EMPTY) for name in ids])
    if layout.archived:
        _pack(dataset / "archive.zip", sources)
        _pack(place / "stage_2_images.zip", files)
    else:
        link(dataset, sources)
        link(place / "stage_2_images", files)
    if layout.hostile:
        name, path = max(files.items())
        link(place / "dicom-images-train", {name: min(files.items())[1]})
        link(place / "stage_2_images" / "again", {name: path})
        (place / "archive.zip").write_bytes(b"PK no archive")


def check_metadata(kernel: Kernel) -> metadata.Metadata:
    """The kernel's metadata, if it keeps the kernel private and offline and gives it its inputs."""
    if not kernel.code.is_file() or not kernel.manifest.is_file():
        raise KitError(f"{kernel.folder}: there is no built kernel: run `make kernel` first")
    return metadata.check(kernel.metadata, kernel.dataset, kernel.code)


def link(folder: Path, sources: dict[str, Path]) -> None:
    """Hard links, which the sandbox shows read-only."""
    folder.mkdir(parents=True)
    for name, path in sources.items():
        try:
            os.link(path.resolve(), folder / name)
        except OSError:  # Another file system.
            shutil.copyfile(path, folder / name)


def _pack(archive: Path, sources: dict[str, Path]) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as target:
        for name, path in sources.items():
            target.write(path, name)
