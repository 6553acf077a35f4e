"""JSON files with a typed model: what a file holds is what its model says, or the error names file, key and reason."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from kit.core.errors import KitError, printable
from kit.core.files import read_bytes

T = TypeVar("T")

Share = Annotated[float, Field(ge=0, le=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**53)]
"""Whole numbers that every reader of JSON takes as they are."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_LARGEST_YAML = 10**6
_MOST = 5
_WORDS = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "is not a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "is not a number"),
    "finite_number": "is not a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "is neither true nor false"),
    "string_type": "is not a text",
    **dict.fromkeys(("list_type", "tuple_type"), "is not a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "does not hold keys with values"),
    "missing": "is missing",
    "extra_forbidden": "is not a known key",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "literal_error": "must be {expected}",
    "string_pattern_mismatch": "is not of the form {pattern}",
    "too_short": "needs at least {min_length} items",
    "too_long": "takes at most {max_length} items",
}
"""What pydantic's kinds of errors mean to a person who wrote a file."""


class Document(BaseModel):
    """A JSON object: types are taken as they stand (no number from a text), and values that are not numbers refused.

    Keys that the model does not know are left alone: later versions may write more.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


def read_document(path: Path | str, kind: type[T] | Any, remedy: str) -> T:
    """The content of a JSON file as its model.

    Raises:
        KitError: the file cannot be read, or is not what its model says; names each wrong key and what was expected.
    """
    return parse_document(read_bytes(path), kind, path, remedy)


def parse_document(content: bytes, kind: type[T] | Any, path: Path | str, remedy: str) -> T:
    """The model that a JSON text holds; `path` names it in errors.

    Raises:
        KitError: as `read_document`.
    """
    try:
        return TypeAdapter(kind).validate_json(content, strict=True)
    except ValidationError as error:
        raise KitError(f"{printable(path)}: {format_errors(error)}: {remedy}") from None


class _Loader(yaml.SafeLoader):
    """Refuses what YAML lets pass: a key that stands in a mapping twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, times in keys.items():
            if times > 1:
                raise yaml.composer.ComposerError(None, None, f"{key} is there {times} times", node.start_mark)
        return node


def load_yaml(text: str, where: Path | str) -> Any:
    """The values in a YAML text, which errors call `where`.

    Raises:
        KitError: it is none, or is larger than any that a person writes: a few anchors grow without end.
    """
    try:
        if len(text) > _LARGEST_YAML:
            raise ValueError(f"{len(text)} characters are more than any such file has")
        return yaml.load(text, _Loader)
    except RecursionError:
        reason = "nested too deeply"
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:  # also of dates and tags that cannot be
        reason = printable(" ".join(str(error).split()))
    raise KitError(f"{where}: is not YAML: {reason}")


def reason(problem: Any) -> str:
    """Why a model refuses a value, in words that need no knowledge of pydantic."""
    bounds = problem.get("ctx", {}).items()
    whole = {name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in bounds}
    words = _WORDS.get(problem["type"])
    message = words.format(**whole) if words else problem["msg"].removeprefix("Value error, ")
    given = "" if isinstance(problem["input"], dict | bytes) else f" (got {repr(problem['input'])[:80]})"
    return message[0].lower() + message[1:] + given


def format_errors(
    error: ValidationError,
    inside: tuple[str, ...] = (),
    whole: str = "the file",
    reason: Callable[[Any], str] = reason,
) -> str:
    """What a model refuses: each key by its path with the reason, the first five of them.

    Args:
        error: Of the model. A list with a refused item is refused as well: the item's own reason says it all.
        inside: Keys that the value stands in.
        whole: What to call the value itself.
        reason: Says why one is refused.
    """
    errors = error.errors(include_url=False)
    places = [problem["loc"] for problem in errors]
    problems = [
        f"{'.'.join(map(str, (*inside, *at))) or whole}: {reason(problem)}"
        for at, problem in zip(places, errors, strict=True)
        if not any(len(other) > len(at) and other[: len(at)] == at for other in places)
    ]
    more = f"; and {len(problems) - _MOST} more" if len(problems) > _MOST else ""
    return printable("; ".join(problems[:_MOST]) + more)
