"""A session of training on Kaggle: resumes the run of the previous session, trains, and records how it ended.

The verbs `train` and `predict` do the work, each in its own process. When time is up, the process gets SIGTERM and
leaves the checkpoint of the last whole epoch, from which the next session reaches the same weights. The run lies in
`working/runs/NAME/RECIPE/`, and `session.json` with its hashes in `working/`. Data, caches and the runs that the recipe
starts from lie in `temp/`, which Kaggle does not keep.
"""

import contextlib
import hashlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from kit import recipes
from kit.competition import dicom_writer, pictures
from kit.core import files
from kit.core.distributed import PRETRAINED, STAND_INS
from kit.core.documents import Count, Document, Sha256, read_document
from kit.core.errors import KitError, counted, describe_exit
from kit.core.parallel import map_in_order
from kit.data.folds import Folds, read_table
from kit.kernel import inputs
from kit.kernel.bundle import Manifest, read_manifest
from kit.kernel.sandbox import REHEARSAL
from kit.recipes.schema import Recipe
from kit.run import Run

log = logging.getLogger(__name__)

NAME = "session.json"
FETCHED = "kaggle.json"
"""File name of the session.json in the folder of a fetched run."""
PATIENCE = 300.0
"""Seconds between SIGTERM and SIGKILL."""
POLL = 0.5
"""Seconds between two checks of a process."""
NO_GPU = (
    "Kaggle has granted no working GPU: check on kaggle.com that the account's telephone number is confirmed and that "
    "GPU hours are left this week; by hand, choose the accelerator GPU T4 x2 (Colab: Runtime, Change runtime type)"
)
clock = time.monotonic
RESERVE = 10**6
"""Size in bytes of a file that is deleted before session.json is written, so that a full disk cannot prevent it."""
_PROGRESS = (".ckpt", ".safetensors", ".npy")
"""Endings of the files that show progress since the previous session."""


class Plan(Manifest):
    """Content of the manifest.json of a kernel that trains."""

    data: str
    """Name of the data set."""
    recipe: str
    """Name of the recipe."""
    fold_file: str
    """Name of the fold file."""
    tests: Count
    """Number of test images, which are predicted once training is done."""
    carried: dict[str, str]
    """Mapping from path in the working folder to name in the bundle: recipe, folds, tables, files of finished runs."""
    trains: bool = True
    """If false, the kernel only predicts the test images with the finished run."""


class Image(Document):
    """An image of the data set."""

    id: str
    sha256: Sha256
    shape: tuple[Count, Count]
    """(H, W)."""
    pixels: Sha256
    """SHA-256 of the grey levels, see `hash_pixels`."""


State = Literal["done", "cut", "failed"]


class Session(Document):
    """Content of session.json."""

    run: str
    """`NAME/RECIPE`."""
    number: Count
    """Number of the session, from 1."""
    state: State
    """`done`: everything is trained and predicted; `cut`: time was up."""
    reason: str = ""
    """Why the session failed."""
    files: dict[str, Sha256]
    """SHA-256 of each file of the run, by its path in the run's folder."""


def read(path: Path) -> Session:
    """Reads a session.json.

    Raises:
        KitError: the file is not what a session writes.
    """
    return read_document(path, Session, "attach the output of another version")


