"""The rehearsal: runs a kernel's own code as Kaggle would, in each layout in which Kaggle mounts inputs.

The last layout is hostile and poses as a competition's hidden rerun: it has a broken image file, an image of another
size and file type, a duplicate name and a broken archive, and a network raises.
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
from kit.core.logs import Say
from kit.core.progress import working
from kit.kernel import code, metadata
from kit.kernel.bundle import Kernel
from kit.kernel.environment import Environment
from kit.kernel.sandbox import Sandbox, require_isolation

CLOSE = 0.995
"""Minimum mean Dice to the masks predicted here, if package versions or batch sizes differ."""
LEAST = 4
"""Minimum number of images for a hostile layout, which spoils two of them."""
FAULT = """
import torch
_raised = []
def _raise_once(module, inputs):
    if not _raised:
        _raised.append(module)
        raise RuntimeError("a fault of the rehearsal")
torch.nn.modules.module.register_module_forward_pre_hook(_raise_once)
"""
"""Code that a hostile layout puts before the kernel's."""
Rows = dict[str, str]
"""Rows of a submission: RLE text by image id."""


class Layout(NamedTuple):
    """A way in which Kaggle may mount the inputs."""

    nested: bool = False
    """Whether they lie in datasets/OWNER/SLUG and competitions/NAME, or else in SLUG and NAME."""
    archived: bool = False
    """Whether they are still archives, or else unpacked."""
    hostile: bool = False

    def __str__(self) -> str:
        dataset, competition = ("datasets/OWNER/SLUG", "competitions/NAME") if self.nested else ("SLUG", "NAME")
        state = "with faults" if self.hostile else "archives" if self.archived else "unpacked"
        return f"/kaggle/input/{dataset} and {competition}, {state}"


LAYOUTS = (
    Layout(),
    Layout(nested=True),
    Layout(archived=True),
    Layout(nested=True, archived=True),
    Layout(hostile=True),
)


def rehearse(
    kernel: Kernel,
    images: dict[str, Path],
    order: Sequence[str],
    predict: Callable[[dict[str, Path], Sequence[str]], Rows],
    first: int,
    environment: Environment,
    say: Say,
) -> None:
    """Runs the kernel on test images in every layout, without a network, and keeps its submission.

    Args:
        images: File of each test image.
        order: Ids of the submission, in order.
        predict: Predicts images with `kit predict`, for the ids of a submission.
        first: Number of images in all layouts but the first, which has them all.
        say: Prints a line for each layout.

    Raises:
        KitError: the kernel cannot be rehearsed here, fails, tries to use the network, writes into its inputs, or
            predicts other masks than `predict`: every byte counts, but with other package versions Dice to them does.
    """
    about = check_metadata(kernel)
    require_isolation(kernel.code)
    subset = set(sorted(images)[: max(first, LEAST)])
    results: dict[tuple[int, bool], Rows] = {}  # the kernel's rows, by number of images and whether some are spoiled
    with tempfile.TemporaryDirectory(prefix="kit-rehearsal-") as folder:
        sandbox = Sandbox(Path(folder), environment)
        for number, layout in enumerate(LAYOUTS):
            ids = [name for name in order if number == 0 or name in subset]
            paths = {name: images[name] for name in ids if name in images}
            if layout.hostile and len(paths) < LEAST:
                say(f"not rehearsed: {layout}: there are not {LEAST} images")
                continue
            if layout.hostile:
                paths = spoil(paths, Path(folder))
            # In another layout, the same images must give the same bytes, whatever the package versions.
            expected = results.get((len(ids), layout.hostile))
            exact = expected is not None or not (environment.exact or layout.hostile)
            expected = expected or predict(paths, ids)
            shutil.rmtree(sandbox.kaggle, ignore_errors=True)
            lay_out(sandbox.kaggle / "input", kernel, about.competition_sources[0], ids, paths, layout)
            rows, log = play(sandbox, kernel, layout)
            verdict = compare(kernel, expected, rows, pictures.shapes_of(paths), exact=exact)
            results[len(ids), layout.hostile] = rows
            if number == 0:
                submission.write(kernel.rehearsed, rows.items())
            say(f"{layout}: {counted(len(ids), 'image')}, {verdict}; {log.splitlines()[-1]}")


