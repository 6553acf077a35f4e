"""Versions: that of the kit, for every room, and those of what is installed."""

from importlib import metadata

VERSION = "0.1.0"


def installed(name: str) -> str | None:
    """The version of an installed package; None where there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
