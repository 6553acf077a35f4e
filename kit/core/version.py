"""Versions of the kit and of installed packages."""

from importlib import metadata

VERSION = "0.1.0"


def installed(name: str) -> str | None:
    """Returns the version of a package, or None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
