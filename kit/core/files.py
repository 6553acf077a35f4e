"""Files that are never half-written, and their identity.

A reader sees the old file or the new one, whatever happens to the writer: everything is written to a temporary file
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
    """Whether a file lies at `path`.

    Raises:
        KitError: something else than a file has its name, or that cannot be told.
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
    """A file, open for reading.

    Raises:
        KitError: it is missing, no file, or cannot be read, now or while the block reads it.
    """
    try:
        with open(path, "rb") as handle:
            yield handle
    except OSError as error:
        if error.filename not in (None, os.fspath(path)):  # of another file
            raise
        raise unreadable(path, error) from error


def read_bytes(path: Path | str) -> bytes:
    """The content of a file."""
    with opened(path) as handle:
        return handle.read()


def read_text(path: Path | str) -> str:
    """The content of a file as text."""
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise KitError(f"{printable(path)}: is not a text ({error}): fetch or write it again") from None


@contextmanager
def writing(path: Path | str) -> Iterator[None]:
    """Names the file or folder that the block writes where the system refuses.

    Raises:
        KitError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what was written there takes its place when the block ends well.

    The folder is made when missing, and what a killed writer has left is overwritten. When the block raises, `path` is
    left as it was.

    Raises:
        KitError: something else than a file lies there, or it cannot be written, whichever step fails.
    """
    path = Path(path)
    temporary = _temporary(path)
    try:
        is_file_or_raise(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _held(temporary, temporary.touch):
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
        reason = None if isinstance(error, KitError) else system_error(error)
        # A file that the block reads has an error of its own.
        if reason is None or reason.filename not in (None, str(temporary), str(path), str(path.parent)):
            raise
        raise unwritable(path, reason) from error


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """Gives a temporary folder beside `path`; it takes the place of the folder `path` when the block ends well."""
    path = Path(path)
    path = path.resolve() if path.is_symlink() else path  # its folder may lie on another disk
    temporary = _temporary(path)
    new, old = temporary / "new", temporary / "old"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with _held(temporary, lambda: temporary.mkdir(exist_ok=True)):
            try:
                for left in temporary.iterdir():  # by a writer that was killed
                    shutil.rmtree(left)
                new.mkdir()
                yield new
                try:
                    if path.exists():
                        path.rename(old)
                    new.rename(path)
                except BaseException:  # an interrupt, too: what lies beside goes at the end
                    if old.exists() and not path.exists():
                        old.rename(path)
                    raise
            finally:
                shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Where what becomes `path` is written."""
    return path.with_name(f".{path.name}.tmp")


@contextmanager
def _held(temporary: Path, make: Callable[[], object]) -> Iterator[None]:
    """Makes a temporary file or folder, or takes over what a killed writer has left; waits for a living writer."""
    while True:
        make()
        with suppress(FileNotFoundError):  # another writer has renamed or removed it
            handle = os.open(temporary, os.O_RDONLY)
            with suppress(OSError):  # there are disks that know no locks
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
    """Keeps every other process from `path` while the block runs, by a hidden lock file beside it.

    The lock ends with the process, however that ends. On a file system without locks a warning takes its place.

    Args:
        path: What the block makes.
        busy: What to say where another process holds it; None: wait for that process to finish.

    Raises:
        KitError: another process holds it, or the folder cannot be written.
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
        log.warning("%s: the file system knows no locks: let no two commands run there at once", printable(path.parent))
    try:
        yield
    finally:
        lock.release()


def write_bytes(path: Path | str, content: bytes) -> None:
    """Writes these bytes."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path | str, text: str) -> None:
    """Writes `text` as UTF-8 with its line ends as they are."""
    write_bytes(path, text.encode())


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Writes a table, as a whole or not at all."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_text(path, text.getvalue())


def write_json(path: Path | str, value: Any) -> None:
    """Writes `value` as indented JSON, a final newline included. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The value in a JSON file."""
    content = read_bytes(path)
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        what = f"{path}: is not JSON ({printable(error)})"
        raise KitError(f"{what}: remove it and run the command that writes it") from None


def copy(source: Path | str, target: Path | str) -> None:
    """Copies a file's bytes over `target`."""
    with opened(source) as content, replacing(target) as temporary, open(temporary, "wb") as handle:
        shutil.copyfileobj(content, handle)


def set_aside(path: Path) -> None:
    """Renames a file to `NAME.previous.SUFFIX`, so that a failure does not leave an old answer that looks fresh."""
    if is_file_or_raise(path):
        with writing(path):
            os.replace(path, path.with_name(f"{path.stem}.previous{path.suffix}"))


def sha256(path: Path | str) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with opened(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
    """Brings a rename to the disk, where the file system can; some know no flushing of folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
