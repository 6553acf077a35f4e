"""Files that are never half-written, and their hashes.

A reader sees either the old or the new file, whatever happens to the writer: content is written to a temporary file
beside the target, flushed to the disk and renamed over it.
"""

import csv
import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock

from kit.core.errors import KitError, printable, system_error, unreadable, unwritable

log = logging.getLogger(__name__)


def is_file_or_raise(path: Path | str) -> bool:
    """Whether there is a file at `path`.

    Raises:
        KitError: there is something other than a file, or the path cannot be examined.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(path, error) from None
    if not stat.S_ISREG(mode):
        raise KitError(f"{printable(path)}: is not a file: move it away")
    return True


@contextmanager
def opened(path: Path | str) -> Iterator[io.BufferedReader]:
    """Opens a file for reading.

    Raises:
        KitError: the file is missing, is not a file, or cannot be read, now or later in the block.
    """
    try:
        with open(path, "rb") as handle:
            yield handle
    except OSError as error:
        if error.filename not in (None, os.fspath(path)):  # an error of another file
            raise
        raise unreadable(path, error) from error


def read_bytes(path: Path | str) -> bytes:
    """Reads a file."""
    with opened(path) as handle:
        return handle.read()


def read_text(path: Path | str) -> str:
    """Reads a text file."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise KitError(f"{printable(path)}: is not UTF-8 text ({error}): fetch or write it again") from None


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Turns an OSError in the block into a KitError: the file or folder at `path` cannot be written."""
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`; the file written there replaces `path` when the block succeeds.

    The folder is made if missing, and leftovers of a killed writer are overwritten. If the block raises, `path` stays
    as it was.

    Raises:
        KitError: there is something other than a file, or any step of writing fails.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        is_file_or_raise(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _claimed(temporary, temporary.touch):
            try:
                yield temporary
                with open(temporary, "rb") as handle:
                    os.fsync(handle.fileno())
                os.replace(temporary, path)
            except BaseException:
                with suppress(OSError):  # the next writer overwrites it
                    temporary.unlink()
                raise
            _sync_folder(path.parent)
    except Exception as error:
        cause = None if isinstance(error, KitError) else system_error(error)
        # Errors of files that the block reads pass unchanged.
        if cause is None or cause.filename not in (None, str(temporary), str(path), str(path.parent)):
            raise
        raise unwritable(path, cause) from error


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """Yields a temporary folder beside `path`, which replaces the folder `path` when the block succeeds."""
    path = Path(path)
    path = path.resolve() if path.is_symlink() else path  # a link may lead to another disk
    temporary = _temporary(path)
    new, old = temporary / "new", temporary / "old"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _claimed(temporary, lambda: temporary.mkdir(exist_ok=True)):
            try:
                for leftover in temporary.iterdir():  # of a killed writer
                    shutil.rmtree(leftover)
                new.mkdir()
                yield new
                try:
                    if path.exists():
                        path.rename(old)
                    new.rename(path)
                except BaseException:  # also an interrupt
                    if old.exists() and not path.exists():
                        old.rename(path)
                    raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def _claimed(temporary: Path, make: Callable[[], object]) -> Iterator[None]:
    """Makes and locks a temporary file or folder; takes over a killed writer's, and waits for a running writer."""
    while True:
        make()
        with suppress(FileNotFoundError):  # another writer has renamed or removed it
            handle = os.open(temporary, os.O_RDONLY)
            with suppress(OSError):  # not every file system has locks
                fcntl.flock(handle, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(handle), os.stat(temporary)):
                    break
            os.close(handle)
    try:
        yield
    finally:
        os.close(handle)


@contextmanager
def locked(path: Path | str, busy: str | None = None) -> Iterator[None]:
    """Holds a lock on `path` while the block runs, by a hidden lock file beside it.

    A process that dies releases its locks. On a file system without locks, a warning is logged instead.

    Args:
        path: File or folder that the block makes.
        busy: Error message if another process holds the lock; None: wait for that process.

    Raises:
        KitError: another process holds the lock, or the folder cannot be written.
    """
    path = Path(path)
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if busy is not None:
                raise KitError(f"{printable(path)}: {busy}") from None
            log.info("%s: waiting for another process to finish", path)
            lock.acquire()
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise unwritable(path, error) from None
        log.warning("%s: the file system has no locks: never run two commands there at once", printable(path.parent))
    try:
        yield
    finally:
        lock.release()


def write_bytes(path: Path | str, content: bytes) -> None:
    """Writes a file."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    """Writes a file as UTF-8 text, without changing line ends."""
    write_bytes(path, text.encode())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_text(path, text.getvalue())


def write_json(path: Path | str, value: Any) -> None:
    """Writes a value as indented JSON with a final newline; raises a ValueError for NaN and infinity."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """Reads a JSON file."""
    content = read_bytes(path)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        remedy = "remove it and run the command that writes it"
        raise KitError(f"{path}: is not JSON ({printable(error)}): {remedy}") from None


def copy(source: Path | str, target: Path | str) -> None:
    """Copies a file to `target`, replacing any file there."""
    with opened(source) as content, replacing(target) as temporary, open(temporary, "wb") as handle:
        shutil.copyfileobj(content, handle)


def set_aside(path: Path) -> None:
    """Renames a file to `NAME.previous.SUFFIX`, so that an old result does not pass for the result of a failed run."""
    if is_file_or_raise(path):
        with writing(path):
            os.replace(path, path.with_name(f"{path.stem}.previous{path.suffix}"))


def sha256(path: Path | str) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with opened(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Flushes a rename to the disk, if the file system can flush folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
