"""The packages that a rehearsal runs on: those of Kaggle's image, installed once, or the nearest that there is here."""

import hashlib
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from kit.core import files
from kit.core.errors import KitError
from kit.core.progress import working
from kit.kernel import kaggle_image

FOLDER = Path("build/kaggle-image")
NEEDED = 12e9
"""Bytes that must be free to install the image's packages, which take 7.5 GB."""
FIND_PACKAGES = "import sysconfig; print(sysconfig.get_path('purelib'))"


@dataclass(frozen=True)
class Environment:
    """A Python and a folder of packages for it."""

    python: Path
    """The interpreter that virtual environments are made from."""
    packages: Path
    """Its packages, links of which lead into `linked`."""
    linked: Path
    exact: bool
    """It has the image's versions; else predictions may be those of this machine's packages alone."""


def image(say: Callable[[str], None], folder: Path = FOLDER) -> Environment:
    """The environment of Kaggle's image, made under `build/` by the first call; else this machine's packages.

    Args:
        say: Takes a line of what is not rehearsed, and why.
        folder: Where it is kept.
    """
    wanted = [f"{name}=={version}" for name, version in kaggle_image.PINNED.items()] + list(kaggle_image.UNPINNED)
    try:
        return install(wanted, folder, NEEDED)
    except KitError as error:
        say(f"not rehearsed: the versions of Kaggle's image ({error}); this machine's packages stand in for them")
        return local(folder)


def install(wanted: Sequence[str], folder: Path, needed: float = 0.0) -> Environment:
    """An environment of the image's Python with packages from the registry, made once.

    Args:
        wanted: Requirements, as pip takes them.
        folder: Where environments are kept, each by the hash of its requirements.
        needed: Bytes that must be free.

    Raises:
        KitError: there is no such Python, no room, or the registry has not got them all.
    """
    python = _find_python()
    digest = hashlib.sha256("\n".join([str(python), *wanted]).encode()).hexdigest()[:12]
    place = folder / f"{kaggle_image.PYTHON}-{digest}"
    with files.locked(place):
        if not (place / "complete").is_file():
            folder.mkdir(parents=True, exist_ok=True)
            if (free := shutil.disk_usage(folder).free) < needed:
                raise KitError(f"they need {needed / 1e9:.0f} GB for the installation, {free / 1e9:.0f} GB are free")
            shutil.rmtree(place, ignore_errors=True)
            pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            with working("installing the packages of Kaggle's image"):
                _run([str(python), "-m", "venv", str(place)])
                _run([*pip, "--no-cache-dir", "--no-compile", "--only-binary=:all:", *wanted])
            (place / "complete").touch()
    packages = Path(_run([str(place / "bin" / "python"), "-c", FIND_PACKAGES]).strip()).resolve()
    return Environment(python, packages, packages, exact=True)


def local(folder: Path) -> Environment:
    """This Python with links to its own packages, without those that the image lacks."""
    site = Path(sysconfig.get_path("purelib"))
    absent = {file.parts[0] for name in kaggle_image.ABSENT for file in _files_of(name)}
    place = folder / "local"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for path in site.iterdir():
        if path.name not in absent and path.suffix != ".pth":
            (place / path.name).symlink_to(path)
    return Environment(Path(sys.executable).resolve(), place.resolve(), site, exact=False)


def _find_python() -> Path:
    name = f"python{kaggle_image.PYTHON}"
    known = [shutil.which(name), sys.executable, *sorted(Path.home().glob(f".pyenv/versions/*/bin/{name}"))]
    for candidate in filter(None, known):
        code = "import sys; print(sys.base_prefix, '%d.%d' % sys.version_info[:2])"
        done = subprocess.run([str(candidate), "-c", code], capture_output=True, text=True)
        prefix, _, version = done.stdout.strip().rpartition(" ")
        if version == kaggle_image.PYTHON:
            return Path(prefix) / "bin" / name
    raise KitError(f"there is no {name} here")


def _files_of(name: str) -> list[metadata.PackagePath]:
    try:
        return metadata.files(name) or []
    except metadata.PackageNotFoundError:
        return []


def _run(command: list[str]) -> str:
    with tempfile.TemporaryFile("w+") as told:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=told, text=True)
        told.seek(0)
        lines = told.read().strip().splitlines()
    if done.returncode:
        raise KitError(next((line for line in reversed(lines) if "ERROR" in line), "an installation failed"))
    return done.stdout
