"""Arrays on the disk whose rows are made once, each under a key of what it was made from.

The cache and the probability maps are such arrays. A row whose stored key is the wanted one is done; all others
are still to be made. So a killed run resumes where it was, and a changed image, label or weight costs its own
rows only. While rows are missing the array lies under a hidden name: what has the final name is complete.

A row's key is written after the row has reached the disk: a machine that loses its power loses rows, and never
keeps the key of a row that it has lost. So keys wait, until some rows or seconds have come together.

A row whose source cannot be read is recorded as unreadable: it holds zeros, and its key says so.

Beside `x.npy`, an array of shape (N, ...), lie `x.ids.txt` (an id a line) and `x.keys` (32 bytes a row).
"""

import errno
import hashlib
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from kit.core.arrays import create_array, open_array
from kit.core.distributed import ALONE, Team
from kit.core.errors import KitError, unwritable
from kit.core.files import present, read_bytes, replacing, write_bytes

KEY_BYTES = 32
_UNREADABLE = b"\xff" * 8
"""How the key of an unreadable row begins; a SHA-256 does so once in 2^64."""
_WAITING_ROWS, _WAITING_SECONDS = 64, 2.0
"""How much a kill may cost, so that the disk is not waited for at each row."""


def key_of(*parts: str | bytes) -> bytes:
    """The 32-byte key of what a row is made from."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.digest()


def keys_path(path: Path) -> Path:
    """The file that says what the rows of `path` were made from."""
    return path.with_suffix(".keys")


def read_keys(path: Path) -> list[bytes]:
    """The key of each row of a finished array.

    Raises:
        KitError: the file of keys is missing or broken.
    """
    keys = open_array(keys_path(path))
    if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != KEY_BYTES:
        raise KitError(f"{keys_path(path)}: does not hold the keys of {path.name}: remove both and run again")
    return [row.tobytes() for row in keys]


def unreadable(path: Path) -> np.ndarray:
    """Which rows of a finished array have a source that could not be read, bool (N,)."""
    return _marked(open_array(keys_path(path)))


def is_complete(
    path: Path,
    ids: Sequence[str],
    keys: Sequence[bytes],
    shape: tuple[int, ...],
    dtype: type = np.uint8,
    skip_unreadable: bool = False,
) -> bool:
    """Whether the array at `path` has these ids and every row, of that shape and type, made from its key.

    Args:
        path: The .npy file.
        ids: One a row.
        keys: The wanted key of each row.
        shape: Of one row.
        dtype: Of the values.
        skip_unreadable: Whether rows that were recorded as unreadable count as made.
    """
    beside = _ids_path(path)
    return (
        _fits(path, keys_path(path), (len(ids), *shape), np.dtype(dtype))
        and bool(_made(open_array(keys_path(path)), _stacked(keys), skip_unreadable).all())
        and present(beside)
        and read_bytes(beside) == _lines(ids)
    )


class ResumableArray:
    """The array at `path` with rows `ids` made from `keys`.

    Args:
        path: The .npy file.
        ids: One a row.
        keys: The wanted 32-byte key of each row.
        shape: Of one row; () for a number.
        team: The processes that make the rows together; each opens the array, makes its own share and finishes it.
        dtype: Of the values.
        skip_unreadable: Leave rows alone that were recorded as unreadable; otherwise they are tried again.

    Raises:
        KitError: there is no room for the array, or it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        ids: Sequence[str],
        keys: Sequence[bytes],
        shape: tuple[int, ...],
        team: Team = ALONE,
        dtype: type = np.uint8,
        skip_unreadable: bool = False,
    ) -> None:
        self.path, self.ids, self._team = path, tuple(ids), team
        self._wanted, self._skip = _stacked(keys), skip_unreadable
        self._part = path.with_name(f".{path.name}.part")
        self._shape, self._dtype = (len(self.ids), *shape), np.dtype(dtype)
        self._waiting: list[int] = []
        self._flushed = time.monotonic()
        self._lock = threading.Lock()
        if team.first and not is_complete(path, ids, keys, shape, dtype, skip_unreadable):
            self._start()
        team.barrier()
        begun = present(self._part)
        self._offset = open_array(self._part if begun else path).offset  # bytes before the first row
        self._keys = open_array(self._keys_path(), "r+" if begun else "r")  # (N, 32)

    def missing(self) -> np.ndarray:
        """Indices of the rows that are still to be made, ascending; rows that wait for the disk are among them."""
        return np.flatnonzero(~_made(self._keys, self._wanted, self._skip))

    def unreadable(self) -> np.ndarray:
        """Indices of the rows whose source could not be read, ascending."""
        return np.flatnonzero(_marked(self._keys) & _made(self._keys, self._wanted, skip_unreadable=True))

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
        """Brings every stored row to the disk, then its key.

        Raises:
            KitError: the disk refuses them.
        """
        with self._lock:
            self._flush()

    def finish(self) -> np.ndarray:
        """Gives the array its final name and returns it, read-only. Every process of the team calls it."""
        self.flush()
        self._team.barrier()
        if self._team.first and present(self._part):
            write_bytes(_ids_path(self.path), _lines(self.ids))
            try:
                os.replace(self._part, self.path)
            except OSError as error:
                raise unwritable(self.path, error) from error
        self._team.barrier()
        return open_array(self.path)

    def _write(self, index: int, row: npt.ArrayLike) -> None:
        """Writes a row into the file; through a mapping, the system would have to fault in each of its pages."""
        values = np.empty(self._shape[1:], self._dtype)
        values[...] = row
        try:
            handle = os.open(self._part, os.O_WRONLY)
            try:
                if os.pwrite(handle, values.data, self._offset + index * values.nbytes) < values.nbytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            finally:
                os.close(handle)
        except OSError as error:
            raise unwritable(self._part, error) from error

    def _flush(self) -> None:
        if self._waiting:
            try:
                with open(self._part, "rb") as handle:
                    os.fsync(handle.fileno())
                self._keys[self._waiting] = self._wanted[self._waiting]
                self._keys.flush()
            except OSError as error:
                raise unwritable(self._part, error) from error
            self._waiting.clear()
        self._flushed = time.monotonic()

    def _keys_path(self) -> Path:
        return keys_path(self.path)

    def _start(self) -> None:
        """Brings the array under its hidden name, with no key of a row that is about to be overwritten."""
        present(self._part)
        if _fits(self.path, self._keys_path(), self._shape, self._dtype):
            try:
                os.replace(self.path, self._part)
            except OSError as error:
                raise unwritable(self._part, error) from error
        elif not _fits(self._part, self._keys_path(), self._shape, self._dtype):
            self.path.unlink(missing_ok=True)
            with replacing(self._keys_path()) as temporary:
                create_array(temporary, self._wanted.shape, np.uint8)
            with replacing(self._part) as temporary:
                create_array(temporary, self._shape, self._dtype)
        keys = open_array(self._keys_path(), "r+")
        keys[~_made(keys, self._wanted, skip_unreadable=True)] = 0
        keys.flush()


