"""The recipes that come with the kit, and how any recipe is read: a YAML file, scaled, overridden and validated.

A recipe's file is merged over the recipe that it `extends` and the defaults of `kit.recipes.schema`, scaled
(`scale.size=0.25`), overridden by `KEY=VALUE` pairs (`stages.0.epochs=2`), and validated: unknown keys, wrong types and
impossible values are refused with the key's path.
"""

import itertools
import logging
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from kit.core.documents import format_errors, load_yaml, reason
from kit.core.errors import KitError, did_you_mean
from kit.core.files import is_file_or_raise, read_text
from kit.recipes.overrides import override, owners_of_stages, pairs, shorten, unreached
from kit.recipes.scale import Scale
from kit.recipes.schema import ITS_OWN, OF_THE_WHOLE, Recipe, merged
from kit.recipes.section import Section
from kit.recipes.stage import Stage

log = logging.getLogger(__name__)

Part = TypeVar("Part", bound=Section)


def _keys(section: type[Section]) -> set[str]:
    """The keys of a kind of section, and of all kinds that are made of it."""
    return {*section.model_fields, *(key for kind in section.__subclasses__() for key in _keys(kind))}


KEYS = _keys(Section)
_OLDER = {
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
"""Keys of stages that earlier versions had, and what is written in their place."""


def names() -> list[str]:
    """Names of the recipes that come with the kit, sorted."""
    return sorted(entry.name.removesuffix(".yaml") for entry in _folder().iterdir() if entry.name.endswith(".yaml"))


def load(name: str | Path, overrides: str | Sequence[str] = "") -> Recipe:
    """The recipe of that name, or in that YAML file, with overrides applied.

    Args:
        name: A name of `names()`, or the path of a YAML file.
        overrides: `KEY=VALUE` pairs separated by white space, in one text or several; values are YAML, list items go
            by number. Those of `scale` are the factors of `Scale`, which come before all others.

    Raises:
        KitError: there is no such recipe, it is not a mapping, or a key or value is refused.

    >>> load("exp5", "stages.1.epochs=20 network.encoder_weights=none").stages[1].epochs
    20
    """
    given = pairs(overrides)
    path, content = _written(str(name))
    factors: dict[str, Any] = {}
    for pair in given:
        if pair.startswith("scale."):
            override(factors, pair)
    if factors:
        scale = _validated(Scale, factors["scale"], path, ("scale",))
        content = parse(content, path).model_dump(mode="json")
        for _, owner in owners_of_stages(content):
            owner["stages"] = [scale.stage(Stage.model_validate(stage)) for stage in owner["stages"]]
    for pair in given:
        if not pair.startswith("scale."):
            override(content, pair)
    shorten(content, given)
    recipe = parse(content, path)
    whole = recipe.model_dump(mode="json")
    members = {part.label: part.model_dump(mode="json") for part in recipe.parts()} if recipe.members else {}
    for pair in given:
        if missed := unreached(pair, whole, members):
            log.warning("SET: %s does not reach %s", pair, missed)
    return recipe


def _written(name: str, folder: Path = Path(), above: tuple[str, ...] = ()) -> tuple[str, dict[str, Any]]:
    """A recipe as its file says it, over the one that it extends.

    Args:
        name: Of a recipe of the kit, or the path of a YAML file.
        folder: What a relative path starts from.
        above: The recipes that extend it, each by what errors call it.

    Returns:
        What errors call it, and its content.
    """
    if name.endswith((".yaml", ".yml")):
        file: Any = folder / name
        path, there = str(file), is_file_or_raise(file)
    else:
        path, file = f"recipe {name}", _folder() / f"{name}.yaml"
        there = file.is_file()
    who = f"{above[-1]}: extends: " if above else ""
    if not there:
        near = did_you_mean(name, names())
        others = f"hoose one of {', '.join(names())}, or the path of a .yaml file"
        raise KitError(f"{who}{path}: there is no such recipe{f'{near} C' if near else ': c'}{others}")
    if path in above:
        raise KitError(f"{who}{path} extends it in turn: let one of them stand alone")
    text = read_text(file) if isinstance(file, Path) else file.read_text("utf-8")
    content = load_yaml(text, path)
    if not isinstance(content, dict):
        raise KitError(f"{path}: a recipe is a mapping of keys to values, see `kit recipes exp5`")
    content = _unshared(content)
    base = content.pop("extends", None)
    if base is not None:
        if not isinstance(base, str):
            raise KitError(f"{path}: extends: is not the name of a recipe, or of a .yaml file beside this one")
        _, below = _written(base, file.parent if isinstance(file, Path) else folder, (*above, path))
        content = merged({key: value for key, value in below.items() if key not in ITS_OWN}, content)
    content.setdefault("name", file.name.rsplit(".", 1)[0])
    return path, content


def _unshared(value: Any) -> Any:
    """The same mappings and lists, with what YAML's anchors have put into several places copied for each of them."""
    if isinstance(value, dict):
        return {key: _unshared(part) for key, part in value.items()}
    return [_unshared(part) for part in value] if isinstance(value, list) else value


def parse(content: dict[str, Any], path: str) -> Recipe:
    """The validated recipe of a mapping, its members included; `path` names it in errors."""
    whole = _validated(Recipe, content, path)
    for name, changes in whole.members.items():
        before = itertools.takewhile(name.__ne__, whole.members)
        for key in changes.keys() & OF_THE_WHOLE:
            raise KitError(f"{path}: members.{name}.{key}: belongs to the ensemble as a whole: leave it out")
        member = merged(whole.model_dump(mode="json", exclude={"members"}), changes)
        part = _validated(Recipe, member, path, ("members", name))
        start = "" if part.start_data else part.start or ""
        if start.startswith(f"{whole.name}/") and start.partition("/")[2] not in before:
            raise KitError(f"{path}: members.{name}.start: {start} is not a member that is trained before it")
    if whole.members and not whole.members_that("segment"):
        raise KitError(f"{path}: members: none of them segments: give one role: segment")
    return whole


def _validated(kind: type[Part], content: dict[str, Any], path: str, inside: tuple[str, ...] = ()) -> Part:
    """The part of a recipe that a mapping gives, which stands `inside` some key."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise KitError(f"{path}: {format_errors(error, inside, 'the recipe', _reason)}") from None


def _folder() -> Any:
    return resources.files("kit.recipes")


def _reason(problem: Any) -> str:
    if problem["type"] == "extra_forbidden":
        key = str(problem["loc"][-1])
        if key == "scale":
            return "takes factors by their names: scale.size=0.5, scale.epochs=0.1 (see docs/reference/recipe-keys.md)"
        if key in _OLDER:
            return f"is of an earlier version: {f'write {_OLDER[key]} now' if _OLDER[key] else 'leave it out'}"
        return f"is not a key of a recipe{did_you_mean(key, KEYS)} (see `kit recipes exp5`)"
    if problem["type"] == "string_pattern_mismatch":
        message = "is not a name: use letters, digits, - and _, a letter or digit first"
        problem = problem | {"type": "value_error", "msg": message}
    return reason(problem)
