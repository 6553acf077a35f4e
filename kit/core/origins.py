"""What a file was made from: `NAME.origin.json` beside it tells a command whether there is anything to do."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.core.errors import KitError
from kit.core.files import present, read_json, write_json


def origin(path: Path) -> dict[str, Any]:
    """What `path` was marked as made from; empty where nothing is known.

    Raises:
        KitError: the mark is not a JSON mapping.
    """
    beside = _beside(path)
    made_from = read_json(beside) if present(beside) else {}
    if not isinstance(made_from, dict):
        raise KitError(f"{beside}: is not a mapping of names to values: remove it and run the same command again")
    return made_from


def is_current(path: Path, made_from: dict[str, Any]) -> bool:
    """Whether `path` is there and was marked as made from just this."""
    return present(path) and origin(path) == made_from


def mark(path: Path, made_from: dict[str, Any]) -> None:
    """Writes beside `path` what it was made from: JSON values, mostly hashes."""
    write_json(_beside(path), made_from)


@contextmanager
def making(path: Path, made_from: dict[str, Any]) -> Iterator[None]:
    """Marks `path`, which the block makes, when the block ends well.

    What it was made from before is forgotten at the start: a kill in between must not pass for a file that is current.
    """
    _beside(path).unlink(missing_ok=True)
    yield
    mark(path, made_from)


def _beside(path: Path) -> Path:
    return path.with_suffix(".origin.json")
