import os
from pathlib import Path

import no_file
import numpy as np
import pytest

from kit.core import resumable
from kit.core.errors import KitError
from kit.core.resumable import ResumableArray, is_complete, key_of, keys_path, read_keys, unreadable

IDS = ["a", "b", "c"]


def keys(*contents):
    return [key_of(content) for content in contents]


def fill(rows):
    for index in rows.missing():
        rows.put(index, np.full((2, 2), index + 1))


def test_what_has_the_final_name_is_complete(tmp_path):
    path = tmp_path / "new" / "maps.npy"
    rows = ResumableArray(path, IDS, keys("1", "2", "3"), (2, 2))
    assert rows.missing().tolist() == [0, 1, 2]
    rows.put(0, np.ones((2, 2)))
    assert rows.missing().tolist() == [0, 1, 2]  # not on the disk yet
    rows.flush()
    assert rows.missing().tolist() == [1, 2]
    assert not path.exists()
    again = ResumableArray(path, IDS, keys("1", "2", "3"), (2, 2))
    assert again.missing().tolist() == [1, 2]
    fill(again)
    again.finish()
    assert np.load(path)[:, 0, 0].tolist() == [1, 2, 3]
    assert (tmp_path / "new" / "maps.ids.txt").read_text() == "a\nb\nc\n"
    assert not ResumableArray(path, IDS, keys("1", "2", "3"), (2, 2)).missing().size


def test_a_row_that_is_made_is_left_alone(tmp_path):
    rows = ResumableArray(tmp_path / "maps.npy", IDS, keys("1", "2", "3"), (2, 2))
    fill(rows)
    rows.finish()
    complete = ResumableArray(tmp_path / "maps.npy", IDS, keys("1", "2", "3"), (2, 2))
    complete.put(0, np.full((2, 2), 9))
    assert complete.finish()[:, 0, 0].tolist() == [1, 2, 3]


def test_rows_of_numbers_keep_their_type_and_another_type_is_made_anew(tmp_path):
    rows = ResumableArray(tmp_path / "p.npy", IDS, keys("1", "2", "3"), (), dtype=np.float32)
    for index in rows.missing():
        rows.put(index, 0.1 * index)
    assert rows.finish().tolist() == np.array([0, 0.1, 0.2], np.float32).tolist()
    assert ResumableArray(tmp_path / "p.npy", IDS, keys("1", "2", "3"), (), dtype=np.float64).missing().size == 3


def test_a_changed_key_costs_its_own_row_only(tmp_path):
    path = tmp_path / "maps.npy"
    rows = ResumableArray(path, IDS, keys("1", "2", "3"), (2, 2))
    fill(rows)
    rows.finish()
    changed = ResumableArray(path, IDS, keys("1", "x", "3"), (2, 2))
    assert changed.missing().tolist() == [1]
    assert not path.exists()
    changed.put(1, np.full((2, 2), 9))
    assert changed.finish()[:, 0, 0].tolist() == [1, 9, 3]


def test_another_number_of_rows_or_shape_starts_anew(tmp_path):
    path = tmp_path / "maps.npy"
    rows = ResumableArray(path, IDS, keys("1", "2", "3"), (2, 2))
    fill(rows)
    rows.finish()
    assert ResumableArray(path, IDS[:2], keys("1", "2"), (2, 2)).missing().tolist() == [0, 1]
    assert ResumableArray(path, IDS, keys("1", "2", "3"), (4, 4)).missing().tolist() == [0, 1, 2]


def test_a_truncated_array_is_made_again(tmp_path):
    path = tmp_path / "maps.npy"
    rows = ResumableArray(path, IDS, keys("1", "2", "3"), (2, 2))
    fill(rows)
    rows.finish()
    path.write_bytes(path.read_bytes()[:40])
    assert ResumableArray(path, IDS, keys("1", "2", "3"), (2, 2)).missing().tolist() == [0, 1, 2]


def test_keys_tell_parts_apart():
    assert key_of("ab", "c") != key_of("a", "bc")
    assert len(key_of("a")) == 32


def test_blocks_are_reserved_before_they_are_mapped(tmp_path):
    path = tmp_path / "maps.npy"
    ResumableArray(path, IDS, keys("1", "2", "3"), (512, 512))
    part = os.stat(path.with_name(".maps.npy.part"))
    assert part.st_blocks * 512 >= part.st_size > 3 * 512 * 512


