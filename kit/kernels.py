"""The flow of the verbs that make, rehearse and push an offline kernel."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import kit
from kit import files, pipeline
from kit.competition import layout
from kit.errors import KitError
from kit.publish import bundle, rehearsal
from kit.run import Run

Say = Callable[[str], None]


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
    recipe = run.read_recipe()
    there = layout.find_dicoms(images) if images else pipeline.open_data(data).test
    with tempfile.TemporaryDirectory(prefix="kit-reference-") as folder:
        reference = predict(kernel, Path(folder), data, images)
        rehearsal.rehearse(kernel, there, reference, recipe.stages[-1].batch_size, say)


def predict(kernel: bundle.Kernel, folder: Path, data: Path, images: Path | None) -> Path:
    """What `kit predict` makes of the test images with the weights of the bundle."""
    recipe = bundle.read_recipe(kernel)
    run = Run(folder / pipeline.RUNS / data.resolve().name / recipe.name)
    for path in kernel.bundle.glob("fold*.safetensors"):
        files.copy(path, run.weights(int(path.stem[4:]), len(recipe.stages) - 1))
    files.copy(kernel.bundle / "thresholds.json", run.thresholds)
    command = [sys.executable, "-m", "kit", "predict", "--skip-bad", "--data", str(data.resolve())]
    command += ["--recipe", str((kernel.bundle / "recipe.yaml").resolve())]
    if images:
        command += ["--images", str(images.resolve()), "--out", str(folder / "predicted")]
    path = str(Path(kit.__file__).parents[1])
    done = subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, text=True, capture_output=True)
    if done.returncode:
        raise KitError(f"kit predict fails on the bundle: {done.stderr.strip().splitlines()[-1]}")
    return folder / "predicted" / "submission.csv" if images else run.submission
