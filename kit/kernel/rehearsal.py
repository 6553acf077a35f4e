"""The rehearsal: a kernel's own code run as Kaggle would, in each of the layouts that its inputs may come in."""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from kit.competition import rle, scoring, submission
from kit.core.errors import KitError
from kit.core.files import read_text
from kit.inference import thresholds_file
from kit.kernel import bundle, code, metadata
from kit.kernel.bundle import Kernel
from kit.kernel.environment import Environment
from kit.kernel.sandbox import Sandbox, can_isolate

CLOSE = 0.995
"""Mean Dice to our own masks that other versions of the packages must reach."""


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


def rehearse(
    kernel: Kernel,
    images: dict[str, Path],
    reference: Path,
    first: int,
    environment: Environment,
    say: Callable[[str], None],
) -> None:
    """Runs the kernel on test images in every layout, without a network; keeps what it has written.

    Args:
        kernel: As built.
        images: DICOM file of each test image.
        reference: What `kit predict` makes of them with the bundle's weights.
        first: The first layout gets all images, the others so many.
        environment: The packages that it runs on.
        say: Takes a line of progress.

    Raises:
        KitError: it cannot be rehearsed here, it fails, it reaches for the network or writes into its inputs, its
            masks differ from the reference by a byte, or on other versions of the packages by more than those may.
    """
    about = check_metadata(kernel)
    if not can_isolate():
        raise KitError(f"{kernel.code}: cannot be rehearsed: this system gives no namespaces (`unshare` fails)")
    rows, shape = submission.read(reference), bundle.read_manifest(kernel.bundle).shape
    # A share of masks depends on the whole set, so that the part of it that is run later has other masks.
    matched = thresholds_file.read(kernel.bundle / "thresholds.json").share is not None
    some = set(sorted(images)[:first])
    with tempfile.TemporaryDirectory(prefix="kit-rehearsal-") as folder:
        sandbox = Sandbox(Path(folder), environment)
        for number, layout in enumerate(LAYOUTS):
            wanted = [name for name in rows if number == 0 or name in some]
            shutil.rmtree(sandbox.kaggle, ignore_errors=True)
            there = {name: images[name] for name in wanted if name in images}
            lay_out(sandbox.kaggle / "input", kernel, about.competition_sources[0], wanted, there, layout)
            written, log = play(sandbox, kernel, layout)
            if number == 1 and matched:
                rows = written
            exact = number > 0 or not environment.exact
            told = compare(kernel, {name: rows[name] for name in wanted}, written, shape, exact)
            if number == 0:
                rows = written
                submission.write(kernel.rehearsed, rows.items())
            say(f"{layout}: {len(wanted)} images, {told}; {log.splitlines()[-1]}")


def play(sandbox: Sandbox, kernel: Kernel, layout: Layout) -> tuple[dict[str, str], str]:
    """Runs the kernel once; gives its submission and what it printed.

    Raises:
        KitError: it fails, reaches for the network, or writes no submission.
    """
    done = sandbox.run(code.as_script(read_text(kernel.code)))
    lines = done.stdout.strip().splitlines()
    written = sandbox.kaggle / "working" / "submission.csv"
    if sandbox.network_log.exists():
        reached = "; ".join(sandbox.network_log.read_text("utf-8", "replace").splitlines()[:5])
        raise KitError(f"{kernel.code}: reaches for the network, which a kernel has not: {reached}")
    if done.returncode:
        told = "\n  ".join(lines[-15:])
        raise KitError(f"{kernel.code}: fails in {layout}: correct it and build it again; it ended with\n  {told}")
    if not written.is_file():
        raise KitError(f"{kernel.code}: has written no submission.csv in {layout}")
    return submission.read(written), done.stdout.strip()


def compare(kernel: Kernel, ours: dict[str, str], theirs: dict[str, str], shape: tuple[int, int], exact: bool) -> str:
    """How the kernel's masks stand to those expected.

    Args:
        kernel: For the message.
        ours: RLE text of each image, as expected.
        theirs: As the kernel has written it.
        shape: (H, W) of the images.
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
    dices = {name: scoring.dice(rle.decode(theirs[name], shape), rle.decode(ours[name], shape)) for name in different}
    worst = min(dices, key=lambda name: dices[name])
    mean = float(np.mean([dices.get(name, 1.0) for name in ours]))
    told = f"{len(different)} masks differ from those predicted here, mean Dice to them {mean:.4f}"
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
    pictures = {f"{name}.dcm": path for name, path in images.items()}
    place.mkdir(parents=True)
    submission.write(place / "stage_2_sample_submission.csv", [(name, "-1") for name in ids])
    if layout.archived:
        _pack(dataset / "archive.zip", sources)
        _pack(place / "stage_2_images.zip", pictures)
    else:
        _link(dataset, sources)
        _link(place / "stage_2_images", pictures)


def check_metadata(kernel: Kernel) -> metadata.Metadata:
    """The kernel's metadata, if it keeps the kernel private and offline and gives it its inputs.

    Raises:
        KitError: it does not, or there is no kernel.
    """
    if not kernel.code.is_file() or not kernel.manifest.is_file():
        raise KitError(f"{kernel.folder}: there is no built kernel: run `make kernel` first")
    return metadata.check(kernel.metadata, kernel.slug, kernel.dataset, kernel.code)


def _link(folder: Path, sources: dict[str, Path]) -> None:
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