def test_a_key_reaches_the_disk_after_its_row(tmp_path, monkeypatch):
    rows = ResumableArray(tmp_path / "maps.npy", IDS, keys("1", "2", "3"), (2, 2))
    order, sync = [], os.fsync

    class Watched(np.ndarray):
        def flush(self):
            order.append(("keys", rows.missing().tolist()))

    def watched(handle):
        order.append((Path(os.readlink(f"/proc/self/fd/{handle}")).name, rows.missing().tolist()))
        sync(handle)

    rows._keys = np.asarray(rows._keys).view(Watched)
    monkeypatch.setattr(os, "fsync", watched)
    rows.put(1, np.ones((2, 2)))
    rows.flush()
    assert order == [(".maps.npy.part", [0, 1, 2]), ("keys", [0, 2])]


def test_a_row_about_to_be_overwritten_has_no_key_of_what_it_was(tmp_path):
    path = tmp_path / "maps.npy"
    rows = ResumableArray(path, IDS, keys("1", "2", "3"), (2, 2))
    fill(rows)
    rows.finish()
    changed = ResumableArray(path, IDS, keys("1", "x", "3"), (2, 2))
    changed.put(1, np.full((2, 2), 9))  # and the process is killed
    back = ResumableArray(path, IDS, keys("1", "2", "3"), (2, 2))
    assert back.missing().tolist() == [1]


def test_waiting_rows_are_flushed_in_groups(tmp_path, monkeypatch):
    monkeypatch.setattr(resumable, "_WAITING_ROWS", 2)
    rows = ResumableArray(tmp_path / "maps.npy", IDS, keys("1", "2", "3"), (2, 2))
    left = []
    for index in range(3):
        rows.put(index, np.ones((2, 2)))
        left.append(len(rows.missing()))
    assert left == [3, 1, 1]


@pytest.mark.parametrize("name", ["maps.npy", "maps.keys", "maps.ids.txt", ".maps.npy.part"])
@pytest.mark.parametrize("kind", no_file.KINDS)
def test_what_is_no_file_is_refused_and_not_opened(tmp_path, name, kind):
    path, there = tmp_path / "maps.npy", tmp_path / name
    rows = ResumableArray(path, IDS, keys("1", "2", "3"), (2, 2))
    fill(rows)
    rows.finish()
    no_file.put(there, kind)
    with pytest.raises(KitError, match=name.replace(".", r"\.")):
        made = ResumableArray(path, IDS, keys("1", "x", "3"), (2, 2))
        is_complete(path, IDS, keys("1", "2", "3"), (2, 2))
        fill(made)
        made.finish()


def test_broken_keys_are_one_clear_line(tmp_path):
    np.save(tmp_path / "maps.keys.npy", np.zeros((3, 31), np.uint8))
    (tmp_path / "maps.keys.npy").rename(tmp_path / "maps.keys")
    with pytest.raises(KitError, match=r"does not hold the keys of maps\.npy"):
        read_keys(tmp_path / "maps.npy")
    keys_path(tmp_path / "maps.npy").write_bytes(b"torn")
    with pytest.raises(KitError, match=r"maps\.keys: is not a \.npy file"):
        read_keys(tmp_path / "maps.npy")


def test_an_unreadable_row_is_recorded_and_tried_again_only_when_asked(tmp_path):
    path, wanted = tmp_path / "maps.npy", keys("1", "2", "3")
    rows = ResumableArray(path, IDS, wanted, (2, 2), skip_unreadable=True)
    rows.put(0, np.ones((2, 2)))
    rows.put_unreadable(1)
    rows.put(2, np.ones((2, 2)))
    rows.flush()
    assert rows.missing().size == 0
    assert rows.unreadable().tolist() == [1]
    assert rows.finish()[1].tolist() == [[0, 0], [0, 0]]
    assert unreadable(path).tolist() == [False, True, False]
    assert is_complete(path, IDS, wanted, (2, 2), skip_unreadable=True)
    assert not is_complete(path, IDS, wanted, (2, 2))
    assert ResumableArray(path, IDS, wanted, (2, 2)).missing().tolist() == [1]


def test_an_unreadable_row_whose_source_changed_is_made_anew(tmp_path):
    path = tmp_path / "maps.npy"
    rows = ResumableArray(path, IDS, keys("1", "2", "3"), (2, 2), skip_unreadable=True)
    rows.put(0, np.ones((2, 2)))
    rows.put_unreadable(1)
    rows.put(2, np.ones((2, 2)))
    rows.finish()
    again = ResumableArray(path, IDS, keys("1", "mended", "3"), (2, 2), skip_unreadable=True)
    assert again.missing().tolist() == [1]
    assert again.unreadable().size == 0
