"""A session of training on Kaggle: takes up the run where the session before left it, trains, and says how it ended.

The verbs `train` and `predict` do the work, each in a process of its own. When time is up, that process is told to
terminate, as by a person: it leaves the checkpoint of the last whole epoch, from which the next session goes on to the
same weights. What is kept lies in `working/runs/NAME/RECIPE/`, `session.json` with its hashes in `working/`; data,
caches and the runs that it starts from lie in `temp/`, which Kaggle does not keep.
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
from kit.core.errors import KitError, counted
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
"""Name of the same in the folder of a run that was brought home."""
PATIENCE = 300.0
"""Seconds that a process has to end in, once it was told to."""
POLL = 0.5
"""Seconds from one look at it to the next."""
NO_GPU = (
    "Kaggle has granted no GPU that computes: see there that the account's telephone number is confirmed and that "
    "hours on GPUs are left this week; by hand, choose the accelerator GPU T4 x2 (Colab: Runtime, Change runtime type)"
)
clock = time.monotonic
RESERVE = 10**6
"""Bytes that are held while a session works, and given up for its last word: a full disk must not swallow that."""
_STEPS = (".ckpt", ".safetensors", ".npy")
"""Endings of files by which a session goes further than the one before."""


class Plan(Manifest):
    """What the manifest of a kernel that trains holds."""

    data: str
    """Name of the data set."""
    recipe: str
    """Name of the recipe."""
    fold_file: str
    """Name of the fold file."""
    tests: Count
    """Number of its test images, which are predicted once all is trained."""
    carried: dict[str, str]
    """Names in the bundle of recipe, folds, tables and files of finished runs, by their path in the working folder."""
    trains: bool = True
    """Else the test images are predicted by the finished run of the recipe."""


class Image(Document):
    """An image of the data set."""

    id: str
    sha256: Sha256
    shape: tuple[Count, Count]
    """(H, W)."""
    pixels: Sha256
    """Of its grey levels, see `hash_pixels`."""


class Session(Document):
    """What session.json holds."""

    run: str
    """`NAME/RECIPE`."""
    number: Count
    """From 1."""
    state: Literal["done", "cut", "failed"]
    """All is trained and predicted; time was up; or it cannot go on."""
    reason: str = ""
    """Why it failed."""
    files: dict[str, Sha256]
    """Of the run, by their path in its folder."""


def read(path: Path) -> Session:
    """The content of a session.json.

    Raises:
        KitError: it is not what a session writes.
    """
    return read_document(path, Session, "attach the output of another version")


def run(bundle: Path, root: Path, packages: Path, least: int, deadline: float, devices: int) -> Session:
    """Trains until all is done or time is up.

    Args:
        bundle: Folder of the verified bundle.
        root: Kaggle's folder with `input` and `working`.
        packages: Folder to import from.
        least: Number of the session; from 2 on the output of an earlier one must be there.
        deadline: When to stop, by `clock`.
        devices: Number of GPUs that compute. Without one nothing is trained but in a rehearsal: the hours of a session
            would go, and little come of them.

    Raises:
        KitError: the output of the session before is not attached, or not as it was left.
    """
    plan, work, kept = read_manifest(bundle, Plan), root / "temp" / "kit", root / "working" / "runs"
    before = restore(root / "input", plan.run, kept / plan.run)
    if before is None and least > 1:
        raise KitError(f"{root / 'input'}: the output of the version before, with its {NAME}, is not attached: add it")
    number = before.number + 1 if before else 1
    known = before.files if before else {}
    what = f"session {number} of {plan.run}" if plan.trains else f"prediction of the test images of {plan.data}"
    log.info("%s: %s of earlier ones", what, counted(len(known), "file"))
    state: Literal["done", "cut", "failed"] = "failed"
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
    except Exception as error:  # what was trained is kept for the next session, whatever ended this one
        log.exception("it has failed")
        reason = f"{type(error).__name__}: {error}"
    left = _left(kept / plan.run)
    if state == "cut" and not any(known.get(name) != left[name] for name in left if name.endswith(_STEPS)):
        state, reason = "failed", "time was up before anything was finished: allow more with --time-limit"
    session = Session(run=plan.run, number=number, state=state, reason=reason, files=left)
    files.write_json(root / "working" / NAME, session.model_dump(mode="json"))
    log.info("%s: %s%s", what, state, reason and f": {reason}")
    return session


def restore(folder: Path, run: str, target: Path) -> Session | None:
    """Copies what the latest session that is attached has left; gives that session, None where there is none.

    Args:
        folder: Of all inputs.
        run: `NAME/RECIPE`.

    Raises:
        KitError: a file is missing, or is not as it was left.
    """
    ours = []
    for path in (path for place in sorted(folder.iterdir()) for path in sorted(place.rglob(NAME))):
        with contextlib.suppress(KitError):  # of that name, and somebody else's
            if (one := read(path)).run == run:
                ours.append((one, path.parent))
    if not ours:
        return None
    session, place = max(ours, key=lambda one: one[0].number)
    for name, digest in session.files.items():
        source = place / "runs" / run / name
        files.copy(source, target / name)
        if files.sha256(target / name) != digest:
            raise KitError(f"{source}: is not as session {session.number} left it: attach another version's output")
    return session


def hash_pixels(pixels: np.ndarray) -> str:
    """SHA-256 of grey levels, uint8 (H, W), row by row."""
    return hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()


def lay_out(bundle: Path, folder: Path, work: Path) -> dict[str, str]:
    """Makes the working folder as it is where the kernel was built: the data's images, and what was carried along.

    An image is a link to the very file, or a DICOM file made of any other that holds the same pixels, at its size or
    resized as an import does: of a mirror of pictures the import was made here and the pictures are there.

    Args:
        bundle: With what was carried along, and with the hashes of each image.
        folder: Of all inputs; images are found in any folders and archives below it.
        work: The working folder.

    Returns:
        The SHA-256 of the file that each one that was made stands for, by its own.

    Raises:
        KitError: images are missing, or are others than where the kernel was built.
    """
    images: dict[str, Image] = read_document(bundle / "images.json", dict[str, Image], "build the kernel again")
    for data in {Path(*Path(name).parts[:2]) for name in images}:
        shutil.rmtree(work / data, ignore_errors=True)
    for place in {(work / name).parent for name in images}:
        place.mkdir(parents=True, exist_ok=True)
    missing, looked_at = dict(images), dict[str, Path]()
    stand_ins: dict[str, str] = {}
    for offered in inputs.offers(folder, lambda: {image.id for image in missing.values()}):
        wanted = [(name, image, offered[image.id]) for name, image in missing.items() if image.id in offered]
        placed = map_in_order(lambda one: _place(one[2], one[1], work / one[0]), wanted)
        for (name, image, paths), digest in zip(wanted, placed, strict=True):
            if digest is None:
                looked_at[name] = paths[0]
                continue
            del missing[name]
            if digest != image.sha256:
                stand_ins[digest] = image.sha256
    if missing:
        name, image = next(iter(missing.items()))
        problem = f"{looked_at[name]} is another image" if name in looked_at else f"{image.id} is missing"
        raise KitError(
            f"{len(missing)} of {len(images)} images are not there as they are where the kernel was built ({problem}): "
            "attach the data set that holds those very images (--source OWNER/NAME)"
        )
    told = "%s, %d of them made of files that hold the same pixels"
    log.info(told, counted(len(images), "image"), len(stand_ins))
    for name, path in read_manifest(bundle, Plan).carried.items():
        files.copy(bundle / path, work / name)
    return stand_ins


def _place(paths: Iterable[Path], image: Image, target: Path) -> str | None:
    """Brings an image to its place by the first file that holds it; the hash of what lies there, None for nothing."""
    for path in paths:
        if files.sha256(path) == image.sha256:
            target.symlink_to(path)
            return image.sha256
        with contextlib.suppress(KitError):  # a mask, or torn
            found = pictures.resized(pictures.read_image(path), image.shape)
            if hash_pixels(found.pixels) == image.pixels:
                dicom_writer.write(target, image.id, found, compress=False)
                return files.sha256(target)
    return None


def _work(
    bundle: Path, plan: Plan, attached: Path, work: Path, packages: Path, deadline: float, devices: int
) -> tuple[Literal["done", "cut", "failed"], str]:
    """Lays out, trains and predicts; how that ended, and why."""
    if not devices and REHEARSAL not in os.environ:
        return "failed", NO_GPU
    log.info("GPUs: %s", devices or "none, as in a rehearsal")
    stand_ins = work / "stand-ins.json"
    files.write_json(stand_ins, lay_out(bundle, attached, work))
    options = ["--data", f"data/{plan.data}", "--recipe", f"{plan.recipe}.yaml"]
    commands = []
    if plan.trains:
        wanted, run = recipes.load(str(work / f"{plan.recipe}.yaml")), Run(work / "runs" / plan.run)
        split = Folds(read_table(work / "folds" / plan.fold_file))
        left = sum(not run.is_trained(wanted, fold) for fold in split.numbers)
        commands.append([*launcher(wanted, left, devices), *options])
    if plan.tests:
        commands.append(["-m", "kit", "predict", *options, *([] if plan.trains else ["--trained-on", plan.data])])
    environment = os.environ | {
        "PYTHONPATH": str(packages),
        PRETRAINED: str(bundle.resolve()),
        STAND_INS: str(stand_ins.resolve()),
    }
    for command in commands:
        code, told = _run([sys.executable, *command], work, environment, deadline)
        if code is None:
            return "cut", ""
        if code:
            return "failed", told or _ended(code)
    return "done", ""


def launcher(recipe: Recipe, left: int, devices: int) -> list[str]:
    """What Python is given to run `kit train` so that every GPU has work.

    Folds are trained side by side, one a GPU, in which members of an ensemble follow each other. The last fold, or the
    only one, is trained on all of them, each with a part of every batch (DDP), where its batches can be shared evenly.

    Args:
        recipe: What is trained.
        left: Folds that are still to be trained.
        devices: Number of GPUs.
    """
    sizes = {stage.batch_size for part in recipe.parts() for stage in part.stages}
    if left == 1 and devices > 1 and not any(size % devices for size in sizes):
        processes = ["--standalone", "--nproc-per-node", str(devices)]
        return ["-m", "torch.distributed.run", *processes, "-m", "kit", "train"]
    return ["-m", "kit", "train", "--jobs", str(max(1, devices))]


def _run(command: Sequence[str], folder: Path, environment: dict[str, str], deadline: float) -> tuple[int | None, str]:
    """Exit code of a command, None where time was up; and what it says of why it ends, empty where it says nothing."""
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True, errors="replace"
    )
    told: list[str] = []

    def pass_on() -> None:
        for line in process.stderr or ():
            sys.stderr.write(line)
            if line.startswith("kit: "):  # of several processes the first to say so is the cause
                told.append(line.removeprefix("kit: ").strip())

    reader = threading.Thread(target=pass_on, daemon=True)
    reader.start()
    while process.poll() is None and clock() < deadline:
        time.sleep(POLL)
    if (code := process.poll()) is None:
        log.info("time is up: the process is told to end")
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    reader.join(POLL)  # what it has started may live on, and hold the pipe
    return code, told[0] if told else ""


def _ended(code: int) -> str:
    """How a process ended that has said nothing itself."""
    if code == -signal.SIGKILL:
        return "the process was killed, as the system does where the machine's memory is used up"
    return f"the process has ended with {f'exit code {code}' if code > 0 else f'signal {-code}'}: see the log"


def _left(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of a run by its path; hidden ones, which are unfinished, go."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and any(part.startswith(".") for part in name.parts):
            path.unlink()
        elif path.is_file():
            found[name.as_posix()] = files.sha256(path)
    return found
