"""A memory-mapped array whose rows are made once, each under a key that says what it was made from.

The cache and the probability maps are such arrays. A row whose stored key is the wanted one is done; all others
are still to be made. So a killed run goes on where it was, and a changed image, label or weight costs its own
rows only. While rows are missing the array lies under a hidden name: what has the final name is complete.

Beside `x.npy`, an array of shape (N, ...), lie `x.ids.txt` (an id a line) and `x.keys` (32 bytes a row).
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kit.core.distributed import ALONE, Team
from kit.core.files import replacing, write_text

KEY_BYTES = 32


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
    """The key of each row of a finished array."""
    return [row.tobytes() for row in np.load(keys_path(path), mmap_mode="r")]


def is_complete(
    path: Path, ids: Sequence[str], keys: Sequence[bytes], shape: tuple[int, ...], dtype: type = np.uint8
) -> bool:
    """Whether the array lies at `path` with its ids and with every row, of that shape and type, made from its key."""
    beside = _ids_path(path)
    return (
        _fits(path, keys_path(path), (len(ids), *shape), np.dtype(dtype))
        and bool((np.load(keys_path(path), mmap_mode="r") == _stacked(keys)).all())
        and beside.is_file()
        and beside.read_bytes() == _lines(ids).encode()
    )


class Rows:
    """The array at `path` with rows `ids` made from `keys`.

    Args:
        path: The .npy file.
        ids: One a row.
        keys: The wanted 32-byte key of each row.
        shape: Of one row; () for a number.
        dtype: Of the values.
        team: The processes that make the rows together; each opens the array, makes its own share and finishes it.
    """

    def __init__(
        self,
        path: Path,
        ids: Sequence[str],
        keys: Sequence[bytes],
        shape: tuple[int, ...],
        team: Team = ALONE,
        dtype: type = np.uint8,
    ) -> None:
        self.path, self.ids, self._team = path, tuple(ids), team
        self._wanted = _stacked(keys)
        self._part = path.with_name(f".{path.name}.part")
        self._shape, self._dtype = (len(self.ids), *shape), np.dtype(dtype)
        if team.first and not is_complete(path, ids, keys, shape, dtype):
            self._start()
        team.barrier()
        if self._part.exists():
            self.array = np.lib.format.open_memmap(self._part, "r+")  # (N, *shape)
            self._keys = np.lib.format.open_memmap(self._keys_path(), "r+")  # (N, 32)
        else:
            self.array, self._keys = np.load(path, mmap_mode="r"), self._wanted

    def missing(self) -> np.ndarray:
        """Indices of the rows that are still to be made, ascending."""
        return np.flatnonzero((self._keys != self._wanted).any(axis=1))

    def put(self, index: int, row: np.ndarray) -> None:
        """Stores a row unless it is made already; it counts as made only once all of it is there."""
        if (self._keys[index] == self._wanted[index]).all():
            return
        self._keys[index] = 0
        self.array[index] = row
        self._keys[index] = self._wanted[index]

    def finish(self) -> np.ndarray:
        """Gives the array its final name and returns it, read-only. Every process of the team calls it."""
        self._team.barrier()
        if self._team.first and self._part.exists():
            self.array.flush()
            self._keys.flush()
            write_text(_ids_path(self.path), _lines(self.ids))
            os.replace(self._part, self.path)
        self._team.barrier()
        self.array = np.load(self.path, mmap_mode="r")
        return self.array

    def _keys_path(self) -> Path:
        return keys_path(self.path)

    def _start(self) -> None:
        if _fits(self.path, self._keys_path(), self._shape, self._dtype):
            os.replace(self.path, self._part)
        elif not _fits(self._part, self._keys_path(), self._shape, self._dtype):
            self.path.unlink(missing_ok=True)
            with replacing(self._keys_path()) as temporary:
                np.lib.format.open_memmap(temporary, "w+", np.uint8, self._wanted.shape)
            with replacing(self._part) as temporary:
                np.lib.format.open_memmap(temporary, "w+", self._dtype, self._shape)


def _ids_path(path: Path) -> Path:
    return path.with_suffix(".ids.txt")


def _lines(ids: Sequence[str]) -> str:
    return "".join(f"{image_id}\n" for image_id in ids)


def _stacked(keys: Sequence[bytes]) -> np.ndarray:
    """Keys as uint8 (N, 32)."""
    return np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), KEY_BYTES)


def _fits(array: Path, keys: Path, shape: tuple[int, ...], dtype: np.dtype) -> bool:
    """Whether an array of this shape and type lies there, with as many keys."""
    try:
        rows, known = np.load(array, mmap_mode="r"), np.load(keys, mmap_mode="r")
        return (rows.shape, rows.dtype, known.shape) == (shape, dtype, (shape[0], KEY_BYTES))
    except (OSError, ValueError, EOFError):
        return False
