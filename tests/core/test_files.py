import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kit.core.errors import KitError
from kit.core.files import locked, read_json, replacing, sha256, write_json, write_text


def test_a_failed_writer_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    target = tmp_path / "a.txt"
    write_text(target, "old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_folders_are_made_and_line_ends_kept(tmp_path):
    write_text(tmp_path / "new" / "b.txt", "a\r\nb\n")
    assert (tmp_path / "new" / "b.txt").read_bytes() == b"a\r\nb\n"


def test_json_round_trip_and_its_errors(tmp_path):
    write_json(tmp_path / "c.json", {"a": [1, 2.5]})
    assert read_json(tmp_path / "c.json") == {"a": [1, 2.5]}
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "c.json", {"a": float("nan")})
    assert read_json(tmp_path / "c.json") == {"a": [1, 2.5]}
    (tmp_path / "d.json").write_text("{")
    with pytest.raises(KitError, match="is not JSON"):
        read_json(tmp_path / "d.json")
    with pytest.raises(KitError, match="cannot be read"):
        read_json(tmp_path / "none.json")


def test_a_lock_keeps_others_out_or_waiting_and_ends_with_its_block(tmp_path):
    target, order = tmp_path / "new" / "a.npy", []

    def second():
        with locked(target):
            order.append("second")

    with ThreadPoolExecutor() as pool:
        with locked(target):
            with pytest.raises(KitError, match=r"a\.npy: is being made"), locked(target, busy="is being made"):
                pass
            waiting = pool.submit(second)
            time.sleep(0.1)
            order.append("first")
        waiting.result()
    assert order == ["first", "second"]
    with locked(target, busy="is being made"):
        pass


def test_a_file_in_the_place_of_a_folder_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError, match="cannot be written"):
        write_text(tmp_path / "file" / "x.txt", "")
    with pytest.raises(KitError, match="cannot be written"), locked(tmp_path / "file" / "x.txt"):
        pass


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