def run(bundle: Path, root: Path, packages: Path, least: int, deadline: float, devices: int) -> Session:
    """Trains until everything is done or time is up.

    Args:
        bundle: Folder of the verified bundle.
        root: Kaggle's folder with `input` and `working`.
        packages: Folder of packages to import.
        least: Number of the session for which the kernel was built, which may run for later ones, too; from 2 on, the
            output of an earlier session must be attached.
        deadline: When to stop, by `clock`.
        devices: Number of working GPUs. Without any, only a rehearsal trains: a session on a CPU would achieve little.

    Raises:
        KitError: the output of the previous session is not attached, or has changed.
    """
    plan, work, kept = read_manifest(bundle, Plan), root / "temp" / "kit", root / "working" / "runs"
    previous = restore(root / "input", plan.run, kept / plan.run)
    if previous is None and least > 1:
        raise KitError(f"{root / 'input'}: the output of the version before, with its {NAME}, is not attached: add it")
    number = previous.number + 1 if previous else 1
    restored = previous.files if previous else {}
    what = f"session {number} of {plan.run}" if plan.trains else f"prediction of the test images of {plan.data}"
    log.info("%s: resumes from %s", what, counted(len(restored), "file"))
    state: State = "failed"
    reason = ""
    try:
        shutil.rmtree(work / "runs", ignore_errors=True)
        (work / "runs" / plan.run).parent.mkdir(parents=True, exist_ok=True)
        (kept / plan.run).mkdir(parents=True, exist_ok=True)
        (kept / plan.run / ".reserve").write_bytes(bytes(RESERVE))
        (work / "runs" / plan.run).symlink_to(kept / plan.run)
        state, reason = _work(bundle, plan, root / "input", work, packages, deadline, devices)
    except KitError as error:
        reason = str(error)
    except Exception as error:  # the next session resumes the run whatever ends this one
        log.exception("%s: failed", what)
        reason = f"{type(error).__name__}: {error}"
    hashes = _hash_run(kept / plan.run)
    if state == "cut" and not any(restored.get(name) != hashes[name] for name in hashes if name.endswith(_PROGRESS)):
        state, reason = "failed", "time was up before anything was finished: allow more with --time-limit"
    session = Session(run=plan.run, number=number, state=state, reason=reason, files=hashes)
    files.write_json(root / "working" / NAME, session.model_dump(mode="json"))
    log.info("%s: %s%s", what, state, reason and f": {reason}")
    return session


def restore(folder: Path, run: str, target: Path) -> Session | None:
    """Copies the run as the latest attached session left it; returns that session, or None if there is none.

    Args:
        folder: Folder of all inputs.
        run: `NAME/RECIPE`.
        target: Folder to copy the run to.

    Raises:
        KitError: a file is missing, or has changed since the session.
    """
    sessions = []
    for path in (path for place in sorted(folder.iterdir()) for path in sorted(place.rglob(NAME))):
        with contextlib.suppress(KitError):  # another program's file of that name
            if (attached := read(path)).run == run:
                sessions.append((attached, path.parent))
    if not sessions:
        return None
    session, place = max(sessions, key=lambda pair: pair[0].number)
    for name, digest in session.files.items():
        source = place / "runs" / run / name
        files.copy(source, target / name)
        if files.sha256(target / name) != digest:
            raise KitError(f"{source}: has changed since session {session.number}: attach another version's output")
    return session


def hash_pixels(pixels: np.ndarray) -> str:
    """SHA-256 of grey levels, uint8 (H, W), row by row."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def lay_out(bundle: Path, folder: Path, work: Path) -> dict[str, str]:
    """Fills the working folder as it is on the machine that built the kernel: images and the bundle's `carried` files.

    Each image is a link to the identical file, or a DICOM file written from another file with the same pixels. Such a
    file may need to be resized as `import` does it: the data set was imported from pictures, and Kaggle has these.

    Args:
        bundle: Folder of the bundle, which has the hashes of each image.
        folder: Folder of all inputs; images are searched in all folders and archives below it.
        work: The working folder.

    Returns:
        Mapping from the SHA-256 of each written DICOM file to that of the original file.

    Raises:
        KitError: images are missing, or differ from those on the machine that built the kernel.
    """
    images: dict[str, Image] = read_document(bundle / "images.json", dict[str, Image], "build the kernel again")
    for data in {Path(*Path(name).parts[:2]) for name in images}:
        shutil.rmtree(work / data, ignore_errors=True)
    for place in {(work / name).parent for name in images}:
        place.mkdir(parents=True, exist_ok=True)
    missing, rejected = dict(images), dict[str, Path]()
    stand_ins: dict[str, str] = {}
    for candidates in inputs.offers(folder, lambda: {image.id for image in missing.values()}):
        batch = [(name, image, candidates[image.id]) for name, image in missing.items() if image.id in candidates]
        digests = map_in_order(lambda item: _place(item[2], item[1], work / item[0]), batch)
        for (name, image, paths), digest in zip(batch, digests, strict=True):
            if digest is None:
                rejected[name] = paths[0]
                continue
            del missing[name]
            if digest != image.sha256:
                stand_ins[digest] = image.sha256
    if missing:
        name, image = next(iter(missing.items()))
        problem = f"{rejected[name]} is another image" if name in rejected else f"{image.id} is missing"
        raise KitError(
            f"{len(missing)} of {len(images)} images are missing or differ from those of the build ({problem}): attach "
            "the data set with the identical images (--source OWNER/NAME)"
        )
    log.info("%s, %d of them made of files that hold the same pixels", counted(len(images), "image"), len(stand_ins))
    for name, path in read_manifest(bundle, Plan).carried.items():
        files.copy(bundle / path, work / name)
    return stand_ins


def _place(paths: Iterable[Path], image: Image, target: Path) -> str | None:
    """Puts an image in place from the first file that has it; returns the new file's SHA-256, or None if none has."""
    for path in paths:
        if files.sha256(path) == image.sha256:
            target.symlink_to(path)
            return image.sha256
        with contextlib.suppress(KitError):  # a mask, or a broken file
            picture = pictures.resized(pictures.read_image(path), image.shape)
            if hash_pixels(picture.pixels) == image.pixels:
                dicom_writer.write(target, image.id, picture, compress=False)
                return files.sha256(target)
    return None


