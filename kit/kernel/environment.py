"""The packages that a rehearsal runs on: those of Kaggle's image, installed once, or else this machine's packages."""

import contextlib
import hashlib
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from kit.core import files
from kit.core.errors import KitError
from kit.core.logs import Say
from kit.core.progress import working
from kit.kernel import kaggle_image

FOLDER = Path("build/kaggle-image")
NEEDED = 12e9
"""Free disk space in bytes that installing the image's packages needs; once installed they take 7.5 GB."""
FIND_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"


@dataclass(frozen=True)
class Environment:
    """A Python interpreter and a folder of packages for it."""

    python: Path
    """The interpreter that virtual environments are made from."""
    packages: Path
    """Folder of the packages, which may be links into `linked`."""
    linked: Path
    exact: bool
    """Whether the packages have the image's versions; otherwise Kaggle's predictions may differ from a rehearsal's."""


def image(say: Say, folder: Path = FOLDER) -> Environment:
    """Returns the environment of Kaggle's image, installed by the first call, or else this machine's packages.

    Args:
        say: Prints a line that says what is not rehearsed, and why.
        folder: Folder for environments.
    """
    pinned = [f"{name}=={version}" for name, version in kaggle_image.PINNED.items()]
    try:
        return install([*pinned, *kaggle_image.UNPINNED], folder, NEEDED)
    except KitError as error:
        say(f"not rehearsed: the versions of Kaggle's image ({error}); this machine's packages stand in for them")
        return local(folder)


def install(requirements: Sequence[str], folder: Path, needed: float = 0.0) -> Environment:
    """Returns an environment of the image's Python version with packages from the registry; installs it only once.

    Args:
        requirements: Requirements in pip's syntax.
        folder: Folder for environments, each named by the hash of its requirements.
        needed: Free disk space that the installation needs, in bytes.

    Raises:
        KitError: this machine lacks that Python or the disk space, or the registry lacks a package.
    """
    python = _find_python()
    digest = hashlib.sha256("\n".join([str(python), *requirements]).encode()).hexdigest()[:12]
    place = folder / f"{kaggle_image.PYTHON}-{digest}"
    with files.locked(place):
        if not (place / "complete").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            if (free := shutil.disk_usage(folder).free) < needed:
                raise KitError(f"they need {needed / 1e9:.0f} GB for the installation, {free / 1e9:.0f} GB are free")
            shutil.rmtree(place, ignore_errors=True)
            pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            with working("installing the packages of Kaggle's image, once (7.5 GB)"):
                _run([str(python), "-m", "venv", str(place)])
                _run([*pip, "--no-cache-dir", "--no-compile", "--only-binary=:all:", *requirements])
            (place / "complete").touch()
    packages = Path(_run([str(place / "bin" / "python"), "-c", FIND_PACKAGES]).strip()).resolve()
    return Environment(python, packages, packages, exact=True)


def local(folder: Path) -> Environment:
    """Returns this machine's Python with links to its packages, except those that the image lacks."""
    site = Path(sysconfig.get_path("purelib"))
    absent: set[str] = set()
    for name in kaggle_image.ABSENT:
        with contextlib.suppress(metadata.PackageNotFoundError):
            absent.update(file.parts[0] for file in metadata.files(name) or [])
    place = folder / "local"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for path in site.iterdir():
        if path.name not in absent and path.suffix != ".pth":
            (place / path.name).symlink_to(path)
    return Environment(Path(sys.executable).resolve(), place.resolve(), site, exact=False)


def _find_python() -> Path:
    name = f"python{kaggle_image.PYTHON}"
    candidates = [shutil.which(name), sys.executable, *sorted(Path.home().glob(f".pyenv/versions/*/bin/{name}"))]
    for candidate in filter(None, candidates):
        code = "import sys; print(sys.base_prefix, '%d.%d' % sys.version_info[:2])"
        done = subprocess.run([str(candidate), "-c", code], capture_output=True, text=True)
        prefix, _, version = done.stdout.strip().rpartition(" ")
        if version == kaggle_image.PYTHON:
            return Path(prefix) / "bin" / name
    raise KitError(f"there is no {name} here")


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise KitError(next((line for line in reversed(lines) if "ERROR" in line), "an installation failed"))
    return done.stdout
