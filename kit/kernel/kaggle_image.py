"""What Kaggle's Python image has (August 2026), and what a kernel must therefore bring along."""

from importlib import metadata

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kit.core.errors import KitError

PYTHON = "3.12"
IMAGE = {
    "torch": "2.10.0",
    "torchvision": "0.25.0",
    "timm": "1.0.26",
    "albumentations": "2.0.8",
    "opencv-python-headless": "4.13.0",
    "numpy": "2.0.2",
    "pandas": "2.2.2",
    "pydicom": None,
    "pytorch-lightning": None,
    "torchmetrics": None,
}
"""Packages that are known to be there, with their versions where those are known."""
NEEDED = ("segmentation-models-pytorch",)
"""What the kit's prediction imports beyond the image."""


def provided() -> dict[str, str | None]:
    """The packages of the image and all that they require, as far as they are installed here."""
    found: dict[str, str | None] = {}
    todo = [(name, version) for name, version in IMAGE.items()]
    while todo:
        name, version = todo.pop()
        if name in found or not _installed(name):
            continue
        found[name] = version
        todo += [(required.name, IMAGE.get(required.name)) for required in requirements(name)]
    return found


def brought() -> list[str]:
    """The packages that a kernel brings along: what it needs and the image lacks, and what those need in turn.

    Raises:
        KitError: one of them is not installed here, or does not get along with the image.
    """
    there, found, todo = provided(), [], list(NEEDED)
    while todo:
        name = todo.pop()
        if name in there or name in found:
            continue
        if not _installed(name):
            raise KitError(f"{name}: is needed in the kernel and not installed here: install requirements.txt")
        found.append(name)
        for required in requirements(name):
            version = there.get(required.name)
            if version is not None and version not in required.specifier:
                raise KitError(f"{name}: needs {required}, but Kaggle's image has {version}: pin another version of it")
            todo.append(required.name)
    return sorted(found)


def requirements(name: str) -> list[Requirement]:
    """What an installed package requires here, without its extras; names are canonical."""
    found = []
    for text in metadata.requires(name) or []:
        required = Requirement(text)
        if required.marker is None or required.marker.evaluate({"extra": ""}):
            required.name = canonicalize_name(required.name)
            found.append(required)
    return found


def _installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
