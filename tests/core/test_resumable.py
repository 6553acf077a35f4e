import numpy as np

from kit.core.resumable import Rows, key_of

IDS = ["a", "b", "c"]


def keys(*contents):
    return [key_of(content) for content in contents]


def fill(rows):
    for index in rows.missing():
        rows.put(index, np.full((2, 2), index + 1))


def test_what_has_the_final_name_is_complete(tmp_path):
    path = tmp_path / "new" / "maps.npy"
    rows = Rows(path, IDS, keys("1", "2", "3"), (2, 2))
    assert rows.missing().tolist() == [0, 1, 2]
    rows.put(0, np.ones((2, 2)))
    assert not path.exists()
    again = Rows(path, IDS, keys("1", "2", "3"), (2, 2))
    assert again.missing().tolist() == [1, 2]
    fill(again)
    again.finish()
    assert np.load(path)[:, 0, 0].tolist() == [1, 2, 3]
    assert (tmp_path / "new" / "maps.ids.txt").read_text() == "a\nb\nc\n"
    assert not Rows(path, IDS, keys("1", "2", "3"), (2, 2)).missing().size


def test_a_row_that_is_made_is_left_alone(tmp_path):
    rows = Rows(tmp_path / "maps.npy", IDS, keys("1", "2", "3"), (2, 2))
    fill(rows)
    rows.finish()
    complete = Rows(tmp_path / "maps.npy", IDS, keys("1", "2", "3"), (2, 2))
    complete.put(0, np.full((2, 2), 9))
    assert complete.finish()[:, 0, 0].tolist() == [1, 2, 3]


def test_rows_of_numbers_keep_their_type_and_another_type_is_made_anew(tmp_path):
    rows = Rows(tmp_path / "p.npy", IDS, keys("1", "2", "3"), (), dtype=np.float32)
    for index in rows.missing():
        rows.put(index, 0.1 * index)
    assert rows.finish().tolist() == np.array([0, 0.1, 0.2], np.float32).tolist()
    assert Rows(tmp_path / "p.npy", IDS, keys("1", "2", "3"), (), dtype=np.float64).missing().size == 3


def test_a_changed_key_costs_its_own_row_only(tmp_path):
    path = tmp_path / "maps.npy"
    rows = Rows(path, IDS, keys("1", "2", "3"), (2, 2))
    fill(rows)
    rows.finish()
    changed = Rows(path, IDS, keys("1", "x", "3"), (2, 2))
    assert changed.missing().tolist() == [1]
    assert not path.exists()
    changed.put(1, np.full((2, 2), 9))
    assert changed.finish()[:, 0, 0].tolist() == [1, 9, 3]


def test_another_number_of_rows_or_shape_starts_anew(tmp_path):
    path = tmp_path / "maps.npy"
    rows = Rows(path, IDS, keys("1", "2", "3"), (2, 2))
    fill(rows)
    rows.finish()
    assert Rows(path, IDS[:2], keys("1", "2"), (2, 2)).missing().tolist() == [0, 1]
    assert Rows(path, IDS, keys("1", "2", "3"), (4, 4)).missing().tolist() == [0, 1, 2]


def test_a_truncated_array_is_made_again(tmp_path):
    path = tmp_path / "maps.npy"
    rows = Rows(path, IDS, keys("1", "2", "3"), (2, 2))
    fill(rows)
    rows.finish()
    path.write_bytes(path.read_bytes()[:40])
    assert Rows(path, IDS, keys("1", "2", "3"), (2, 2)).missing().tolist() == [0, 1, 2]


def test_keys_tell_parts_apart():
    assert key_of("ab", "c") != key_of("a", "bc")
    assert len(key_of("a")) == 32
