"""Packages of this environment as wheels, so that Kaggle runs exactly the files that the rehearsal has run.

They have the name and layout of wheels, since Kaggle unpacks files that are named as archives. A kernel puts them on
Python's path. They are never installed, so they have no RECORD of hashes.
"""

import zipfile
from importlib import metadata, resources
from pathlib import Path

from kit.core.errors import KitError
from kit.core.version import VERSION

EPOCH = (1980, 1, 1, 0, 0, 0)
"""Fixed date of every file in a wheel, so that the same content gives the same bytes."""


def write_kit(folder: Path, build: str) -> Path:
    """Writes the kit's own wheel: all of its modules and recipes.

    Args:
        build: Build tag in the file name, hexadecimal.
    """
    content = {f"kit/{name}": path.read_bytes() for name, path in sources().items()}
    about = f"Metadata-Version: 2.1\nName: kit\nVersion: {VERSION}\nRequires-Python: >=3.11\n"
    return _write(folder, "kit", VERSION, content, {"METADATA": about.encode()}, f"0{build}-")


def sources() -> dict[str, Path]:
    """Returns the kit's modules and recipes, by their path in the package."""
    root = Path(str(resources.files("kit")))
    paths = sorted(path for path in root.rglob("*") if path.suffix in (".py", ".yaml"))
    return {path.relative_to(root).as_posix(): path for path in paths}


def write_installed(folder: Path, name: str) -> Path:
    """Writes the wheel of an installed pure-Python package.

    Raises:
        KitError: the package has compiled parts, no list of its files, or no licence file.
    """
    package = metadata.distribution(name)
    if "Root-Is-Purelib: true" not in (package.read_text("WHEEL") or "") or not package.files:
        raise KitError(f"{name}: is not a pure-Python package: its wheel would not work on Kaggle's Python")
    content = {
        file.as_posix(): Path(str(file.locate())).read_bytes()
        for file in sorted(package.files)
        if file.parts[0] != ".." and "__pycache__" not in file.parts and not file.parts[0].endswith(".dist-info")
    }
    licences = {
        f"licenses/{file.name}": Path(str(file.locate())).read_bytes()
        for file in sorted(package.files)
        if file.parts[0].endswith(".dist-info") and file.name.upper().startswith(("LICEN", "COPYING", "NOTICE"))
    }
    if not licences:
        raise KitError(f"{name}: has no licence file, and must not go to Kaggle without it")
    info = {"METADATA": (package.read_text("METADATA") or "").encode(), **licences}
    return _write(folder, package.name, package.version, content, info)


def _write(
    folder: Path, name: str, version: str, content: dict[str, bytes], info: dict[str, bytes], build: str = ""
) -> Path:
    stem = f"{name.replace('-', '_')}-{version}"
    content = content | {f"{stem}.dist-info/{file}": data for file, data in info.items()}
    path = folder / f"{stem}-{build}py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, data in content.items():
            archive.writestr(zipfile.ZipInfo(file, EPOCH), data, zipfile.ZIP_DEFLATED)
    return path
