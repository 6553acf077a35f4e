import os
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kit.core.arrays import create_array, open_array, save_array, save_arrays
from kit.core.errors import KitError


def npy(path, header):
    text = header.encode().ljust(118) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + b"\0" * 64)
    return path


def test_arrays_are_read_as_they_were_written(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    save_array(tmp_path / "a.npy", array)
    assert (open_array(tmp_path / "a.npy") == array).all()
    save_arrays(tmp_path / "b.npz", a=array)
    assert (np.load(tmp_path / "b.npz")["a"] == array).all()


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000000000,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-3, 4)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (9223372036854775807, 9)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1.5,)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': None}",
        "{'descr': '|u1', 'fortran_order': 7, 'shape': (2,)}",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': 'nonsense', 'fortran_order': False, 'shape': (2,)}",
        "{'descr': [('a', 3)], 'fortran_order': False, 'shape': (2,)}",
        "{'shape': (2,)}",
        "((((((((((((((((((((((((",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (True,",
        "[1, 2]",
        "__import__('os')",
        "\x00\x01",
    ],
)
def test_headers_of_arrays_that_cannot_be(tmp_path, header):
    with pytest.raises(KitError, match=r"a\.npy: is not a \.npy file of numbers"):
        open_array(npy(tmp_path / "a.npy", header))


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"\x93NUMPY\x09\x00", b"PK\x03\x04" * 9, b"x" * 500])
def test_other_files(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(KitError, match=r"a\.npy: is not a \.npy file of numbers"):
        open_array(tmp_path / "a.npy")


def test_without_a_call_that_reserves_blocks_they_are_written(tmp_path, monkeypatch):
    """As on macOS."""
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    monkeypatch.setattr("kit.core.arrays._BLOCK", 1000)
    create_array(tmp_path / "a.npy", (7, 33, 13), np.uint8)
    assert np.load(tmp_path / "a.npy").shape == (7, 33, 13)
    assert not np.load(tmp_path / "a.npy").any()
    assert (tmp_path / "a.npy").stat().st_blocks * 512 >= 7 * 33 * 13


def test_headers_are_parsed_by_one_thread_at_a_time(tmp_path, monkeypatch):
    """Of two at once, Python 3.11 may say that its AST constructor's recursion depth does not match."""
    save_array(tmp_path / "a.npy", np.arange(4))
    real, inside, most = np.lib.format.open_memmap, [], []

    def slow(*arguments):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()
        return real(*arguments)

    monkeypatch.setattr(np.lib.format, "open_memmap", slow)
    with ThreadPoolExecutor(4) as pool:
        assert all(array[3] == 3 for array in pool.map(open_array, [tmp_path / "a.npy"] * 8))
    assert max(most) == 1
