"""An offline kernel: the code that Kaggle runs, and a flat data set with everything that the code needs."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, Field

from kit.core import files
from kit.core.documents import Document, Sha256, read_document
from kit.core.errors import KitError
from kit.core.progress import working
from kit.kernel import code, kaggle_image, metadata, wheels
from kit.run import Run

KERNELS, BUNDLES = Path("kernels"), Path("build/kernel")
MODEL = "model.safetensors"
"""File name of the model in the bundle of a kernel that predicts."""
TIME_LIMIT = 8.5 * 3600
"""Seconds; Kaggle ends a session after nine hours."""
LARGEST_CODE = 10**6
"""Kaggle's limit on the size of a script or notebook, in bytes."""
_REMEDY = "run `make kernel` again"


class Manifest(Document):
    """Content of the manifest.json of any kernel."""

    kernel: str
    run: str
    """`NAME/RECIPE`."""
    files: dict[str, Sha256] = Field(default_factory=dict)
    """SHA-256 of each file in the bundle except the manifest, by file name."""


class ModelManifest(Manifest):
    """Content of the manifest.json of a kernel that predicts."""

    model_config = ConfigDict(extra="forbid")  # a bundle of an earlier version has other files than a model

    made_from: dict[str, Sha256]
    """SHA-256 of each file of the run that the model is made from, by its path in the run's folder."""


M = TypeVar("M", bound=Manifest)


def read_manifest(folder: Path, kind: type[M]) -> M:
    """Reads the manifest of a bundle.

    Raises:
        KitError: the manifest is missing, or is not what a build writes.
    """
    return read_document(folder / "manifest.json", kind, _REMEDY)


class Kernel:
    """The paths of a kernel's parts, and their names on Kaggle."""

    def __init__(self, slug: str) -> None:
        self.slug = slug
        self.folder = KERNELS / slug
        self.script = self.folder / f"{slug}.py"
        self.notebook = self.folder / f"{slug}.ipynb"
        self.metadata = self.folder / "kernel-metadata.json"
        self.dataset = f"{slug}-files"  # name of the data set on Kaggle
        self.bundle = BUNDLES / slug  # folder with the files of the data set
        self.manifest = self.bundle / "manifest.json"
        self.rehearsed = BUNDLES / f"{slug}.rehearsed.csv"  # submission of the last rehearsal
        self.journal = BUNDLES / f"{slug}.acts.json"  # uploads and saves that may not have ended

    @property
    def code(self) -> Path:
        """The file that Kaggle runs: the notebook if there is one, else the script."""
        return self.notebook if self.notebook.is_file() else self.script

    @property
    def name(self) -> str:
        """The kernel's name on Kaggle. A notebook has its own, since Kaggle cannot turn a script into a notebook."""
        return f"{self.slug}-nb" if self.notebook.is_file() else self.slug

    @property
    def pushed(self) -> Path:
        """File with the number of the newest version that is known to have been saved on Kaggle."""
        return BUNDLES / f"{self.name}.version.json"

    def megabytes(self) -> float:
        """Size of the data set."""
        return sum(path.stat().st_size for path in self.bundle.iterdir()) / 1e6


_LONGEST = 44
"""Maximum length of a slug: the name of the data set is six characters longer, and Kaggle allows 50."""


def kernel_of(run: Run, purpose: str = "") -> Kernel:
    """Returns the kernel of a run, named `kit-NAME-RECIPE`, or `kit-NAME-RECIPE-PURPOSE` if it does not just predict.

    >>> kernel_of(Run(Path("runs/siim/my_exp5"))).slug
    'kit-siim-my-exp5'
    """
    text = f"kit-{run.folder.parent.name}-{run.folder.name}{purpose and '-'}{purpose}"
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if len(slug) > _LONGEST:  # two long names may begin alike
        slug = f"{slug[: _LONGEST - 7].strip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    return Kernel(slug)


def require_distinct(recipes: Sequence[str]) -> None:
    """Refuses recipe names of which two would share a run or a kernel.

    Raises:
        KitError: two names would.
    """
    recipe_of: dict[str, str] = {}
    for name in recipes:
        slug = kernel_of(Run(Path("data", name))).slug
        if slug in recipe_of:
            other = recipe_of[slug]
            problem = f"{name} is given twice" if other == name else f"{other} and {name} would be the same kernel"
            raise KitError(f"--sweep: {problem}: give each run a name of its own with `name: …` in its recipe")
        recipe_of[slug] = name