def spoil(images: dict[str, Path], folder: Path) -> dict[str, Path]:
    """Replaces the first image by a broken file, and the second by a PNG file of half its size.

    Args:
        images: File of each image.
        folder: Folder for the two new files.
    """
    broken, smaller = sorted(images)[:2]
    (folder / "broken.dcm").write_bytes(b"no image")
    Image.fromarray(pictures.read_image(images[smaller]).pixels[::2, ::2]).save(folder / "smaller.png")
    return images | {broken: folder / "broken.dcm", smaller: folder / "smaller.png"}


def play(sandbox: Sandbox, kernel: Kernel, layout: Layout) -> tuple[Rows, str]:
    """Runs the kernel once; returns its submission and its output.

    Raises:
        KitError: the kernel fails, tries to use the network, or writes no submission.
    """
    text = code.as_script(read_text(kernel.code))
    log = run_once(sandbox, kernel, FAULT + text if layout.hostile else text, str(layout), rerun=layout.hostile)
    path = sandbox.kaggle / "working" / "submission.csv"
    if not path.is_file():
        raise KitError(f"{kernel.code}: has written no submission.csv in {layout}")
    return submission.read(path), log


def run_once(sandbox: Sandbox, kernel: Kernel, text: str, where: str, *, rerun: bool = False) -> str:
    """Runs a kernel's code; returns its output.

    Raises:
        KitError: the code fails, or tries to use the network.
    """
    with working(f"rehearsing {where}"):
        done = sandbox.run(text, rerun=rerun)
    if sandbox.network_log.exists():
        attempts = "; ".join(sandbox.network_log.read_text("utf-8", "replace").splitlines()[:5])
        raise KitError(f"{kernel.code}: tries to use the network, which a kernel does not have: {attempts}")
    if done.returncode:
        tail = "\n  ".join(done.stdout.strip().splitlines()[-15:])
        raise KitError(
            f"{kernel.code}: fails in {where}: correct it and build it again; its output ended with\n  {tail}"
        )
    return done.stdout.strip()


def compare(kernel: Kernel, expected: Rows, rows: Rows, shape: Shape, *, exact: bool) -> str:
    """Describes how the kernel's masks compare with the expected ones.

    Args:
        expected: RLE text of each image, as predicted here.
        rows: RLE text of each image, as written by the kernel.
        shape: (H, W) of all images, or of each.
        exact: Whether every byte must be the same.

    Raises:
        KitError: the masks differ more than they may.
    """
    different = [name for name in expected if rows.get(name) != expected[name]]
    if list(expected) != list(rows) or (exact and different):
        raise KitError(
            f"{kernel.code}: predicts other masks than `kit predict` for {len(different)} of {len(expected)} images"
        )
    if not different:
        return "as predicted here"
    dices = {}
    for name in different:
        masks = (rle.decode(text, shapes.shape_of(shape, name)) for text in (rows[name], expected[name]))
        dices[name] = scoring.dice(*masks)
    worst = min(dices, key=lambda name: dices[name])
    mean = float(np.mean([dices.get(name, 1.0) for name in expected]))
    verdict = f"{counted(len(different), 'mask')} unlike those predicted here, mean Dice to them {mean:.4f}"
    if mean < CLOSE:
        raise KitError(f"{kernel.code}: {verdict} over all {len(expected)} images, {dices[worst]:.4f} for {worst}")
    return verdict


def lay_out(
    root: Path, kernel: Kernel, competition: str, ids: list[str], images: dict[str, Path], layout: Layout
) -> None:
    """Fills /kaggle/input with the bundle and the test images."""
    dataset = root / ("datasets/somebody" if layout.nested else "") / kernel.dataset
    place = root / ("competitions" if layout.nested else "") / competition
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
    """Reads the metadata of a built kernel and checks them, see `metadata.check`."""
    if not kernel.code.is_file() or not kernel.manifest.is_file():
        raise KitError(f"{kernel.folder}: there is no built kernel: run `make kernel` first")
    return metadata.check(kernel.metadata, kernel.dataset, kernel.code)


def link(folder: Path, sources: dict[str, Path]) -> None:
    """Fills a folder with hard links, which are read-only in the sandbox."""
    folder.mkdir(parents=True)
    for name, path in sources.items():
        try:
            os.link(path.resolve(), folder / name)
        except OSError:  # another file system
            shutil.copyfile(path, folder / name)


def _pack(archive: Path, sources: dict[str, Path]) -> None:
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "w") as target:
        for name, path in sources.items():
            target.write(path, name)
