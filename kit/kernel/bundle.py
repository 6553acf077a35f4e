"""An offline kernel: the code that Kaggle runs, and the flat data set with everything that the code needs."""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ConfigDict, Field

from kit.core import files
from kit.core.documents import Document, Sha256, read_document
from kit.core.errors import KitError
from kit.core.progress import working
from kit.kernel import code, kaggle_image, metadata, wheels
from kit.run import Run, Trained

KERNELS, BUNDLES = Path("kernels"), Path("build/kernel")
TIME_LIMIT = 8.5 * 3600
"""Seconds; Kaggle ends a session after nine hours."""
LARGEST_CODE = 10**6
"""Bytes of a script or a notebook that Kaggle takes."""


class Manifest(Document):
    """What manifest.json of any kernel holds."""

    kernel: str
    run: str
    """`NAME/RECIPE`."""
    files: dict[str, Sha256] = Field(default_factory=dict)
    """Of the bundle, all but the manifest itself."""


class Predictors(Manifest):
    """What that of a kernel that predicts holds."""

    model_config = ConfigDict(extra="forbid")  # one of an earlier version may have other weights

    weights: dict[str, list[str]]
    """Names of the files of each network's folds, by its member's name."""
    made_from: dict[str, Sha256]
    """Files of the run, by their path in its folder."""


M = TypeVar("M", bound=Manifest)


def read_manifest(folder: Path, kind: type[M]) -> M:
    """The manifest of a bundle, here or on Kaggle.

    Raises:
        KitError: it is missing, or is not what a build writes.
    """
    return read_document(folder / "manifest.json", kind, "run `make kernel` again")


@dataclass(frozen=True)
class Kernel:
    """Where a kernel's parts lie, and what they are called on Kaggle."""

    slug: str

    @property
    def folder(self) -> Path:
        """The code and its metadata."""
        return KERNELS / self.slug

    @property
    def script(self) -> Path:
        """The code as a script."""
        return self.folder / f"{self.slug}.py"

    @property
    def notebook(self) -> Path:
        """The code as a notebook."""
        return self.folder / f"{self.slug}.ipynb"

    @property
    def code(self) -> Path:
        """The one file that Kaggle runs: the notebook, if that was built."""
        return self.notebook if self.notebook.is_file() else self.script

    @property
    def name(self) -> str:
        """Its name on Kaggle, which does not turn a script into a notebook: one of each may be pushed."""
        return f"{self.slug}-nb" if self.notebook.is_file() else self.slug

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
    def journal(self) -> Path:
        """Which acts of a push were begun and are not known to have ended."""
        return BUNDLES / f"{self.slug}.acts.json"

    @property
    def manifest(self) -> Path:
        """SHA-256 of each of its files, and of the run's files that they were made from."""
        return self.bundle / "manifest.json"

    @property
    def pushed(self) -> Path:
        """Number of the newest version that is known to have been saved."""
        return BUNDLES / f"{self.name}.version.json"


_LONGEST = 44
"""Characters of a kernel's name: that of its data set has six more, and Kaggle allows 50."""


def kernel_of(run: Run, purpose: str = "") -> Kernel:
    """The kernel of a run, named `kit-NAME-RECIPE`, for a purpose beside predicting `kit-NAME-RECIPE-PURPOSE`.

    >>> kernel_of(Run(Path("runs/siim/my_exp5"))).slug
    'kit-siim-my-exp5'
    """
    text = f"kit-{run.folder.parent.name}-{run.folder.name}{purpose and '-'}{purpose}"
    slug = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if len(slug) > _LONGEST:  # two long names may begin alike
        slug = f"{slug[: _LONGEST - 7].strip('-')}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"
    return Kernel(slug)


def check_apart(names: Sequence[str]) -> None:
    """Refuses names of recipes of which two would be one run, or one kernel.

    Raises:
        KitError: there are such two.
    """
    taken: dict[str, str] = {}
    for name in names:
        slug = kernel_of(Run(Path("data", name))).slug
        if slug in taken:
            which = (
                f"{name} is there twice" if taken[slug] == name else f"{taken[slug]} and {name} are one kernel's name"
            )
            raise KitError(f"--sweep: {which}: name each run of its own, with `name: …` in its recipe")
        taken[slug] = name


def build(
    run: Run,
    competition: str = metadata.COMPETITION,
    user: str = metadata.ACCOUNT,
    gpu: bool = False,
    time_limit: float = TIME_LIMIT,
    notebook: bool = False,
) -> Kernel:
    """Writes a run's kernel and bundle, replacing older ones.

    Args:
        competition: Its name on Kaggle.
        time_limit: Seconds after which the kernel leaves the remaining images empty.

    Raises:
        KitError: the run is not complete, or a needed package is missing.
    """
    chosen = check_complete(run)
    recipe, kernel = run.read_recipe(), kernel_of(run)

    def fill(folder: Path) -> Predictors:
        listed: dict[str, list[str]] = {}
        for member, paths in run.trained(recipe).weights.items():
            listed[member] = [f"{member}.{path.parents[1].name}{path.name.removeprefix('weights')}" for path in paths]
            for path, name in zip(paths, listed[member], strict=True):
                files.copy(path, folder / name)
        for path in (run.recipe_path, *chosen):
            files.copy(path, folder / path.name)
        name = "/".join(run.folder.parts[-2:])
        return Predictors(kernel=kernel.slug, run=name, weights=listed, made_from=_made_from(run))

    assemble(kernel, fill, kaggle_image.BROUGHT)
    blanks = {"slug-of-the-competition": competition}
    text = code.script("predict", kernel.dataset, files.sha256(kernel.manifest), time_limit, **blanks)
    write_code(kernel, text, user, gpu, notebook, [competition])
    return kernel


