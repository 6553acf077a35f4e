"""JSON files with typed models, and YAML files: errors name the file, the key and the reason."""

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
"""Whole numbers that every JSON reader represents exactly."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_LARGEST_YAML = 10**6
_MAX_ERRORS = 5
_MESSAGES = {
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "is not a whole number"),
    **dict.fromkeys(("float_type", "float_parsing"), "is not a number"),
    "finite_number": "is not a finite number",
    **dict.fromkeys(("bool_type", "bool_parsing"), "is neither true nor false"),
    "string_type": "is not a string",
    **dict.fromkeys(("list_type", "tuple_type"), "is not a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "is not a mapping of keys to values"),
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
"""Messages for pydantic's error types, without its vocabulary."""


class Document(BaseModel):
    """A JSON object with strict types: strings are not converted to numbers; NaN and infinity are refused.

    Unknown keys are ignored, since later versions may write more.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)


def read_document(path: Path | str, kind: type[T] | Any, remedy: str) -> T:
    """Reads a JSON file as its model.

    Raises:
        KitError: the file cannot be read or does not match the model; each wrong key is named with what was expected.
    """
    return parse_document(read_bytes(path), kind, path, remedy)


def parse_document(content: bytes, kind: type[T] | Any, path: Path | str, remedy: str) -> T:
    """Parses JSON as a model; errors call it `path`.

    Raises:
        KitError: as `read_document`.
    """
    try:
        return TypeAdapter(kind).validate_json(content, strict=True)
    except ValidationError as error:
        raise KitError(f"{printable(path)}: {format_errors(error)}: {remedy}") from None


class _Loader(yaml.SafeLoader):
    """Refuses duplicate keys, which YAML loaders accept."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        keys = Counter(key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode))
        for key, count in keys.items():
            if count > 1:
                raise yaml.composer.ComposerError(None, None, f"{key} appears {count} times", node.start_mark)
        return node


def load_yaml(text: str, where: Path | str) -> Any:
    """Parses YAML; errors call it `where`.

    Raises:
        KitError: it is not YAML, or is longer than any file that a person writes: anchors can expand without limit.
    """
    try:
        if len(text) > _LARGEST_YAML:
            raise ValueError(f"{len(text)} characters are more than any such file has")
        return yaml.load(text, _Loader)
    except RecursionError:
        reason = "nested too deeply"
    except (yaml.YAMLError, ValueError, LookupError, AttributeError) as error:  # also from impossible dates and tags
        reason = printable(" ".join(str(error).split()))
    raise KitError(f"{where}: is not YAML: {reason}")


def explain(problem: Any) -> str:
    """Explains one error of pydantic in plain words."""
    context = problem.get("ctx", {}).items()
    limits = {key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in context}
    template = _MESSAGES.get(problem["type"])
    message = template.format(**limits) if template else problem["msg"].removeprefix("Value error, ")
    got = "" if isinstance(problem["input"], dict | bytes) else f" (got {repr(problem['input'])[:80]})"
    return message[0].lower() + message[1:] + got


def format_errors(
    error: ValidationError,
    inside: tuple[str, ...] = (),
    whole: str = "the file",
    describe: Callable[[Any], str] = explain,
) -> str:
    """Lists the first five errors of a validation, each as the path of the key and the reason.

    Args:
        error: Errors of a list are left out if one of its items has an error.
        inside: Path of the validated value.
        whole: What to call the validated value itself.
        describe: Explains one error.
    """
    errors = error.errors(include_url=False)
    paths = [problem["loc"] for problem in errors]
    problems = [
        f"{'.'.join(map(str, (*inside, *path))) or whole}: {describe(problem)}"
        for path, problem in zip(paths, errors, strict=True)
        if not any(len(other) > len(path) and other[: len(path)] == path for other in paths)
    ]
    more = f"; and {len(problems) - _MAX_ERRORS} more" if len(problems) > _MAX_ERRORS else ""
    return printable("; ".join(problems[:_MAX_ERRORS]) + more)
