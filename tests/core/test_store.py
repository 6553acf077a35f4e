import os
from pathlib import Path

import numpy as np
import pytest

from kit.core import store
from kit.core.distributed import Team
from kit.core.errors import KitError
from kit.core.files import write_text
from kit.core.store import Array, File, fill, inputs_of, key_of, keys_path, unreadable_rows

IDS = ["a", "b", "c"]


def array(path, *contents, shape=(2, 2), dtype=np.uint8, ids=IDS):
    return Array(path, ids[: len(contents)], [key_of(content) for content in contents], shape, dtype)


def make(*arrays, value=lambda index: index + 1, bad=(), stop=None, **options):
    """Fills the arrays with `value` of each index; returns the requested indices and the errors."""
    asked = []

    def rows(indices):
        for index in indices:
            if index == stop:
                raise KeyboardInterrupt
            asked.append(index)
            yield (
                index,
                KitError(f"{index} is bad") if index in bad else [np.full(a.shape, value(index)) for a in arrays],
            )

    done, errors = fill(arrays, rows, **options)
    assert done == bool(asked)
    return asked, [str(error) for error in errors]


def test_a_killed_run_resumes_and_only_complete_arrays_have_the_final_name(tmp_path):
    path = tmp_path / "new" / "maps.npy"
    wanted = array(path, "1", "2", "3")
    with pytest.raises(KeyboardInterrupt):
        make(wanted, stop=1)
    assert not path.exists()
    assert make(wanted) == ([1, 2], [])
    assert np.load(path)[:, 0, 0].tolist() == [1, 2, 3]
    assert (tmp_path / "new" / "maps.ids.txt").read_text() == "a\nb\nc\n"
    assert wanted.is_current()
    assert make(wanted) == ([], [])


def test_arrays_of_the_same_sources_are_filled_together(tmp_path):
    one, other = array(tmp_path / "a.npy", "1", "2", "3"), array(tmp_path / "b.npy", "1", "2", "3", shape=(4,))
    make(one)
    assert make(one, other, value=lambda index: 9) == ([0, 1, 2], [])
    assert np.load(one.path)[:, 0, 0].tolist() == [1, 2, 3]  # a row that is made is left alone
    assert np.load(other.path)[:, 0].tolist() == [9, 9, 9]


def test_rows_of_numbers_keep_their_type_and_another_type_is_made_anew(tmp_path):
    make(array(tmp_path / "p.npy", "1", "2", "3", shape=(), dtype=np.float32), value=lambda index: 0.1 * index)
    assert np.load(tmp_path / "p.npy").tolist() == np.array([0, 0.1, 0.2], np.float32).tolist()
    assert make(array(tmp_path / "p.npy", "1", "2", "3", shape=(), dtype=np.float64))[0] == [0, 1, 2]


def test_a_changed_key_only_costs_its_row(tmp_path):
    path = tmp_path / "maps.npy"
    make(array(path, "1", "2", "3"))
    assert not array(path, "1", "x", "3").is_current()
    assert make(array(path, "1", "x", "3"), value=lambda index: 9)[0] == [1]
    assert np.load(path)[:, 0, 0].tolist() == [1, 9, 3]


def test_another_number_of_rows_or_shape_starts_anew(tmp_path):
    path = tmp_path / "maps.npy"
    make(array(path, "1", "2", "3"))
    assert make(array(path, "1", "2"))[0] == [0, 1]
    assert make(array(path, "1", "2", shape=(4, 4)))[0] == [0, 1]


def test_a_truncated_array_is_made_again(tmp_path):
    path = tmp_path / "maps.npy"
    make(array(path, "1", "2", "3"))
    path.write_bytes(path.read_bytes()[:40])
    assert make(array(path, "1", "2", "3"))[0] == [0, 1, 2]


def test_other_ids_are_written_again(tmp_path):
    path = tmp_path / "maps.npy"
    make(array(path, "1", "2", "3"))
    renamed = array(path, "1", "2", "3", ids=["a", "b", "z"])
    assert not renamed.is_current()
    assert make(renamed)[0] == []
    assert renamed.is_current()


def test_keys_separate_their_parts():
    assert key_of("ab", "c") != key_of("a", "bc")
    assert len(key_of("a")) == 32


def test_a_new_array_has_all_its_blocks_on_the_disk(tmp_path):
    """Otherwise a full disk would crash the process at an assignment."""
    with pytest.raises(KeyboardInterrupt):
        make(array(tmp_path / "maps.npy", *map(str, range(300))), stop=0)
    keys = os.stat(keys_path(tmp_path / "maps.npy"))
    assert keys.st_blocks * 512 >= keys.st_size > 300 * 32


