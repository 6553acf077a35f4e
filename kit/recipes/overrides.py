"""`SET="KEY=VALUE …"`: overrides of a recipe's values, before it is validated."""

import copy
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kit.core.documents import load_yaml
from kit.core.errors import KitError, counted
from kit.recipes.stage import fit_to_epochs

log = logging.getLogger(__name__)


def split_pairs(overrides: str | Sequence[str]) -> list[str]:
    """Splits overrides into `KEY=VALUE` pairs; a value ends before white space and the next `KEY=`.

    >>> split_pairs("seed=1 network.encoder_weights=my weights.pt stages=[{size: 64, epochs: 2}]")
    ['seed=1', 'network.encoder_weights=my weights.pt', 'stages=[{size: 64, epochs: 2}]']
    """
    texts = [overrides] if isinstance(overrides, str) else overrides
    return [pair for text in texts if text.strip() for pair in re.split(r"\s+(?=[\w.-]+=)", text.strip())]


def limit_counts(content: dict[str, Any], overrides: Sequence[str]) -> None:
    """Fits the settings of stages that an override has shortened, in place, to their number of epochs.

    Then `stages.0.epochs=1` alone is valid for a stage whose last two epochs are averaged. Settings that are overridden
    themselves are not changed.
    """
    keys = {pair.partition("=")[0] for pair in overrides}
    for prefix, owner in owners_of_stages(content):
        for number, stage in enumerate(owner["stages"]):
            if not isinstance(stage, dict) or not isinstance(stage.get("epochs"), int):
                continue
            starts = [f"{start}stages.{which}." for start in {"", prefix} for which in (number, stage.get("name"))]
            overridden = {key.removeprefix(start) for key in keys for start in starts if key.startswith(start)}
            if "epochs" in overridden:
                for key, value in fit_to_epochs(stage, overridden).items():
                    epochs = counted(stage["epochs"], "epoch")
                    log.info(
                        "%sstages.%d.%s: lowered to %s, since the stage has %s", prefix, number, key, value, epochs
                    )


def override(content: dict[str, Any], pair: str) -> None:
    """Sets one `a.b.0.c=value` in place; overrides of stages also apply to members with stages of their own.

    Args:
        content: Parsed YAML without shared mappings or lists.
        pair: The value is YAML; list items go by number, stages also by name.

    Raises:
        KitError: it is not a pair, or there is no such key.

    >>> content = {"stages": [{"epochs": 8}], "members": {"a": {"stages": [{"epochs": 4}, {"epochs": 3}]}}}
    >>> override(content, "stages.0.epochs=2")
    >>> content
    {'stages': [{'epochs': 2}], 'members': {'a': {'stages': [{'epochs': 2}, {'epochs': 3}]}}}
    """
    key, value = _parse(pair)
    path = key.split(".")
    if path[0] == "members" and path[2:3] == ["stages"] and len(path) > 3:  # starts as the ensemble's
        member = content.setdefault("members", {}).setdefault(path[1], {})
        if isinstance(member, dict) and isinstance(content.get("stages"), list):
            member.setdefault("stages", copy.deepcopy(content["stages"]))
    owners = [content]
    if path[0] == "stages":
        owners += [member for prefix, member in owners_of_stages(content) if prefix]
    if path[0] == "stages" and len(path) > 1:  # only where there is a stage of that number or name
        owners = [owner for owner in owners if _find(owner.get("stages"), path[1]) is not None] or [content]
    for owner in owners:
        _set(owner, path, key, copy.deepcopy(value))


def unreached_members(pair: str, whole: dict[str, Any], members: Mapping[str, dict[str, Any]]) -> str:
    """Describes which members an override does not reach, because they set the key themselves or lack the stage.

    Args:
        pair: The override.
        whole: The overridden recipe with all its keys.
        members: Each member with all its keys, by name.

    >>> unreached_members("seed=5", {"seed": 5}, {"a": {"seed": 1}, "b": {"seed": 5}})
    'a: try members.a.seed=5'
    """
    path = pair.partition("=")[0].split(".")
    if path[0] in ("name", "start", "members"):  # each member has its own
        return ""
    expected, values = _at(whole, path), {name: _at(member, path) for name, member in members.items()}
    without = [name for name, value in values.items() if path[0] == "stages" and value is ...]
    differing = [
        name
        for name, value in values.items()
        if name not in without and expected not in (..., value) and not isinstance(value, dict)
    ]
    problems = [f"{', '.join(without)}, which have no such stage"] if without else []
    problems += [f"{', '.join(differing)}: try members.{differing[0]}.{pair}"] if differing else []
    return " and ".join(problems)


def _at(value: Any, path: Sequence[str]) -> Any:
    """Returns the value at the path of a key, or `...` if there is none."""
    for part in path:
        if isinstance(value, list) and (place := _find(value, part)) is not None:
            value = value[place]
        else:
            value = value.get(part, ...) if isinstance(value, dict) else ...
    return value


def _find(stages: Any, part: str) -> int | None:
    """Returns the index of the stage of that number or name in a list of stages."""
    if not isinstance(stages, list):
        return None
    if part.isdecimal():
        return int(part) if len(part) < 10 and int(part) < len(stages) else None
    matches = (number for number, stage in enumerate(stages) if isinstance(stage, dict) and stage.get("name") == part)
    return next(matches, None)


def _parse(pair: str) -> tuple[str, Any]:
    key, equals, text = pair.partition("=")
    if not equals or not key:
        raise KitError(f"SET: {pair!r} is not KEY=VALUE, as in SET='stages.0.epochs=2 seed=1'")
    value = load_yaml(text, f"SET: {key}")
    # YAML 1.1 reads 1e-4, without a dot, as a string.
    is_number = isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value, re.ASCII)
    return key, float(value) if is_number else value


def owners_of_stages(content: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Returns the recipe and the members with stages of their own, each after the prefix of its keys."""
    members = content.get("members")
    parts = [("", content)]
    if isinstance(members, dict):
        parts += [(f"members.{name}.", member) for name, member in members.items()]
    return [(prefix, part) for prefix, part in parts if isinstance(part, dict) and isinstance(part.get("stages"), list)]


def _set(target: Any, path: Sequence[str], key: str, value: Any) -> None:
    *parents, last = path
    for depth, part in enumerate(parents):
        if isinstance(target, dict) and target.get(part) is None:  # a section that may be null
            target[part] = {}
        target = target[_index(target, part, key) if isinstance(target, list) else part]
        if not isinstance(target, dict | list):
            raise KitError(f"SET: {key}: {'.'.join(parents[: depth + 1])} holds a value, not keys")
    target[_index(target, last, key) if isinstance(target, list) else last] = value


def _index(items: list, part: str, key: str) -> int:
    if (index := _find(items, part)) is not None:
        return index
    names = [str(item["name"]) for item in items if isinstance(item, dict) and item.get("name")]
    called = f", called {', '.join(names)}" if names else ""
    raise KitError(f"SET: {key}: there is no {part} in a list of {len(items)} (the first is 0{called})")
