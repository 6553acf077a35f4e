"""Files that are never half-written, and their identity.

A reader sees the old file or the new one, whatever happens to the writer: everything is written to a
temporary file beside the target, flushed to the disk and renamed over it.
"""

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kit.core.errors import KitError

log = logging.getLogger(__name__)


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what was written there takes its place when the block ends well.

    The folder is made when missing. When the block raises, `path` is left as it was.

    Raises:
        KitError: the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise _unwritable(path, error) from None
    try:
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path | str, busy: str | None = None) -> Iterator[None]:
    """Keeps every other process from `path` while the block runs, by a hidden lock file beside it.

    The lock ends with the process, however that ends.

    Args:
        path: What the block makes.
        busy: What to say where another process is at it; None: wait until it has ended.

    Raises:
        KitError: another process is at it, or the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = open(path.with_name(f".{path.name}.lock"), "w")  # noqa: SIM115
    except OSError as error:
        raise _unwritable(path, error) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if busy is not None:
                raise KitError(f"{path}: {busy}") from None
            log.info("%s: another process is at it: waiting until it has ended", path)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def write_text(path: Path | str, text: str) -> None:
    """Writes `text` as UTF-8 with its line ends as they are."""
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())


def write_json(path: Path | str, value: Any) -> None:
    """Writes `value` as indented JSON, a final newline included. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The value in a JSON file.

    Raises:
        KitError: the file is missing or is not JSON.
    """
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise KitError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise KitError(f"{path}: is not JSON ({error}): remove it, and the verb that writes it makes it anew") from None


def copy(source: Path | str, target: Path | str) -> None:
    """Copies a file's bytes over `target`."""
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def is_current(path: Path, made_from: dict[str, Any]) -> bool:
    """Whether `path` is there and was marked as made from just this."""
    beside = _origin(path)
    return path.is_file() and beside.is_file() and read_json(beside) == made_from


def mark(path: Path, made_from: dict[str, Any]) -> None:
    """Writes beside `path` what it was made from: JSON values, mostly hashes."""
    write_json(_origin(path), made_from)


def origin(path: Path) -> dict[str, Any]:
    """What `path` was marked as made from; empty where nothing is known."""
    return read_json(_origin(path)) if _origin(path).is_file() else {}


def _unwritable(path: Path, error: OSError) -> KitError:
    return KitError(f"{path}: cannot be written ({error.strerror}): choose another folder or mend its rights")


def _origin(path: Path) -> Path:
    return path.with_suffix(".origin.json")


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