def _work(
    bundle: Path, plan: Plan, attached: Path, work: Path, packages: Path, deadline: float, devices: int
) -> tuple[State, str]:
    """Lays out the working folder, trains and predicts; returns how that ended, and why."""
    if not devices and REHEARSAL not in os.environ:
        return "failed", NO_GPU
    log.info("GPUs: %s", devices or "none, as in a rehearsal")
    stand_ins = work / "stand-ins.json"
    files.write_json(stand_ins, lay_out(bundle, attached, work))
    options = ["--data", f"data/{plan.data}", "--recipe", f"{plan.recipe}.yaml"]
    commands = []
    if plan.trains:
        recipe, run = recipes.load(str(work / f"{plan.recipe}.yaml")), Run(work / "runs" / plan.run)
        split = Folds(read_table(work / "folds" / plan.fold_file))
        remaining = sum(not run.is_trained(recipe, fold) for fold in split.numbers)
        commands.append([*launcher(recipe, remaining, devices), *options])
    if plan.tests:
        commands.append(["-m", "kit", "predict", *options, *([] if plan.trains else ["--trained-on", plan.data])])
    environment = os.environ | {
        "PYTHONPATH": str(packages),
        PRETRAINED: str(bundle.resolve()),
        STAND_INS: str(stand_ins.resolve()),
    }
    for command in commands:
        code, message = _run([sys.executable, *command], work, environment, deadline)
        if code is None:
            return "cut", ""
        if code:
            return "failed", message or _failure(code)
    return "done", ""


def launcher(recipe: Recipe, remaining: int, devices: int) -> list[str]:
    """Returns Python's arguments to run `kit train` so that every GPU has work.

    Folds are trained in parallel, one per GPU; the members of an ensemble are trained one after the other within a
    fold. If one fold remains and its batches can be split evenly, it is trained on all GPUs (DDP).

    Args:
        recipe: The recipe to train.
        remaining: Number of folds that are not trained yet.
        devices: Number of GPUs.
    """
    sizes = {stage.batch_size for part in recipe.parts() for stage in part.stages}
    if remaining == 1 and devices > 1 and not any(size % devices for size in sizes):
        processes = ["--standalone", "--nproc-per-node", str(devices)]
        return ["-m", "torch.distributed.run", *processes, "-m", "kit", "train"]
    return ["-m", "kit", "train", "--jobs", str(max(1, devices))]


def _run(command: Sequence[str], folder: Path, environment: dict[str, str], deadline: float) -> tuple[int | None, str]:
    """Runs a command; returns its exit code, or None if time was up, and its error message, empty if it has none."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    messages: list[str] = []

    def forward() -> None:
        for line in process.stderr or ():
            sys.stderr.write(line)
            if line.startswith("kit: "):  # if several processes fail, the first message is the cause
                messages.append(line.removeprefix("kit: ").strip())

    reader = threading.Thread(target=forward, daemon=True)
    reader.start()
    while process.poll() is None and clock() < deadline:
        time.sleep(POLL)
    if (code := process.poll()) is None:
        log.info("time is up: stopping the process")
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    reader.join(POLL)  # child processes may still be alive and hold the pipe
    return code, messages[0] if messages else ""


def _failure(code: int) -> str:
    """Describes the exit of a process that printed no error."""
    if code == -signal.SIGKILL:
        return "the process was killed, as the system does where the machine's memory is used up"
    return f"the process has ended with {describe_exit(code)}: see the log"


def _hash_run(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file in a run, by relative path; deletes hidden files, which are unfinished."""
    hashes = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and any(part.startswith(".") for part in name.parts):
            path.unlink()
        elif path.is_file():
            hashes[name.as_posix()] = files.sha256(path)
    return hashes