def build(
    run: Run,
    competition: str = metadata.COMPETITION,
    user: str = metadata.ACCOUNT,
    time_limit: float = TIME_LIMIT,
    *,
    gpu: bool = False,
    notebook: bool = False,
) -> Kernel:
    """Writes a run's kernel and bundle, replacing older ones.

    Args:
        competition: Name of the competition on Kaggle.
        time_limit: Seconds after which the kernel leaves the remaining images empty.

    Raises:
        KitError: the run is not complete, or a needed package is missing.
    """
    from kit.inference.model import Model  # it loads torch, which takes seconds

    kernel, trained = kernel_of(run), run.trained(run.read_recipe())

    def fill(folder: Path) -> ModelManifest:
        made_from = _hash_sources(run)  # before they are read: a later change makes the kernel stale
        Model.load(trained, "cpu").save(folder / MODEL)
        return ModelManifest(kernel=kernel.slug, run="/".join(run.folder.parts[-2:]), made_from=made_from)

    assemble(kernel, fill, kaggle_image.BROUGHT)
    blanks = {"slug-of-the-competition": competition}
    text = code.script("predict", kernel.dataset, files.sha256(kernel.manifest), time_limit, **blanks)
    write_code(kernel, text, user, [competition], gpu=gpu, notebook=notebook)
    return kernel


def assemble(kernel: Kernel, fill: Callable[[Path], Manifest], packages: Sequence[str]) -> None:
    """Writes a kernel's bundle, replacing an older one.

    Args:
        fill: Writes the kernel's own files into a folder, and returns the manifest without `files`.
        packages: Packages to include, since Kaggle's image lacks them.

    Raises:
        KitError: a package cannot go to Kaggle.
    """
    with files.replacing_folder(kernel.bundle) as fresh:
        manifest = fill(fresh)
        with working("bundling"):
            for name in packages:
                wheels.write_installed(fresh, name)
            # The wheel's name identifies the whole content: file names alone show whether Kaggle has this bundle.
            content = [*sorted(fresh.iterdir()), *wheels.sources().values()]
            wheels.write_kit(fresh, hashlib.sha256("".join(map(files.sha256, content)).encode()).hexdigest()[:12])
            hashes = {path.name: files.sha256(path) for path in sorted(fresh.iterdir())}
        files.write_json(fresh / "manifest.json", manifest.model_dump(mode="json") | {"files": hashes})


def write_code(
    kernel: Kernel,
    text: str,
    user: str,
    competitions: Sequence[str],
    datasets: Sequence[str] = (),
    *,
    gpu: bool,
    notebook: bool,
    resumes: bool = False,
) -> None:
    """Writes a kernel's script, or the notebook made from the script, and its metadata.

    Args:
        competitions: Names of the competitions to attach.
        datasets: Further data sets to attach, each as `OWNER/NAME`.
        resumes: Whether to attach the output of the kernel's previous version.

    Raises:
        KitError: the code is larger than Kaggle takes.
    """
    target, other = (kernel.notebook, kernel.script) if notebook else (kernel.script, kernel.notebook)
    text = code.notebook(text, kernel.slug) if notebook else text
    if len(text.encode()) > LARGEST_CODE:
        raise KitError(f"{target}: is larger than the {LARGEST_CODE} bytes that Kaggle takes")
    other.unlink(missing_ok=True)
    files.write_text(target, text)
    inputs, kernels = [f"{user}/{kernel.dataset}", *datasets], [f"{user}/{kernel.name}"] if resumes else []
    about = metadata.make(kernel.name, target.name, user, inputs, competitions, kernels, gpu=gpu)
    files.write_json(kernel.metadata, about.model_dump())


def check_current(run: Run, kernel: Kernel) -> None:
    """Refuses a kernel whose bundle, or whose run if that is on this machine, has changed since the build."""
    built = read_manifest(kernel.bundle, ModelManifest).made_from
    check_unchanged(kernel)
    if run.folder.is_dir():
        hashes = _hash_sources(run)
        if changed := [name for name in sorted({*hashes, *built}) if hashes.get(name) != built.get(name)]:
            raise KitError(f"{run.folder / changed[0]}: was changed after the kernel was built: {_REMEDY}")


def check_unchanged(kernel: Kernel) -> None:
    """Refuses a kernel whose bundle has changed since the build."""
    manifest = read_manifest(kernel.bundle, Manifest)
    if files.sha256(kernel.manifest) not in files.read_text(kernel.code):
        raise KitError(f"{kernel.code}: belongs to another bundle than {kernel.bundle}: {_REMEDY}")
    existing = {path.name for path in kernel.bundle.iterdir()} - {kernel.manifest.name}
    for name, expected in manifest.files.items():
        if name not in existing or files.sha256(kernel.bundle / name) != expected:
            raise KitError(f"{kernel.bundle / name}: is not as it was built: {_REMEDY}")
    if extra := existing - manifest.files.keys():
        raise KitError(f"{kernel.bundle / min(extra)}: is no file of the kernel: {_REMEDY}")


def _hash_sources(run: Run) -> dict[str, str]:
    """Returns the SHA-256 of each file of the run that its model is made from, by its path in the run's folder."""
    trained = run.trained(run.read_recipe())
    weights = [path for paths in trained.weights.values() for path in paths]
    paths = [*weights, run.recipe_path, trained.thresholds, *trained.stacks.values()]
    return {path.relative_to(run.folder).as_posix(): files.sha256(path) for path in paths}
