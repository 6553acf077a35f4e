import numpy as np
import pytest

from kit.core.arrays import open_array, save_array, save_arrays
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
        "((((((((((((((((((((((((",
        "[1, 2]",
    ],
)
def test_headers_of_impossible_arrays_are_refused(tmp_path, header):
    with pytest.raises(KitError, match=r"a\.npy: is not a \.npy file of numbers"):
        open_array(npy(tmp_path / "a.npy", header))
