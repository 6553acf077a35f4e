"""Lists the kit's recipes, and loads recipes from YAML files.

A recipe's file is merged over the recipe that it `extends` and the defaults of `kit.recipes.schema`, scaled
(`scale.size=0.25`), overridden by `KEY=VALUE` pairs (`stages.0.epochs=2`), and validated: unknown keys, wrong types and
impossible values are refused with the path of the key.
"""

import itertools
import logging
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from kit.core.documents import explain, format_errors, load_yaml
from kit.core.errors import KitError, did_you_mean
from kit.core.files import is_file_or_raise, read_text
from kit.recipes.overrides import limit_counts, override, owners_of_stages, split_pairs, unreached_members
from kit.recipes.scale import Scale
from kit.recipes.schema import ENSEMBLE_KEYS, NOT_INHERITED, Recipe, merged
from kit.recipes.section import Section
from kit.recipes.stage import Stage

log = logging.getLogger(__name__)

S = TypeVar("S", bound=Section)


def _keys(section: type[Section]) -> set[str]:
    """Returns the keys of a class of sections and of all its subclasses."""
    return {*section.model_fields, *(key for subclass in section.__subclasses__() for key in _keys(subclass))}


KEYS = _keys(Section)
_RENAMED = {
    "final_learning_rate": "schedule: {cosine: {to: …}}",
    "periods": "schedule: {cosine: {periods: …}}",
    "restarts": "schedule: {cosine: {restarts: …}}",
    "last_learning_rates": "schedule: {cosine: {then: …}}",
    "plateau": "schedule: {plateau: …}",
    "watch": "schedule: {plateau: {of: …}} or early_stopping: {of: …}",
    "swa_epochs": "keep: {swa: {last: …}}",
    "best_checkpoints": "keep: {best: {epochs: …}}",
    "averaged": "keep: {best: {average: …}}",
    "batch_norm": "keep: {swa: {batch_norm: …}}",
    "passes_on": "",
}
"""Keys of stages in earlier versions, with the keys that replace them."""


