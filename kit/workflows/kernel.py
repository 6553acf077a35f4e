"""The flow of the verbs that make, rehearse and push an offline kernel."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

import kit
from kit import recipes
from kit.competition import layout, rle, scoring
from kit.core import files
from kit.core.errors import KitError
from kit.data import cache
from kit.inference import maps, predict, rules, system
from kit.kaggle.settings import Settings
from kit.kernel import bundle, rehearsal
from kit.run import Run
from kit.workflows.workspace import CACHES, RUNS, open_data, run_of

Say = Callable[[str], None]

HALF_LOSS = 1e-4
"""Weights are stored in half precision where the OOF Dice changes by no more."""


def find_run(folder: Path | None, data: Path, recipe: str, overrides: str = "") -> Run:
    """The run in that folder, or else the recipe's run on the data."""
    if folder is not None:
        return Run(folder)
    return run_of(open_data(data), recipes.load(recipe, overrides))


def build(run: Run, data: Path, chosen: Settings, gpu: bool, time_limit: float, say: Say) -> bundle.Kernel:
    """Writes a run's kernel and the files that it needs.

    Args:
        run: Trained, with thresholds.
        data: The competition's folder, for the OOF Dice of weights in half precision.
        chosen: Competition and user on Kaggle.
        gpu: Ask Kaggle for a GPU.
        time_limit: Seconds after which the kernel leaves the remaining images empty.
        say: Takes a line of what was found.

    Raises:
        KitError: the run is not complete or not of these data, or a needed package is missing.
    """
    competition = open_data(data)
    if run.folder.resolve().parent.name != competition.name:
        raise KitError(f"{run.folder}: is not a run on {data}: give its data with --data")
    bundle.check_complete(run)
    change = half_change(run, competition)
    half = abs(change) <= HALF_LOSS
    say(f"weights in {'half' if half else 'full'} precision: halving them changes the OOF Dice by {change:+.6f}")
    name, user = chosen.competition or bundle.COMPETITION, chosen.user or bundle.ACCOUNT
    return bundle.build(run, competition.shape, half, name, user, gpu, time_limit)


def half_change(run: Run, competition: layout.Competition) -> float:
    """How the OOF Dice changes when the weights are rounded to half precision; measured once a run."""
    recipe, report = run.read_recipe(), run.folder / "half.json"
    parts = recipe.parts()
    made_from = {str(path): files.sha256(path) for paths in run.networks(recipe).values() for path in paths}
    made_from[run.thresholds.name] = files.sha256(run.thresholds)
    if files.is_current(report, made_from):
        return files.read_json(report)["change"]
    sizes = {part.stages[-1].size for part in parts.values()}
    caches = cache.ensure(competition, sizes, CACHES / competition.name, skip_bad=True)
    row_of = {image_id: row for row, image_id in enumerate(competition.train)}
    stack, rule = run.stack(recipe.tta) if recipe.is_gated else None, rules.read(run.thresholds)
    changes: list[float] = []
    for fold in run.predicted_folds():
        full = {name: run.member(name).weights(fold, len(part.stages) - 1) for name, part in parts.items()}
        with tempfile.TemporaryDirectory() as folder:
            halved = {name: Path(folder) / f"{name}.safetensors" for name in full}
            for name, path in full.items():
                bundle.write_weights(path, halved[name], half=True)
            before, after = (
                system.load(recipe, {name: [path] for name, path in weights.items()}, stack)
                for weights in (full, halved)
            )
        ids = maps.open_maps(run.oof(fold, recipe.tta)).ids

        def read(i: int, ids: tuple[str, ...] = ids) -> dict[int, np.ndarray]:
            return {size: np.array(cached.images[row_of[ids[i]]]) for size, cached in caches.items()}

        for start, images in predict.batches(len(ids), read, before.batch_size, f"fold {fold}, full and halved"):
            for i, pair in enumerate(zip(before.inputs(images), after.inputs(images), strict=True), start):
                truth = rle.union(competition.labels[ids[i]], competition.shape)
                was, becomes = (
                    scoring.dice(rule.mask(maps.upsample(levels, competition.shape), *presence), truth)
                    for levels, *presence in pair
                )
                changes.append(becomes - was)
    files.write_json(report, {"change": float(np.mean(changes))})
    files.mark(report, made_from)
    return float(np.mean(changes))


def check(run: Run, data: Path, images: Path | None, say: Say) -> None:
    """Rehearses the run's kernel on test images.

    Args:
        run: Whose kernel was built.
        data: The competition's folder.
        images: Any folder of DICOM files instead of its test images.
        say: Takes a line of progress.

    Raises:
        KitError: the kernel would fail, or predicts something else than `kit predict`.
    """
    kernel = bundle.kernel_of(run)
    rehearsal.check_metadata(kernel)
    there = layout.find_dicoms(images) if images else open_data(data).test
    with tempfile.TemporaryDirectory(prefix="kit-reference-") as folder:
        reference = predicted(kernel, Path(folder), data, images)
        some = max(part.stages[-1].batch_size for part in run.read_recipe().parts().values())
        rehearsal.rehearse(kernel, there, reference, some, say)
        files.copy(reference, kernel.rehearsed)


def predicted(kernel: bundle.Kernel, folder: Path, data: Path, images: Path | None) -> Path:
    """What `kit predict` makes of the test images with the weights of the bundle."""
    brought = Run(kernel.bundle)
    recipe, listed = brought.read_recipe(), files.read_json(kernel.manifest)["weights"]
    run = Run(folder / RUNS / data.resolve().name / recipe.name)
    for member, part in recipe.parts().items():
        for name in listed[member]:
            fold = int(Path(name).stem.rpartition("fold")[2])
            files.copy(kernel.bundle / name, run.member(member).weights(fold, len(part.stages) - 1))
    for path in (brought.recipe_path, brought.thresholds, brought.stack(True), brought.stack(False)):
        if path.is_file():
            files.copy(path, run.folder / path.name)
    command = [sys.executable, "-m", "kit", "predict", "--skip-bad", "--data", str(data.resolve())]
    command += ["--recipe", str(brought.recipe_path.resolve())]
    if images:
        command += ["--images", str(images.resolve()), "--out", str(folder / "predicted")]
    variables = os.environ | {"PYTHONPATH": str(Path(kit.__file__).parents[1]), "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(command, cwd=folder, env=variables, text=True, capture_output=True)
    if done.returncode:
        raise KitError(f"kit predict: fails on the bundle: {done.stderr.strip().splitlines()[-1]}")
    return folder / "predicted" / "submission.csv" if images else run.submission


def push(run: Run, data: Path, chosen: Settings, say: Say) -> Path:
    """Brings the run's kernel to Kaggle and fetches what it writes there.

    Returns:
        The submission that the kernel has written.

    Raises:
        KitError: anything stands in the way.
    """
    from kit.kaggle.client import connect
    from kit.kernel import push

    kernel = bundle.kernel_of(run)
    rehearsal.check_metadata(kernel)
    competition = open_data(data)
    client = connect(chosen.timeout)
    return push.push(client, kernel, chosen.user or client.user, competition, say)


def push_requests(run: Run, chosen: Settings) -> str:
    """What `push` would send: the name and the content of each request."""
    from kit.kernel import push

    kernel = bundle.kernel_of(run)
    rehearsal.check_metadata(kernel)
    sent = push.requests(kernel, chosen.user or bundle.ACCOUNT)
    return "\n".join(f"{name} {json.dumps(content, indent=2)}" for name, content in sent)
