import pytest

from kit.core.errors import KitError
from kit.core.files import write_text
from kit.core.origins import is_current, making, mark, origin


def test_a_file_is_current_while_it_is_made_from_the_same(tmp_path):
    path = tmp_path / "a.csv"
    assert origin(path) == {}
    write_text(path, "")
    assert not is_current(path, {"b": 1})
    mark(path, {"b": 1})
    assert is_current(path, {"b": 1})
    assert not is_current(path, {"b": 2})
    path.unlink()
    assert not is_current(path, {"b": 1})


def test_a_failure_while_a_file_is_made_leaves_it_without_a_mark(tmp_path):
    path = tmp_path / "a.json"
    with making(path, {"b": 1}):
        write_text(path, "1")
    assert is_current(path, {"b": 1})
    with pytest.raises(RuntimeError), making(path, {"b": 2}):
        write_text(path, "2")
        raise RuntimeError
    assert origin(path) == {}
    with making(path, {"b": 2}):
        pass
    assert is_current(path, {"b": 2})


@pytest.mark.parametrize("text", ["[]", "1", "null", '"a"'])
def test_a_mark_that_is_no_mapping_is_refused(tmp_path, text):
    (tmp_path / "a.origin.json").write_text(text)
    with pytest.raises(KitError, match=r"a\.origin\.json: is not a mapping"):
        origin(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "1" * 5000, "\ud800".encode("utf-8", "surrogatepass").decode("latin1")]
)
def test_a_mark_that_is_no_json_is_refused(tmp_path, text):
    (tmp_path / "a.origin.json").write_text(text)
    with pytest.raises(KitError, match=r"a\.origin\.json: is not JSON"):
        origin(tmp_path / "a.csv")