def names() -> list[str]:
    """Returns the names of the kit's recipes, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def load(name: str | Path, overrides: str | Sequence[str] = "") -> Recipe:
    """Loads a recipe and applies overrides.

    Args:
        name: A name of `names()`, or the path of a YAML file.
        overrides: `KEY=VALUE` pairs separated by white space, in one string or several; values are YAML, list items go
            by number. `scale.KEY=FACTOR` pairs (see `Scale`) are applied before all others.

    Raises:
        KitError: there is no such recipe, it is not a mapping, or a key or value is refused.

    >>> load("exp5", "stages.1.epochs=20 network.encoder_weights=none").stages[1].epochs
    20
    """
    every_pair = split_pairs(overrides)
    path, content = _read(str(name))
    scaling = [pair for pair in every_pair if pair.startswith("scale.")]
    if scaling:
        factors: dict[str, Any] = {}
        for pair in scaling:
            override(factors, pair)
        scale = _validated(Scale, factors["scale"], path, ("scale",))
        content = parse(content, path).model_dump(mode="json")
        for _, owner in owners_of_stages(content):
            owner["stages"] = [scale.stage(Stage.model_validate(stage)) for stage in owner["stages"]]
    for pair in every_pair:
        if pair not in scaling:
            override(content, pair)
    limit_counts(content, every_pair)
    recipe = parse(content, path)
    whole = recipe.model_dump(mode="json")
    members = {part.label: part.model_dump(mode="json") for part in recipe.parts()} if recipe.members else {}
    for pair in every_pair:
        if missed := unreached_members(pair, whole, members):
            log.warning("SET: %s does not reach %s", pair, missed)
    return recipe


def _read(name: str, folder: Path = Path(), extended_by: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    """Reads a recipe's file and merges it over the recipe that it extends.

    Args:
        name: Name of a recipe of the kit, or path of a YAML file.
        folder: Folder from which a relative path starts.
        extended_by: Descriptions of the recipes that extend this one.

    Returns:
        The description of the recipe in errors, and its content.
    """
    if name.endswith((".yaml", ".yml")):
        file: Any = folder / name
        path, exists = str(file), is_file_or_raise(file)
    else:
        path, file = f"recipe {name}", _folder() / f"{name}.yaml"
        exists = file.is_file()
    prefix = f"{extended_by[-1]}: extends: " if extended_by else ""
    if not exists:
        suggestion = did_you_mean(name, names())  # ends with a question mark
        choose = f"{suggestion} Choose" if suggestion else ": choose"
        choices = f"one of {', '.join(names())}, or the path of a .yaml file"
        raise KitError(f"{prefix}{path}: there is no such recipe{choose} {choices}")
    if path in extended_by:
        raise KitError(f"{prefix}{path} extends it in turn: remove extends: from one of them")
    text = read_text(file) if isinstance(file, Path) else file.read_text("utf-8")
    content = load_yaml(text, path)
    if not isinstance(content, dict):
        raise KitError(f"{path}: a recipe is a mapping of keys to values, see `kit recipes exp5`")
    content = _without_aliases(content)
    base = content.pop("extends", None)
    if base is not None:
        if not isinstance(base, str):
            raise KitError(f"{path}: extends: is not the name of a recipe, or of a .yaml file beside this one")
        _, inherited = _read(base, file.parent if isinstance(file, Path) else folder, (*extended_by, path))
        content = merged({key: value for key, value in inherited.items() if key not in NOT_INHERITED}, content)
    content.setdefault("name", file.name.rsplit(".", 1)[0])
    return path, content


def _without_aliases(value: Any) -> Any:
    """Copies nested mappings and lists, so that none is in two places, where YAML's anchors may put it."""
    if isinstance(value, dict):
        return {key: _without_aliases(part) for key, part in value.items()}
    return [_without_aliases(part) for part in value] if isinstance(value, list) else value


def parse(content: dict[str, Any], path: str) -> Recipe:
    """Validates a recipe and its members; errors call it `path`."""
    whole = _validated(Recipe, content, path)
    for name, changes in whole.members.items():
        before = itertools.takewhile(name.__ne__, whole.members)
        for key in changes.keys() & ENSEMBLE_KEYS:
            raise KitError(f"{path}: members.{name}.{key}: belongs to the ensemble as a whole: leave it out")
        member = merged(whole.model_dump(mode="json", exclude={"members"}), changes)
        part = _validated(Recipe, member, path, ("members", name))
        start = "" if part.start_data else part.start or ""
        if start.startswith(f"{whole.name}/") and start.partition("/")[2] not in before:
            raise KitError(f"{path}: members.{name}.start: {start} is not a member that is trained before it")
    if whole.members and not whole.members_that("segment"):
        raise KitError(f"{path}: members: none of them segments: give one role: segment")
    return whole


def _validated(kind: type[S], content: dict[str, Any], path: str, inside: tuple[str, ...] = ()) -> S:
    """Validates a section, which is `inside` other keys."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise KitError(f"{path}: {format_errors(error, inside, 'the recipe', _explain)}") from None


def _folder() -> Any:
    return resources.files("kit.recipes")


def _explain(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        if key == "scale":
            return "takes factors by their names: scale.size=0.5, scale.epochs=0.1 (see docs/reference/recipe-keys.md)"
        if key in _RENAMED:
            return f"is of an earlier version: {f'write {_RENAMED[key]} now' if _RENAMED[key] else 'leave it out'}"
        return f"is not a key of a recipe{did_you_mean(key, KEYS)} (see `kit recipes exp5`)"
    if problem["type"] == "string_pattern_mismatch":
        message = "is not a name: use letters, digits, - and _, a letter or digit first"
        problem = problem | {"type": "value_error", "msg": message}
    return explain(problem)
