"""What a fold file was made from, beside it."""

from pathlib import Path
from typing import Any

from kit.core.files import write_json
from kit.core.store import inputs_of as origin

__all__ = ["mark", "origin"]


def mark(path: Path, made_from: dict[str, Any]) -> None:
    """Writes beside `path` what it was made from: JSON values, mostly hashes."""
    write_json(path.with_suffix(".origin.json"), made_from)