def test_a_key_reaches_the_disk_after_its_row(tmp_path, monkeypatch):
    path, order = tmp_path / "maps.npy", []
    sync, flush = os.fsync, np.memmap.flush

    def stored():
        return int((np.load(keys_path(path)) != 0).any(axis=1).sum())

    def watched(handle):
        order.append((Path(os.readlink(f"/proc/self/fd/{handle}")).name, stored() if keys_path(path).exists() else 0))
        sync(handle)

    def flushed(mapped):
        flush(mapped)
        order.append(("keys", stored()))

    monkeypatch.setattr(store, "_MAX_UNFLUSHED_ROWS", 2)
    monkeypatch.setattr(os, "fsync", watched)
    monkeypatch.setattr(np.memmap, "flush", flushed)
    make(array(path, "1", "2", "3"))
    rows = [step for step in order if step[0] in (".maps.npy.part", "keys")]
    assert rows[-4:] == [(".maps.npy.part", 0), ("keys", 2), (".maps.npy.part", 2), ("keys", 3)]


def test_a_row_about_to_be_overwritten_has_no_key(tmp_path):
    path = tmp_path / "maps.npy"
    make(array(path, "1", "2", "3"))
    with pytest.raises(KeyboardInterrupt):
        make(array(path, "1", "x", "3"), stop=1)
    assert make(array(path, "1", "2", "3"))[0] == [1]


def test_an_unreadable_row_is_recorded_and_tried_again_only_when_asked(tmp_path, caplog):
    path = tmp_path / "maps.npy"
    wanted = array(path, "1", "2", "3")
    assert make(wanted, bad=[1], skip_unreadable=True) == ([0, 1, 2], ["1 is bad"])
    assert np.load(path)[:, 0, 0].tolist() == [1, 0, 3]
    assert unreadable_rows(path).tolist() == [False, True, False]
    assert wanted.is_current(skip_unreadable=True)
    assert not wanted.is_current()
    assert make(wanted, skip_unreadable=True) == ([], [])
    assert caplog.messages == ["skipping b: unreadable in an earlier run"]
    assert make(wanted) == ([1], [])
    assert wanted.is_current()


def test_with_unreadable_rows_that_are_not_skipped_the_array_stays_unfinished(tmp_path):
    path = tmp_path / "maps.npy"
    assert make(array(path, "1", "2", "3"), bad=[1]) == ([0, 1, 2], ["1 is bad"])
    assert not path.exists()
    assert make(array(path, "1", "2", "3")) == ([1], [])


def test_an_unreadable_row_whose_source_changed_is_made_anew(tmp_path):
    path = tmp_path / "maps.npy"
    make(array(path, "1", "2", "3"), bad=[1], skip_unreadable=True)
    assert make(array(path, "1", "repaired", "3"), skip_unreadable=True) == ([1], [])
    assert not unreadable_rows(path).any()


def test_each_process_of_a_team_returns_all_errors(tmp_path):
    """The other process has made its share when this one reaches a barrier."""
    path, wanted = tmp_path / "maps.npy", array(tmp_path / "maps.npy", "1", "2", "3")
    waits = []

    def barrier():
        waits.append(1)
        if len(waits) == 3:  # after the own share of both: rows 1 and 2 are the other's and cannot be read
            keys = np.load(keys_path(path))
            keys[1] = np.frombuffer(b"\xff" * 8 + wanted.keys[1][8:], np.uint8)
            with open(keys_path(path), "r+b") as handle:
                handle.seek(-keys.nbytes, os.SEEK_END)
                handle.write(keys.tobytes())

    asked, errors = make(wanted, bad=[1], team=Team(0, 2, barrier))
    assert asked == [0, 2, 1]
    assert errors == ["1 is bad"]


def test_a_file_is_current_while_its_inputs_and_its_content_are_the_same(tmp_path):
    path = tmp_path / "a.csv"
    assert inputs_of(path) == {}
    assert File(path, {"b": 1}).build(lambda: write_text(path, "1"))
    assert not File(path, {"b": 1}).build(lambda: write_text(path, "2"))
    assert path.read_text() == "1"
    assert not File(path, {"b": 2}).is_current()
    write_text(path, "edited")
    assert not File(path, {"b": 1}).is_current()
    path.unlink()
    assert not File(path, {"b": 1}).is_current()


def test_a_failure_while_a_file_is_made_leaves_it_unfinished(tmp_path):
    path = tmp_path / "a.json"
    File(path, {"b": 1}).build(lambda: write_text(path, "1"))

    def fail():
        write_text(path, "2")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        File(path, {"b": 2}).build(fail)
    assert inputs_of(path) == {"b": 2}
    assert not File(path, {"b": 1}).is_current()
    assert not File(path, {"b": 2}).is_current()
    assert File(path, {"b": 2}).build(lambda: None)


def test_a_file_with_other_inputs_is_kept_once_as_previous(tmp_path):
    path, kept = tmp_path / "a.csv", tmp_path / "a.previous.csv"
    File(path, {"b": 1}).build(lambda: write_text(path, "1"))
    for _ in range(2):  # as after a kill
        File(path, {"b": 2}).begin(keep_previous=True)
        assert not path.exists()
    assert kept.read_text() == "1"
    write_text(path, "half of 2")
    File(path, {"b": 2}).begin(keep_previous=True)
    assert kept.read_text() == "1"
