"""Knows what each artefact was made from and whether it is current: the one place that decides what must be made.

An **array**, such as a cache or the maps of a fold, stores a key with each row: a hash of everything that the row was
made from. A row is current if its stored key equals the expected key. A killed run therefore resumes where it stopped,
and a changed image, label or weight only costs its own rows. While rows are missing, the array has a hidden name; an
array under its final name is complete. A row's key is written after the row has reached the disk, so a power cut may
lose rows but never leaves the key of a lost row. A row whose source cannot be read holds zeros, and its key is marked.
Beside `x.npy`, an array of shape (N, ...), are `x.ids.txt` (one id per line) and `x.keys` (32 bytes per row).

A **file** stores its inputs (JSON values, mostly hashes) and the hash of its content beside it in `NAME.origin.json`.

Inputs and keys include the version of the code that makes the artefact (reader, resizer, quantiser), so that results of
older code are never taken for current.
"""

import errno
import functools
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kit.core.arrays import open_array, save_array
from kit.core.distributed import ALONE, STAND_INS, Team
from kit.core.errors import KitError
from kit.core.files import (
    is_file_or_raise,
    read_bytes,
    read_json,
    replacing,
    set_aside,
    sha256,
    write_bytes,
    write_json,
    writing,
)

log = logging.getLogger(__name__)

KEY_BYTES = 32
_UNREADABLE = b"\xff" * 8
"""First bytes of the key of an unreadable row; one SHA-256 in 2^64 begins like this."""
_MAX_UNFLUSHED_ROWS, _MAX_UNFLUSHED_SECONDS = 64, 2.0
"""Rows and seconds between two flushes, whose work a kill may cost; to flush each row would be slow."""

Made = Iterable[tuple[int, Sequence[npt.ArrayLike] | KitError]]
"""Finished rows: each index with one row for each array, or with the error if its source cannot be read."""