def assemble(kernel: Kernel, fill: Callable[[Path], Manifest], packages: Sequence[str]) -> None:
    """Writes a kernel's bundle, replacing an older one.

    Args:
        fill: Writes its own files into a folder, and gives the manifest without them.
        packages: Those that Kaggle's image lacks.

    Raises:
        KitError: a package cannot go to Kaggle.
    """
    with files.replacing_folder(kernel.bundle) as fresh:
        manifest = fill(fresh)
        with working("bundling"):
            for name in packages:
                wheels.write_installed(fresh, name)
            # The name of one file tells all the content, so that a list of names tells whether Kaggle has this bundle.
            content = [*sorted(fresh.iterdir()), *wheels.sources().values()]
            wheels.write_kit(fresh, hashlib.sha256("".join(map(files.sha256, content)).encode()).hexdigest()[:12])
            hashes = {path.name: files.sha256(path) for path in sorted(fresh.iterdir())}
        files.write_json(fresh / "manifest.json", manifest.model_dump(mode="json") | {"files": hashes})


def write_code(
    kernel: Kernel,
    text: str,
    user: str,
    gpu: bool,
    notebook: bool,
    competitions: Sequence[str],
    datasets: Sequence[str] = (),
    resumes: bool = False,
) -> None:
    """Writes a kernel's script, or the notebook made of it, and its metadata.

    Args:
        competitions: Names of those whose data it gets.
        datasets: Each `OWNER/NAME` that it gets beside its own.
        resumes: It gets the output of its version before.

    Raises:
        KitError: it is larger than Kaggle takes.
    """
    target, other = (kernel.notebook, kernel.script) if notebook else (kernel.script, kernel.notebook)
    text = code.notebook(text, kernel.slug) if notebook else text
    if len(text.encode()) > LARGEST_CODE:
        raise KitError(f"{target}: is larger than the {LARGEST_CODE} bytes that Kaggle takes")
    other.unlink(missing_ok=True)
    files.write_text(target, text)
    inputs, before = [f"{user}/{kernel.dataset}", *datasets], [f"{user}/{kernel.name}"] if resumes else []
    about = metadata.make(kernel.name, target.name, user, gpu, inputs, competitions, before)
    files.write_json(kernel.metadata, about.model_dump())


def read_bundle(folder: Path) -> Trained:
    """All that a bundle predicts with, here or on Kaggle.

    Raises:
        KitError: a file is missing.
    """
    brought = Run(folder)
    listed = read_manifest(folder, Predictors).weights
    weights = {label: [folder / name for name in names] for label, names in listed.items()}
    stacks = {tta: brought.stack(tta=tta) for tta in (True, False)}
    return Trained(brought.read_recipe(), weights, brought.thresholds, stacks)


def check_complete(run: Run) -> list[Path]:
    """What was chosen on the run's OOF predictions: the thresholds, and the stacks where the recipe is gated."""
    stacks = [run.stack(tta=tta) for tta in (True, False)] if run.read_recipe().is_gated else []
    for path in (run.thresholds, *stacks):
        if not path.is_file():
            raise KitError(f"{path}: is missing: choose the thresholds first, with `make train`")
    return [run.thresholds, *stacks]


def check_current(run: Run, kernel: Kernel) -> None:
    """Refuses a kernel whose bundle was changed, or whose run was changed, since it was built.

    A run that is not on this machine is not asked.
    """
    manifest, again = read_manifest(kernel.bundle, Predictors), "run `make kernel` again"
    check_unchanged(kernel)
    if run.folder.is_dir():
        now, then = _made_from(run), manifest.made_from
        if changed := [name for name in sorted({*now, *then}) if now.get(name) != then.get(name)]:
            raise KitError(f"{run.folder / changed[0]}: was changed after the kernel was built: {again}")


def check_unchanged(kernel: Kernel) -> None:
    """Refuses a kernel whose bundle was changed since it was built."""
    manifest, again = read_manifest(kernel.bundle, Manifest), "run `make kernel` again"
    if files.sha256(kernel.manifest) not in files.read_text(kernel.code):
        raise KitError(f"{kernel.code}: belongs to another bundle than {kernel.bundle}: {again}")
    there = {path.name for path in kernel.bundle.iterdir()} - {kernel.manifest.name}
    for name, expected in manifest.files.items():
        if name not in there or files.sha256(kernel.bundle / name) != expected:
            raise KitError(f"{kernel.bundle / name}: is not as it was built: {again}")
    if extra := there - manifest.files.keys():
        raise KitError(f"{kernel.bundle / min(extra)}: is no file of the kernel: {again}")


def _made_from(run: Run) -> dict[str, str]:
    """SHA-256 of each of the run's files that a kernel is made from, by its path in the run's folder."""
    weights = [path for paths in run.trained(run.read_recipe()).weights.values() for path in paths]
    chosen = [path for path in (run.thresholds, run.stack(tta=True), run.stack(tta=False)) if path.is_file()]
    paths = [*weights, run.recipe_path, *chosen]
    return {path.relative_to(run.folder).as_posix(): files.sha256(path) for path in paths}
