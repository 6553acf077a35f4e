"""A session of training on Kaggle: takes up the run where the session before left it, trains, and says how it ended.

The verbs `train` and `predict` do the work, each in a process of its own. When time is up, that process is told to
terminate, as by a person: it leaves the checkpoint of the last whole epoch, from which the next session goes on to the
same weights. What is kept lies in `working/runs/NAME/RECIPE/`, `session.json` with its hashes in `working/`; data and
caches lie in `temp/`, which Kaggle does not keep.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from kit.core import files
from kit.core.distributed import PRETRAINED
from kit.core.documents import Count, Document, Sha256, read_document
from kit.core.errors import KitError
from kit.core.parallel import gpus, map_in_order
from kit.kernel import inputs
from kit.kernel.bundle import Manifest, read_manifest

log = logging.getLogger(__name__)

NAME = "session.json"
PATIENCE = 300.0
"""Seconds that a process has to end in, once it was told to."""
POLL = 0.5
"""Seconds from one look at it to the next."""
clock = time.monotonic
_STEPS = (".ckpt", ".safetensors", ".npy")
"""Endings of files by which a session goes further than the one before."""


class Plan(Manifest):
    """What the manifest of a kernel that trains holds."""

    data: str
    """Name of the data set."""
    tests: Count
    """Number of its test images, which are predicted once all is trained."""


class Image(Document):
    """An image of the data set."""

    id: str
    sha256: Sha256


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


def run(bundle: Path, root: Path, packages: Path, least: int, deadline: float) -> Session:
    """Trains until all is done or time is up.

    Args:
        bundle: Folder of the verified bundle.
        root: Kaggle's folder with `input` and `working`.
        packages: Folder to import from.
        least: Number of the session; from 2 on the output of an earlier one must be there.
        deadline: When to stop, by `clock`.

    Raises:
        KitError: the output of the session before is not attached, or not as it was left.
    """
    plan, work, kept = read_manifest(bundle, Plan), root / "temp" / "kit", root / "working" / "runs"
    before = restore(root / "input", plan.run, kept / plan.run)
    if before is None and least > 1:
        raise KitError(f"{root / 'input'}: the output of the version before, with its {NAME}, is not attached: add it")
    number = before.number + 1 if before else 1
    known = before.files if before else {}
    log.info("session %d of %s: %d files of earlier ones are there", number, plan.run, len(known))
    state: Literal["done", "cut", "failed"] = "failed"
    reason = ""
    try:
        work.mkdir(parents=True, exist_ok=True)
        (work / "runs").unlink(missing_ok=True)
        kept.mkdir(parents=True, exist_ok=True)
        (work / "runs").symlink_to(kept)
        state, reason = _work(bundle, plan, root / "input", work, packages, deadline)
    except Exception as error:  # what was trained is kept for the next session, whatever ended this one
        log.exception("the session has failed")
        reason = f"{type(error).__name__}: {error}"
    left = _left(kept / plan.run)
    if state == "cut" and not any(known.get(name) != left[name] for name in left if name.endswith(_STEPS)):
        state, reason = "failed", "time was up before anything was finished: allow more with --time-limit"
    session = Session(run=plan.run, number=number, state=state, reason=reason, files=left)
    files.write_json(root / "working" / NAME, session.model_dump(mode="json"))
    log.info("session %d of %s: %s%s", number, plan.run, state, reason and f": {reason}")
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


def lay_out(bundle: Path, folder: Path, target: Path) -> None:
    """Makes the competition's folder as it is where the kernel was built: links to its images, and its tables.

    Args:
        bundle: With the tables, and with the hash of each image.
        folder: Of all inputs; images are found in any folders and archives below it.
        target: The competition's folder.

    Raises:
        KitError: images are missing, or are other files than where the kernel was built.
    """
    images: dict[str, Image] = read_document(bundle / "images.json", dict[str, Image], "build the kernel again")
    found: dict[str, Path] = {}
    for place in sorted(folder.iterdir()):
        if missing := {image.id for image in images.values()} - found.keys():
            found |= inputs.find_images(place, missing) if place.is_dir() else {}

    def problem(image: Image) -> str:
        if image.id not in found:
            return f"{image.id} is missing"
        return "" if files.sha256(found[image.id]) == image.sha256 else f"{found[image.id]} is another file"

    problems = list(filter(None, map_in_order(problem, images.values())))
    if problems:
        raise KitError(
            f"{len(problems)} of {len(images)} images are not there as they are where the kernel was built "
            f"({problems[0]}): attach the data set that holds those very files (--source OWNER/NAME)"
        )
    shutil.rmtree(target, ignore_errors=True)
    for name, image in images.items():
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).symlink_to(found[image.id])
    for path in bundle.glob("data.*"):
        files.copy(path, target / path.name.removeprefix("data."))


def _work(
    bundle: Path, plan: Plan, attached: Path, work: Path, packages: Path, deadline: float
) -> tuple[Literal["done", "cut", "failed"], str]:
    """Lays out, trains and predicts; how that ended, and why."""
    lay_out(bundle, attached, work / "data" / plan.data)
    for path in bundle.glob("folds.*"):
        files.copy(path, work / "folds" / path.name.removeprefix("folds."))
    recipe = work / f"{plan.run.rpartition('/')[2]}.yaml"
    files.copy(bundle / "recipe.yaml", recipe)
    options = ["--data", f"data/{plan.data}", "--recipe", recipe.name]
    devices = gpus()
    log.info("GPUs to train on: %s", len(devices) or "none, so it trains on the CPU")
    commands = [["train", *options, "--jobs", str(max(1, len(devices)))]]
    commands += [["predict", *options]] if plan.tests else []
    environment = os.environ | {"PYTHONPATH": str(packages), PRETRAINED: str(bundle.resolve())}
    for command in commands:
        code = _run([sys.executable, "-m", "kit", *command], work, environment, deadline)
        if code is None:
            return "cut", ""
        if code:
            return "failed", f"`kit {command[0]}` has ended with exit code {code}: see the log"
    return "done", ""


def _run(command: Sequence[str], folder: Path, environment: dict[str, str], deadline: float) -> int | None:
    """Exit code of a command; None where time was up."""
    process = subprocess.Popen(command, cwd=folder, env=environment)
    while clock() < deadline:
        if (code := process.poll()) is not None:
            return code
        time.sleep(POLL)
    log.info("time is up: the training is told to end")
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    return None


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
