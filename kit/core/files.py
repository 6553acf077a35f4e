"""Files that are never half-written, and their identity.

A reader sees the old file or the new one, whatever happens to the writer: everything is written to a temporary file
beside the target, flushed to the disk and renamed over it. Only regular files are opened: a FIFO would be waited for.
"""

import hashlib
import io
import json
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import filelock

from kit.core.errors import KitError, printable, system_error, unreadable, unwritable
from kit.core.temporary import sweep, temporary_beside

log = logging.getLogger(__name__)

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def present(path: Path | str) -> bool:
    """Whether a regular file lies at `path`.

    Raises:
        KitError: something else has its name: a folder, a FIFO, a socket, a device, a link that leads nowhere.
    """
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if os.path.islink(path):
            raise KitError(f"{printable(path)}: is a link that leads nowhere: remove it") from None
        return False
    except NotADirectoryError:
        return False
    except (OSError, ValueError) as error:
        raise _unread(path, error) from None
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise KitError(f"{printable(path)}: is {kind}, not a file: move it away")
    return True


def below(folder: Path | str) -> Iterator[Path]:
    """All files and folders below a folder, in no order; none below one that does not exist.

    As `Path.rglob`, which passes over folders that may not be listed as if they were empty. What macOS leaves beside
    files on other systems' disks, `._NAME`, is left out.

    Raises:
        KitError: a folder cannot be listed.
    """

    def refuse(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            raise unreadable(error.filename, error) from None

    for place, folders, names in os.walk(folder, onerror=refuse):
        for name in (*folders, *names):
            if not name.startswith("._"):
                yield Path(place, name)


@contextmanager
def opened(path: Path | str) -> Iterator[io.BufferedReader]:
    """A regular file, open for reading.

    Raises:
        KitError: it is missing, no regular file, or cannot be read, now or while the block reads it.
    """
    try:
        handle = os.fdopen(
            os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb"
        )  # a FIFO without a writer is not waited for
    except (OSError, ValueError) as error:
        raise _unread(path, error) from None
    with handle:
        if not stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
            present(path)
            raise KitError(f"{printable(path)}: is not a regular file: move it away")
        try:
            yield handle
        except OSError as error:
            if error.filename is None:
                raise unreadable(path, error) from error
            raise


def _unread(path: Path | str, error: OSError | ValueError) -> KitError:
    if isinstance(error, IsADirectoryError):
        return KitError(f"{printable(path)}: is a folder, not a file: move it away")
    if isinstance(error, OSError):
        return unreadable(path, error)
    return KitError(f"{printable(path)}: is not the name of a file ({error}): check the path")


def read_bytes(path: Path | str) -> bytes:
    """The content of a regular file.

    Raises:
        KitError: as `opened`.
    """
    with opened(path) as handle:
        return handle.read()


def read_text(path: Path | str) -> str:
    """The content of a regular file as text.

    Raises:
        KitError: as `opened`, or it is not UTF-8.
    """
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError as error:
        raise KitError(f"{printable(path)}: is not a text ({error}): fetch or write it again") from None


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Gives a temporary path beside `path`; what was written there takes its place when the block ends well.

    The folder is made when missing, and what killed writers of `path` have left is removed. When the block raises,
    `path` is left as it was.

    Raises:
        KitError: something else than a file lies there, or it cannot be written, whichever step fails.
    """
    path = Path(path)
    temporary = temporary_beside(path)
    try:
        present(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent.absolute())
        temporary.touch()
        yield temporary
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except Exception as error:
        reason = None if isinstance(error, KitError) else system_error(error)
        # A file that the block reads has an error of its own.
        if reason is None or reason.filename not in (None, str(temporary), str(path), str(path.parent)):
            raise
        raise unwritable(path, reason) from error
    finally:
        with suppress(OSError):  # the next writer removes it
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path | str) -> Iterator[Path]:
    """Gives a temporary folder beside `path`; it takes the place of the folder `path` when the block ends well.

    Raises:
        KitError: the folder cannot be written.
    """
    path = Path(path)
    path = path.resolve() if path.is_symlink() else path  # its folder may lie on another disk
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path.parent.absolute())
        temporary = temporary_beside(path)
        with tempfile.TemporaryDirectory(prefix=f"{temporary.name}.", dir=path.parent) as beside:
            new = Path(beside, "new")
            new.mkdir()
            yield new
            old = Path(beside, "old")
            try:
                if path.exists():
                    path.rename(old)
                new.rename(path)
            except BaseException:  # an interrupt, too: what lies beside goes at the end
                if old.exists() and not path.exists():
                    old.rename(path)
                raise
    except OSError as error:
        raise unwritable(path, error) from error


@contextmanager
def locked(path: Path | str, busy: str | None = None) -> Iterator[None]:
    """Keeps every other process from `path` while the block runs, by a hidden lock file beside it.

    The lock ends with the process, however that ends.

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
        sweep(path.parent.absolute())  # here too: a call that finds all up to date writes nothing
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            if busy is not None:
                raise KitError(f"{printable(path)}: {busy}") from None
            log.info("%s: waiting for another process to finish", path)
            lock.acquire()
    except OSError as error:
        raise unwritable(path, error) from None
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


def write_json(path: Path | str, value: Any) -> None:
    """Writes `value` as indented JSON, a final newline included. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path | str) -> Any:
    """The value in a JSON file.

    Raises:
        KitError: the file is missing or is not JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except RecursionError:
        reason = "nested too deeply"
    except ValueError as error:
        if isinstance(error, KitError):
            raise
        reason = printable(error)
    raise KitError(f"{path}: is not JSON ({reason}): remove it and run the command that writes it") from None


def copy(source: Path | str, target: Path | str) -> None:
    """Copies a file's bytes over `target`."""
    with opened(source) as content, replacing(target) as temporary, open(temporary, "wb") as handle:
        shutil.copyfileobj(content, handle)


def set_aside(path: Path) -> None:
    """Renames a file to `NAME.previous.SUFFIX`, so that a failure does not leave an old answer that looks fresh.

    Raises:
        KitError: the folder cannot be written.
    """
    if present(path):
        try:
            os.replace(path, path.with_name(f"{path.stem}.previous{path.suffix}"))
        except OSError as error:
            raise unwritable(path, error) from error


def sha256(path: Path | str) -> str:
    """The SHA-256 of a regular file's bytes, in hexadecimal.

    Raises:
        KitError: as `opened`.
    """
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
