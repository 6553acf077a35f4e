"""An offline kernel: the script that Kaggle runs, and the flat data set with everything that the script needs."""

import hashlib
import re
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from kit.core import files
from kit.core.errors import KitError
from kit.kernel import kaggle_image, wheels
from kit.run import Run, Trained

KERNELS, BUNDLES = Path("kernels"), Path("build/kernel")
TIME_LIMIT = 8.5 * 3600
"""Seconds; Kaggle ends a session after nine hours."""
ACCOUNT = "your-account"
"""Stands for the owner until one is known; a push puts the real one there."""
COMPETITION = "siim-acr-pneumothorax-segmentation"


@dataclass(frozen=True)
class Kernel:
    """Where a kernel's parts lie, and what they are called on Kaggle."""

    slug: str

    @property
    def folder(self) -> Path:
        """The script and its metadata."""
        return KERNELS / self.slug

    @property
    def script(self) -> Path:
        """The one file that Kaggle runs."""
        return self.folder / f"{self.slug}.py"

    @property
    def metadata(self) -> Path:
        """What Kaggle is told about the kernel."""
        return self.folder / "kernel-metadata.json"

    @property
    def dataset(self) -> str:
        """Name of the data set on Kaggle."""
        return f"{self.slug}-files"

    @property
    def bundle(self) -> Path:
        """Content of the data set."""
        return BUNDLES / self.slug

    def megabytes(self) -> float:
        """Size of the data set."""
        return sum(path.stat().st_size for path in self.bundle.iterdir()) / 1e6

    @property
    def rehearsed(self) -> Path:
        """The submission of the last rehearsal."""
        return BUNDLES / f"{self.slug}.rehearsed.csv"

    @property
    def manifest(self) -> Path:
        """SHA-256 of each of its files."""
        return self.bundle / "manifest.json"


def kernel_of(run: Run) -> Kernel:
    """The kernel of a run, named `kit-NAME-RECIPE`.

    >>> kernel_of(Run(Path("runs/siim/my_exp5"))).slug
    'kit-siim-my-exp5'
    """
    text = f"kit-{run.folder.parent.name}-{run.folder.name}".lower()
    return Kernel(re.sub(r"[^a-z0-9]+", "-", text)[:44].strip("-"))  # The data set's name has at most 50 characters.


def build(
    run: Run,
    shape: tuple[int, int],
    half: bool,
    competition: str = COMPETITION,
    user: str = ACCOUNT,
    gpu: bool = False,
    time_limit: float = TIME_LIMIT,
) -> Kernel:
    """Writes a run's kernel and bundle anew.

    Args:
        run: Trained, with thresholds.
        shape: (H, W) of the competition's images.
        half: Store weights in half precision.
        competition: Its name on Kaggle.
        user: The account that will own the kernel.
        gpu: Ask for a GPU.
        time_limit: Seconds after which the kernel leaves the remaining images empty.

    Raises:
        KitError: the run is not complete, or a needed package is missing.
    """
    chosen = check_complete(run)
    recipe, kernel = run.read_recipe(), kernel_of(run)
    weights = run.trained(recipe).weights
    fresh = kernel.bundle.with_name(f".{kernel.slug}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    listed: dict[str, list[str]] = {}
    for member, paths in weights.items():
        listed[member] = [f"{member}.{path.parents[1].name}{path.name.removeprefix('weights')}" for path in paths]
        for path, name in zip(paths, listed[member], strict=True):
            write_weights(path, fresh / name, half)
    for path in (run.recipe_path, *chosen):
        files.copy(path, fresh / path.name)
    for name in kaggle_image.brought():
        wheels.write_installed(fresh, name)
    # The name of one file tells all the content, so that a list of names tells whether Kaggle has this bundle.
    content = [*sorted(fresh.iterdir()), *wheels.sources().values()]
    wheels.write_kit(fresh, hashlib.sha256("".join(map(files.sha256, content)).encode()).hexdigest()[:12])
    about = {"kernel": kernel.slug, "run": "/".join(run.folder.parts[-2:]), "shape": list(shape), "half": half}
    hashes = {path.name: files.sha256(path) for path in sorted(fresh.iterdir())}
    files.write_json(fresh / "manifest.json", {**about, "weights": listed, "files": hashes})
    shutil.rmtree(kernel.bundle, ignore_errors=True)
    fresh.rename(kernel.bundle)
    files.write_text(kernel.script, script(kernel, competition, files.sha256(kernel.manifest), time_limit))
    files.write_json(kernel.metadata, metadata(kernel, competition, user, gpu))
    return kernel


def trained(kernel: Kernel) -> Trained:
    """All that the bundle of a kernel predicts with.

    Raises:
        KitError: the bundle is not whole.
    """
    return read_bundle(kernel.bundle)


def read_bundle(folder: Path) -> Trained:
    """All that a bundle predicts with, here or on Kaggle.

    Raises:
        KitError: a file is missing.
    """
    brought, listed = Run(folder), files.read_json(folder / "manifest.json")["weights"]
    weights = {label: [folder / name for name in names] for label, names in listed.items()}
    stacks = {tta: brought.stack(tta) for tta in (True, False)}
    return Trained(brought.read_recipe(), weights, brought.thresholds, stacks)


def check_complete(run: Run) -> list[Path]:
    """What was chosen on the run's OOF predictions: the thresholds, and the stacks where the recipe is gated.

    Raises:
        KitError: one is missing.
    """
    stacks = [run.stack(tta) for tta in (True, False)] if run.read_recipe().is_gated else []
    for path in (run.thresholds, *stacks):
        if not path.is_file():
            raise KitError(f"{path}: is missing: choose the thresholds first, with `make train`")
    return [run.thresholds, *stacks]


def script(kernel: Kernel, competition: str, manifest: str, time_limit: float) -> str:
    """The kernel's source, with its constants filled in."""
    text = (resources.files("kit.kernel") / "script.py").read_text()
    for blank, value in (
        ("slug-of-the-dataset", kernel.dataset),
        ("slug-of-the-competition", competition),
        ("sha256-of-the-manifest", manifest),
        ("TIME_LIMIT = 0.0", f"TIME_LIMIT = {time_limit}"),
    ):
        text = text.replace(blank, value)
    return text


def metadata(kernel: Kernel, competition: str, user: str, gpu: bool) -> dict:
    """What kernel-metadata.json holds. Kaggle's default for the internet is yes, so that it is always said."""
    return {
        "id": f"{user}/{kernel.slug}",
        "title": kernel.slug,
        "code_file": kernel.script.name,
        "language": "python",
        "kernel_type": "script",
        "is_private": True,
        "enable_gpu": gpu,
        "enable_tpu": False,
        "enable_internet": False,
        "dataset_sources": [f"{user}/{kernel.dataset}"],
        "competition_sources": [competition],
        "kernel_sources": [],
        "model_sources": [],
    }


def write_weights(source: Path, target: Path, half: bool) -> None:
    """Copies a file of weights, in half precision where that is wanted and every value can be told in it."""
    state = load_file(source)
    if half:
        state = {name: _halved(tensor) for name, tensor in state.items()}
    with files.replacing(target) as temporary:
        save_file(state, temporary)


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    small = tensor.half() if tensor.is_floating_point() else tensor
    return small if torch.isfinite(small).all() else tensor