def key_of(*parts: str | bytes) -> bytes:
    """Returns the 32-byte key of a row that is made from these parts."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def content_of(path: Path) -> str:
    """Returns the hash of a file's content, for a key; unreadable files are reported later, when they are decoded.

    If `distributed.STAND_INS` says that the file replaces another one, the hash of the original is returned.
    """
    try:
        digest = sha256(path)
    except KitError:
        return "unreadable"
    return _stand_ins().get(digest, digest)


@functools.cache
def _stand_ins() -> dict[str, str]:
    path = os.environ.get(STAND_INS)
    return read_json(path) if path else {}


@dataclass(frozen=True)
class Array:
    """An array on the disk, with the expected key of each row."""

    path: Path
    """The .npy file."""
    ids: Sequence[str]
    """Id of each row."""
    keys: Sequence[bytes]
    """Expected 32-byte key of each row, by `key_of`."""
    shape: tuple[int, ...]
    """Shape of one row; () for a number."""
    dtype: npt.DTypeLike = np.uint8

    def is_current(self, *, skip_unreadable: bool = False) -> bool:
        """Whether the array has this shape and type, and every row its expected key.

        Args:
            skip_unreadable: Accept rows that are marked as unreadable.
        """
        ids = ids_path(self.path)
        return (
            self._fits(self.path)
            and bool(_is_made(open_array(keys_path(self.path)), self._keys(), skip_unreadable=skip_unreadable).all())
            and is_file_or_raise(ids)
            and read_bytes(ids) == id_lines(self.ids)
        )

    def _keys(self) -> np.ndarray:
        """Returns the expected keys as uint8 (N, 32)."""
        return np.frombuffer(b"".join(self.keys), np.uint8).reshape(len(self.keys), KEY_BYTES)

    def _fits(self, path: Path) -> bool:
        """Whether there is an array of this shape and type at `path`, and as many keys beside the final path."""
        if not (is_file_or_raise(path) and is_file_or_raise(keys_path(self.path))):
            return False
        try:
            rows, keys = open_array(path), open_array(keys_path(self.path))
        except KitError:
            return False
        expected = (len(self.ids), *self.shape), np.dtype(self.dtype), (len(self.ids), KEY_BYTES), np.dtype(np.uint8)
        return (rows.shape, rows.dtype, keys.shape, keys.dtype) == expected


def fill(
    arrays: Sequence[Array],
    make: Callable[[Sequence[int]], Made],
    team: Team = ALONE,
    *,
    skip_unreadable: bool = False,
) -> tuple[bool, list[KitError]]:
    """Makes the missing rows of several arrays that have the same sources.

    Args:
        make: Called with ascending indices; makes the rows of each index for all arrays, in any order.
        team: Processes that share the work; each of them calls this function.
        skip_unreadable: Finish the arrays despite unreadable rows, and do not retry rows that are marked as unreadable.

    Returns:
        Whether any row was missing, and the errors of the unreadable rows; both are the same in every process.
    """
    writers = [_Writer(array, team, skip_unreadable=skip_unreadable) for array in arrays]
    todo = sorted({int(index) for writer in writers for index in writer.missing()})
    team.barrier()
    share = team.share(todo)
    errors: dict[int, KitError] = {}

    def store(made: Made) -> None:
        for index, rows in made:
            if isinstance(rows, KitError):
                errors[index] = rows
                for writer in writers:
                    writer.put_unreadable(index)
            else:
                for writer, row in zip(writers, rows, strict=True):
                    writer.put(index, row)

    try:
        if share:
            store(make(share))
    finally:  # an interrupted process keeps the rows that it has made
        for writer in writers:
            writer.flush()
    team.barrier()
    failed = {int(index) for writer in writers for index in writer.unreadable()}
    if elsewhere := sorted(failed & set(todo) - errors.keys()):
        store(make(elsewhere))  # rows that another process could not read are tried again, for their errors
        for writer in writers:
            writer.flush()
    for index in sorted(failed - set(todo)):
        log.warning("skipping %s: unreadable in an earlier run", arrays[0].ids[index])
    if skip_unreadable or not errors:
        for writer in writers:
            writer.finish()
    return bool(todo), [errors[index] for index in sorted(errors)]


def keys_path(path: Path) -> Path:
    """Returns the path of the keys of the array at `path`."""
    return path.with_suffix(".keys")


def read_keys(path: Path) -> list[bytes]:
    """Reads the key of each row of a finished array."""
    keys = open_array(keys_path(path))
    if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != KEY_BYTES:
        raise KitError(f"{keys_path(path)}: does not hold the keys of {path.name}: remove both and run again")
    return [row.tobytes() for row in keys]


def unreadable_rows(path: Path) -> np.ndarray:
    """Returns which rows of a finished array have an unreadable source, bool (N,)."""
    return _is_marked(open_array(keys_path(path)))


@dataclass(frozen=True)
class File:
    """A file that is made in one step, with its expected inputs."""

    path: Path
    inputs: dict[str, Any]
    """JSON values by name."""

    def is_current(self) -> bool:
        """Whether the file was made from exactly these inputs and has not changed since."""
        return is_file_or_raise(self.path) and inputs_of(self.path) == self.inputs | {"content": sha256(self.path)}

    def begin(self, *, keep_previous: bool = False) -> None:
        """Records that the file is about to be made, unless it is current.

        A file that a kill leaves behind then passes neither for current nor for one that the user has supplied.

        Args:
            keep_previous: Rename a file with other inputs to `NAME.previous.SUFFIX`.
        """
        if not self.is_current() and inputs_of(self.path) != self.inputs:  # otherwise it was begun before
            if keep_previous:
                set_aside(self.path)
            write_json(_inputs_path(self.path), self.inputs)

    def build(self, make: Callable[[], object]) -> bool:
        """Makes the file unless it is current; returns whether it had to be made."""
        if self.is_current():
            return False
        self.begin()
        make()
        write_json(_inputs_path(self.path), self.inputs | {"content": sha256(self.path)})
        return True


def inputs_of(path: Path) -> dict[str, Any]:
    """Reads the recorded inputs of a file, with the hash of a complete file as `content`; empty without a record."""
    record = _inputs_path(path)
    inputs = read_json(record) if is_file_or_raise(record) else {}
    if not isinstance(inputs, dict):
        raise KitError(f"{record}: is not a mapping of names to values: remove it and run the same command again")
    return inputs


class _Writer:
    """Writes rows of an array; each process of a team has a writer for its own rows."""

    def __init__(self, array: Array, team: Team, *, skip_unreadable: bool) -> None:
        self._array, self._team, self._skip, self._expected = array, team, skip_unreadable, array._keys()
        self._part = array.path.with_name(f".{array.path.name}.part")
        self._unflushed: list[int] = []
        self._flushed = time.monotonic()
        self._lock = threading.Lock()
        if team.first and not array.is_current(skip_unreadable=skip_unreadable):
            self._start()
        team.barrier()
        begun = is_file_or_raise(self._part)
        self._offset = open_array(self._part if begun else array.path).offset  # bytes before the first row
        self._keys = open_array(keys_path(array.path), "r+" if begun else "r")  # (N, 32)

    def missing(self) -> np.ndarray:
        """Returns the indices of the rows that are not made or not flushed yet, ascending."""
        return np.flatnonzero(~_is_made(self._keys, self._expected, skip_unreadable=self._skip))

    def unreadable(self) -> np.ndarray:
        """Returns the indices of the rows whose source could not be read, ascending."""
        return np.flatnonzero(_is_marked(self._keys) & _is_made(self._keys, self._expected, skip_unreadable=True))

    def put(self, index: int, row: npt.ArrayLike) -> None:
        """Writes a row unless it is made already; its key follows when the row is on the disk."""
        if (self._keys[index] == self._expected[index]).all():
            return
        self._write(index, row)
        with self._lock:
            self._unflushed.append(index)
            if len(self._unflushed) >= _MAX_UNFLUSHED_ROWS or time.monotonic() - self._flushed > _MAX_UNFLUSHED_SECONDS:
                self._flush()

    def put_unreadable(self, index: int) -> None:
        """Marks a row as unreadable unless it is made or marked already."""
        if _is_made(self._keys[index : index + 1], self._expected[index : index + 1], skip_unreadable=True)[0]:
            return
        self._write(index, 0)
        self._keys[index] = _mark(self._expected[index])

    def flush(self) -> None:
        """Flushes all written rows to the disk, then writes their keys."""
        with self._lock:
            self._flush()

    def finish(self) -> None:
        """Moves the array to its final name."""
        self._team.barrier()
        if self._team.first and is_file_or_raise(self._part):
            write_bytes(ids_path(self._array.path), id_lines(self._array.ids))
            with writing(self._array.path):
                os.replace(self._part, self._array.path)
        self._team.barrier()

    def _write(self, index: int, row: npt.ArrayLike) -> None:
        """Writes a row without the memory map, which would fault in each page first."""
        values = np.empty(self._array.shape, self._array.dtype)
        values[...] = row
        with writing(self._part):
            handle = os.open(self._part, os.O_WRONLY)
            try:
                if os.pwrite(handle, values.data, self._offset + index * values.nbytes) < values.nbytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(handle)

    def _flush(self) -> None:
        if self._unflushed:
            with writing(self._part), open(self._part, "rb") as handle:
                os.fsync(handle.fileno())
                self._keys[self._unflushed] = self._expected[self._unflushed]
                self._keys.flush()
            self._unflushed.clear()
        self._flushed = time.monotonic()

    def _start(self) -> None:
        """Moves the array to its hidden name, or makes it, and clears the keys of rows that will be overwritten."""
        array = self._array
        is_file_or_raise(self._part)  # raises if anything but a file is there
        if array._fits(array.path):
            with writing(self._part):
                os.replace(array.path, self._part)
        elif not array._fits(self._part):
            array.path.unlink(missing_ok=True)
            # Not through a memory map, which would crash the process on a full disk.
            save_array(keys_path(array.path), np.zeros_like(self._expected))
            with replacing(self._part) as temporary:
                np.lib.format.open_memmap(temporary, "w+", np.dtype(array.dtype), (len(array.ids), *array.shape))
        keys = open_array(keys_path(array.path), "r+")
        keys[~_is_made(keys, self._expected, skip_unreadable=True)] = 0
        keys.flush()


def ids_path(path: Path) -> Path:
    """Returns the path of the ids of the array at `path`."""
    return path.with_suffix(".ids.txt")


def _inputs_path(path: Path) -> Path:
    return path.with_suffix(".origin.json")


def id_lines(ids: Sequence[str]) -> bytes:
    """Formats ids as the content of an `.ids.txt` file."""
    return "".join(f"{image_id}\n" for image_id in ids).encode()


def _mark(keys: np.ndarray) -> np.ndarray:
    """Returns keys (..., 32) marked as unreadable."""
    marked = keys.copy()
    marked[..., : len(_UNREADABLE)] = np.frombuffer(_UNREADABLE, np.uint8)
    return marked


def _is_marked(keys: np.ndarray) -> np.ndarray:
    """Returns which keys (N, 32) are marked as unreadable, bool (N,)."""
    return (keys[:, : len(_UNREADABLE)] == 255).all(axis=1)


def _is_made(keys: np.ndarray, expected: np.ndarray, *, skip_unreadable: bool) -> np.ndarray:
    """Returns which keys (N, 32) are as expected, or marked so if unreadable rows are skipped, bool (N,)."""
    made = (keys == expected).all(axis=1)
    return made | (keys == _mark(expected)).all(axis=1) if skip_unreadable else made