def _ids_path(path: Path) -> Path:
    return path.with_suffix(".ids.txt")


def _lines(ids: Sequence[str]) -> bytes:
    return "".join(f"{image_id}\n" for image_id in ids).encode()


def _stacked(keys: Sequence[bytes]) -> np.ndarray:
    """Keys as uint8 (N, 32)."""
    return np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), KEY_BYTES)


def _mark(keys: np.ndarray) -> np.ndarray:
    """Keys (..., 32) as those of unreadable rows."""
    marked = keys.copy()
    marked[..., : len(_UNREADABLE)] = np.frombuffer(_UNREADABLE, np.uint8)
    return marked


def _marked(keys: np.ndarray) -> np.ndarray:
    """Which keys (N, 32) are those of unreadable rows, bool (N,)."""
    return (keys[:, : len(_UNREADABLE)] == 255).all(axis=1)


def _made(known: np.ndarray, wanted: np.ndarray, skip_unreadable: bool) -> np.ndarray:
    """Which rows are as wanted by their keys (N, 32), bool (N,)."""
    made = (known == wanted).all(axis=1)
    return made | (known == _mark(wanted)).all(axis=1) if skip_unreadable else made


def _fits(array: Path, keys: Path, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array of this shape and type lies there, with as many keys.

    Raises:
        KitError: something else than files has their names.
    """
    if not (present(array) and present(keys)):
        return False
    try:
        rows, known = open_array(array), open_array(keys)
    except KitError:
        return False
    return (rows.shape, rows.dtype, known.shape, known.dtype) == (
        shape,
        dtype,
        (shape[0], KEY_BYTES),
        np.dtype(np.uint8),
    )
