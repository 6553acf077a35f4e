"""What was made, from what, and whether it is current: the one place that answers "is there anything to do?".

An **array** of rows, such as a cache or the maps of a fold, holds for each row a key of what the row was made from. A
row whose stored key is the wanted one is done; all others are still to be made. So a killed run resumes where it was,
and a changed image, label or weight costs its own rows only. While rows are missing the array lies under a hidden name:
what has the final name is complete. A row's key is written after the row has reached the disk: a machine that loses
its power loses rows, and never keeps the key of a row that it has lost. A row whose source cannot be read holds zeros,
and its key says so. Beside `x.npy`, an array of shape (N, ...), lie `x.ids.txt` (an id a line) and `x.keys` (32 bytes
a row).

A **file** has its inputs, JSON values and mostly hashes, and the hash of its content beside it in `NAME.origin.json`.

Inputs and keys hold a version of the code that makes the thing (reader, resizer, quantiser), so that a better maker
never leaves old results that look fresh.
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
"""How the key of an unreadable row begins; a SHA-256 does so once in 2^64."""
_WAITING_ROWS, _WAITING_SECONDS = 64, 2.0
"""How much a kill may cost, so that the disk is not waited for at each row."""

Made = Iterable[tuple[int, Sequence[npt.ArrayLike] | KitError]]
"""Rows as they are made: an index with a row for each array, or with the reason why its source cannot be read."""


def key_of(*parts: str | bytes) -> bytes:
    """The 32-byte key of what a row is made from."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def content_of(path: Path) -> str:
    """What a file is as a part of a key; one that cannot be read is reported when it is decoded.

    A file that replaces another one by `distributed.STAND_INS` counts as that one.
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
    """An array on the disk, and what its rows are to be made from."""

    path: Path
    """The .npy file."""
    ids: Sequence[str]
    """One a row."""
    keys: Sequence[bytes]
    """The wanted 32-byte key of each row, by `key_of`."""
    shape: tuple[int, ...]
    """Of one row; () for a number."""
    dtype: npt.DTypeLike = np.uint8

    def is_current(self, skip_unreadable: bool = False) -> bool:
        """Whether every row is there, of that shape and type, made from its key.

        Args:
            skip_unreadable: Whether rows that were recorded as unreadable count as made.
        """
        beside = ids_path(self.path)
        return (
            self._fits(self.path)
            and bool(_made(open_array(keys_path(self.path)), self._wanted(), skip_unreadable).all())
            and is_file_or_raise(beside)
            and read_bytes(beside) == id_lines(self.ids)
        )

    def _wanted(self) -> np.ndarray:
        """The wanted keys as uint8 (N, 32)."""
        return np.frombuffer(b"".join(self.keys), np.uint8).reshape(len(self.keys), KEY_BYTES)

    def _fits(self, path: Path) -> bool:
        """Whether an array of this shape and type lies there, and beside the final name as many keys."""
        if not (is_file_or_raise(path) and is_file_or_raise(keys_path(self.path))):
            return False
        try:
            rows, known = open_array(path), open_array(keys_path(self.path))
        except KitError:
            return False
        wanted = (len(self.ids), *self.shape), np.dtype(self.dtype), (len(self.ids), KEY_BYTES), np.dtype(np.uint8)
        return (rows.shape, rows.dtype, known.shape, known.dtype) == wanted


def fill(
    arrays: Sequence[Array],
    make: Callable[[Sequence[int]], Made],
    team: Team = ALONE,
    skip_unreadable: bool = False,
) -> tuple[bool, list[KitError]]:
    """Makes the missing rows of arrays whose rows come from the same sources, one index at a time for all of them.

    Args:
        make: Makes the rows of some indices, ascending; it may make them in any order.
        team: The processes that share the work; each of them calls this.
        skip_unreadable: Leave rows alone that were recorded as unreadable; otherwise they are tried again.

    Returns:
        Whether any row was missing, and why rows could not be made, the same in every process. Unless these are
        skipped, the arrays stay unfinished where there are any.
    """
    writers = [_Writer(array, team, skip_unreadable) for array in arrays]
    todo = sorted({int(index) for writer in writers for index in writer.missing()})
    team.barrier()
    mine = team.share(todo)
    errors: dict[int, KitError] = {}

    def take(made: Made) -> None:
        for index, rows in made:
            if isinstance(rows, KitError):
                errors[index] = rows
                for writer in writers:
                    writer.put_unreadable(index)
            else:
                for writer, row in zip(writers, rows, strict=True):
                    writer.put(index, row)

    try:
        if mine:
            take(make(mine))
    finally:  # an interrupted process keeps what it has made
        for writer in writers:
            writer.flush()
    team.barrier()
    unread = sorted({int(index) for writer in writers for index in writer.unreadable()})
    if elsewhere := sorted(set(unread) & set(todo) - errors.keys()):
        take(make(elsewhere))  # what another process could not read is read once more for its reason
        for writer in writers:
            writer.flush()
    for index in sorted(set(unread) - set(todo)):
        log.warning("skipping %s: unreadable in an earlier run", arrays[0].ids[index])
    if skip_unreadable or not errors:
        for writer in writers:
            writer.finish()
    return bool(todo), [errors[index] for index in sorted(errors)]


def keys_path(path: Path) -> Path:
    """The file that says what the rows of the array at `path` were made from."""
    return path.with_suffix(".keys")


def read_keys(path: Path) -> list[bytes]:
    """The key of each row of a finished array."""
    keys = open_array(keys_path(path))
    if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != KEY_BYTES:
        raise KitError(f"{keys_path(path)}: does not hold the keys of {path.name}: remove both and run again")
    return [row.tobytes() for row in keys]


def unreadable(path: Path) -> np.ndarray:
    """Which rows of a finished array have a source that could not be read, bool (N,)."""
    return _is_marked(open_array(keys_path(path)))


@dataclass(frozen=True)
class File:
    """A file that is made as a whole, and what it is to be made from."""

    path: Path
    inputs: dict[str, Any]
    """JSON values by name."""

    def is_current(self) -> bool:
        """Whether the file was made from just these inputs and is as it was made."""
        return is_file_or_raise(self.path) and inputs_of(self.path) == self.inputs | {"content": sha256(self.path)}

    def begin(self, keep_previous: bool = False) -> None:
        """Says that the file is about to be made, unless it is current.

        So a kill in between never leaves a file that passes for current, or for one that the user has supplied.

        Args:
            keep_previous: Rename a file that was made from other inputs to `NAME.previous.SUFFIX`.
        """
        if not self.is_current() and inputs_of(self.path) != self.inputs:  # else it was begun, and interrupted
            if keep_previous:
                set_aside(self.path)
            write_json(_inputs_path(self.path), self.inputs)

    def build(self, make: Callable[[], object]) -> bool:
        """Makes the file unless it is current; whether there was anything to do."""
        if self.is_current():
            return False
        self.begin()
        make()
        write_json(_inputs_path(self.path), self.inputs | {"content": sha256(self.path)})
        return True


def inputs_of(path: Path) -> dict[str, Any]:
    """What a file was made from, and as `content` its hash once it was complete; empty where nothing is known."""
    beside = _inputs_path(path)
    found = read_json(beside) if is_file_or_raise(beside) else {}
    if not isinstance(found, dict):
        raise KitError(f"{beside}: is not a mapping of names to values: remove it and run the same command again")
    return found


class _Writer:
    """An array that is being made by the processes of a team, each of which opens it and makes its own rows."""

    def __init__(self, array: Array, team: Team, skip_unreadable: bool) -> None:
        self._array, self._team, self._skip, self._wanted = array, team, skip_unreadable, array._wanted()
        self._part = array.path.with_name(f".{array.path.name}.part")
        self._waiting: list[int] = []
        self._flushed = time.monotonic()
        self._lock = threading.Lock()
        if team.first and not array.is_current(skip_unreadable):
            self._start()
        team.barrier()
        begun = is_file_or_raise(self._part)
        self._offset = open_array(self._part if begun else array.path).offset  # bytes before the first row
        self._keys = open_array(keys_path(array.path), "r+" if begun else "r")  # (N, 32)

    def missing(self) -> np.ndarray:
        """Indices of the rows that are still to be made, ascending; rows that wait for the disk are among them."""
        return np.flatnonzero(~_made(self._keys, self._wanted, self._skip))

    def unreadable(self) -> np.ndarray:
        """Indices of the rows whose source could not be read, ascending."""
        return np.flatnonzero(_is_marked(self._keys) & _made(self._keys, self._wanted, skip_unreadable=True))

    def put(self, index: int, row: npt.ArrayLike) -> None:
        """Stores a row unless it is made already; it counts as made only once all of it is on the disk."""
        if (self._keys[index] == self._wanted[index]).all():
            return
        self._write(index, row)
        with self._lock:
            self._waiting.append(index)
            if len(self._waiting) >= _WAITING_ROWS or time.monotonic() - self._flushed > _WAITING_SECONDS:
                self._flush()

    def put_unreadable(self, index: int) -> None:
        """Records that the source of a row cannot be read, unless the row is made or recorded already."""
        if _made(self._keys[index : index + 1], self._wanted[index : index + 1], skip_unreadable=True)[0]:
            return
        self._write(index, 0)
        self._keys[index] = _mark(self._wanted[index])

    def flush(self) -> None:
        """Brings every stored row to the disk, then its key."""
        with self._lock:
            self._flush()

    def finish(self) -> None:
        """Gives the array its final name."""
        self._team.barrier()
        if self._team.first and is_file_or_raise(self._part):
            write_bytes(ids_path(self._array.path), id_lines(self._array.ids))
            with writing(self._array.path):
                os.replace(self._part, self._array.path)
        self._team.barrier()

    def _write(self, index: int, row: npt.ArrayLike) -> None:
        """Writes a row into the file; through a mapping, the system would have to fault in each of its pages."""
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
        if self._waiting:
            with writing(self._part), open(self._part, "rb") as handle:
                os.fsync(handle.fileno())
                self._keys[self._waiting] = self._wanted[self._waiting]
                self._keys.flush()
            self._waiting.clear()
        self._flushed = time.monotonic()

    def _start(self) -> None:
        """Brings the array under its hidden name, with no key of a row that is about to be overwritten."""
        array = self._array
        is_file_or_raise(self._part)
        if array._fits(array.path):
            with writing(self._part):
                os.replace(array.path, self._part)
        elif not array._fits(self._part):
            array.path.unlink(missing_ok=True)
            # Written block by block: where the disk is full, writing through a mapping would end the process.
            save_array(keys_path(array.path), np.zeros_like(self._wanted))
            with replacing(self._part) as temporary:
                np.lib.format.open_memmap(temporary, "w+", np.dtype(array.dtype), (len(array.ids), *array.shape))
        keys = open_array(keys_path(array.path), "r+")
        keys[~_made(keys, self._wanted, skip_unreadable=True)] = 0
        keys.flush()


def ids_path(path: Path) -> Path:
    """Where the ids of an array's rows lie."""
    return path.with_suffix(".ids.txt")


def _inputs_path(path: Path) -> Path:
    return path.with_suffix(".origin.json")


def id_lines(ids: Sequence[str]) -> bytes:
    """Ids as that file holds them, one a line."""
    return "".join(f"{image_id}\n" for image_id in ids).encode()


def _mark(keys: np.ndarray) -> np.ndarray:
    """Keys (..., 32) as those of unreadable rows."""
    marked = keys.copy()
    marked[..., : len(_UNREADABLE)] = np.frombuffer(_UNREADABLE, np.uint8)
    return marked


def _is_marked(keys: np.ndarray) -> np.ndarray:
    """Which keys (N, 32) are those of unreadable rows, bool (N,)."""
    return (keys[:, : len(_UNREADABLE)] == 255).all(axis=1)


def _made(known: np.ndarray, wanted: np.ndarray, skip_unreadable: bool) -> np.ndarray:
    """Which rows are as wanted by their keys (N, 32), bool (N,)."""
    made = (known == wanted).all(axis=1)
    return made | (known == _mark(wanted)).all(axis=1) if skip_unreadable else made
