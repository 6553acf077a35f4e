"""What can be wrong with a JSON, JSONL or YAML file: whole files, and each key of a mapping in turn."""

import json
from collections.abc import Iterator

import yaml

DEEP, LONG = 10_000, "9" * 5000
WHOLE = {
    "empty": b"",
    "undecodable": b"\xff\xfe\x00\x81" * 60,
    "a list": b"[1]",
    "null": b"null",
    "a number": b"5",
    "a string": b'"text"',
    "not a number": b"NaN",
    "an integer of 5,000 digits": LONG.encode(),
    "lists 10,000 deep": b"[" * DEEP + b"]" * DEEP,
    "mappings 10,000 deep": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "open lists 10,000 deep": b"[" * DEEP,
}
"""Files that are no mapping, whatever the mapping should hold; JSON is YAML, too."""
_LONG = "@long@"
OTHER = {
    "a list": [1],
    "null": None,
    "a number": -7.5,
    "a string": "text",
    "a mapping": {"a": 1},
    "5,000 digits": _LONG,
}
"""Values to put in the place of another; Python itself writes no number of so many digits."""


def _changed(value: object, where: str = "") -> Iterator[tuple[str, object]]:
    """A mapping with a key gone, or with another value; the mappings in it likewise."""
    if not isinstance(value, dict):
        return
    for key in list(value)[:12]:
        rest = {name: one for name, one in value.items() if name != key}
        yield f"no {where}{key}", rest
        for kind, other in OTHER.items():
            if other is _LONG or type(other) is not type(value[key]):
                yield f"{where}{key}: {kind}", value | {key: other}
        yield from ((what, value | {key: one}) for what, one in _changed(value[key], f"{where}{key}."))


def faults(name: str, good: bytes) -> Iterator[tuple[str, bytes]]:
    """What is wrong, and the content; of lines the first is changed, and the others stay.

    Args:
        name: Of the file, whose ending says what it holds.
        good: Its content.
    """
    line, newline, rest = good.partition(b"\n") if name.endswith(".jsonl") else (good, b"", b"")
    for what, content in WHOLE.items():
        yield what, content + newline + rest
    yield "cut in the middle", line[: len(line) // 2] + newline + rest
    is_yaml = name.endswith(".yaml")
    for what, value in _changed(yaml.safe_load(line) if is_yaml else json.loads(line)):
        text = yaml.safe_dump(value, sort_keys=False) if is_yaml else json.dumps(value)
        for quote in "'\"":
            text = text.replace(f"{quote}{_LONG}{quote}", LONG)
        yield what, text.encode() + newline + rest
