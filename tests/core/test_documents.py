import pytest

from kit.core.documents import Count, Document, Number, Share, load_yaml, read_document
from kit.core.errors import KitError


class Thing(Document):
    name: str
    share: Share
    count: Count = 0
    weights: tuple[Number, ...] = ()


def test_a_document_is_read_as_its_model_and_unknown_keys_are_ignored(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"name": "x", "share": 1, "weights": [1, -2.5], "later": {}}')
    assert read_document(path, Thing, "write it again") == Thing(name="x", share=1.0, weights=(1.0, -2.5))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file: invalid JSON"),
        ("[]", "the file: is not a mapping of keys to values"),
        ("{}", "name: is missing; share: is missing"),
        ('{"name": 1, "share": 0.5}', "name: is not a string (got 1)"),
        ('{"name": "a", "share": "0.5"}', "share: is not a number"),
        ('{"name": "a", "share": 1.01}', "share: must be at most 1 (got 1.01)"),
        ('{"name": "a", "share": 1, "count": 1' + "0" * 3000 + "}", "count: "),
        ('{"name": "a", "share": 1, "weights": [1, Infinity]}', "weights.1: is not a finite number"),
        ("[" * 100_000, "the file: invalid JSON"),
    ],
)
def test_an_invalid_document_names_file_key_and_what_was_expected(tmp_path, text, message):
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(KitError) as refused:
        read_document(path, Thing, "write it again")
    line = str(refused.value)
    assert line.startswith(f"{path}: ")
    assert message in line
    assert line.endswith(": write it again")
    assert "\n" not in line
    assert len(line) < 1000


@pytest.mark.parametrize("text", ["9" * 5000, "a: 1\na: 2", "x" * 1_000_001])
def test_yaml_that_no_person_writes_is_refused(text):
    with pytest.raises(KitError, match=r"a\.yaml: is not YAML") as refused:
        load_yaml(text, "a.yaml")
    assert len(str(refused.value)) < 500
