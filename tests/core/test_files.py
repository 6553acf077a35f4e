import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kit.core.errors import KitError
from kit.core.files import (
    locked,
    opened,
    read_json,
    replacing,
    replacing_folder,
    sha256,
    write_json,
    write_text,
)


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


def test_leftovers_of_a_killed_writer_are_overwritten(tmp_path):
    (tmp_path / ".a.txt.tmp").write_text("half of something long")
    write_text(tmp_path / "a.txt", "new")
    (tmp_path / ".demo.tmp" / "new").mkdir(parents=True)
    with replacing_folder(tmp_path / "demo") as new:
        assert not list(new.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", "demo"}


def test_writers_of_one_file_take_turns(tmp_path):
    """Each writer finds its own content in the temporary file, and complete content in the file."""
    target = tmp_path / "a.txt"

    def write(number):
        for _ in range(20):
            with replacing(target) as temporary:
                for _ in range(3):
                    with open(temporary, "a") as handle:
                        handle.write(f"{number}")
                assert temporary.read_text() == 3 * f"{number}"
            assert len(set(target.read_text())) == 1

    with ThreadPoolExecutor() as pool:
        list(pool.map(write, range(4)))
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path):
    with replacing_folder(tmp_path / "demo") as new:
        (new / "a").write_text("1")
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "demo") as new:
        (new / "b").write_text("2")
        raise RuntimeError
    assert [path.name for path in (tmp_path / "demo").iterdir()] == ["a"]
    with replacing_folder(tmp_path / "demo") as new:
        (new / "b").write_text("2")
    assert [path.name for path in tmp_path.rglob("*")] == ["demo", "b"]


@pytest.mark.parametrize("error", [SystemExit(143), OSError(errno.ENOTEMPTY, "not empty")])
def test_an_interrupt_between_two_renames_leaves_the_old_folder(tmp_path, monkeypatch, error):
    with replacing_folder(tmp_path / "demo") as new:
        (new / "a").write_text("1")
    rename = Path.rename

    def interrupted(path, target):
        if path.name == "new":
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises((SystemExit, KitError)), replacing_folder(tmp_path / "demo") as new:
        (new / "b").write_text("2")
    assert [path.name for path in tmp_path.rglob("*")] == ["demo", "a"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "demo").symlink_to(tmp_path / "large")
    with replacing_folder(tmp_path / "demo") as new:
        (new / "a").write_text("1")
    assert (tmp_path / "demo").is_symlink()
    assert [path.name for path in (tmp_path / "large").iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "the disk is full"),
        (errno.EROFS, "read-only"),
    ],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_disk_is_one_line_and_the_old_file_stays(tmp_path, monkeypatch, number, message, step):
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def fail(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(KitError, match=rf"a\.txt: cannot be written: .*{message}"):
            write_text(target, "new")
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_error_hidden_by_a_library_is_reported(tmp_path):
    with pytest.raises(KitError, match="the disk is full"), replacing(tmp_path / "a"):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            raise RuntimeError("unexpected pos 64 vs 0")  # noqa: B904


def test_an_error_while_a_file_is_read_names_it(tmp_path):
    write_text(tmp_path / "a", "")
    with pytest.raises(KitError, match=r"a: cannot be read: .*input/output"), opened(tmp_path / "a"):
        raise OSError(errno.EIO, "Input/output error")


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP])
def test_a_file_system_without_locks_only_gives_a_warning(tmp_path, monkeypatch, caplog, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path / f"run{number}" / "x"):
        pass
    assert "has no locks" in caplog.text
