"""`SET="KEY=VALUE …"`: values written over those of a recipe before it is validated."""

import copy
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

from kit.core.documents import load_yaml
from kit.core.errors import KitError

log = logging.getLogger(__name__)

_COUNTS = (("frozen_epochs",), ("warm_up",), ("keep", "swa", "last"), ("keep", "best", "epochs"))
"""What a stage has no more of than epochs."""


def pairs(overrides: str | Sequence[str]) -> list[str]:
    """The `KEY=VALUE` pairs of one text or of several; a value ends where white space and the next `KEY=` begin.

    >>> pairs("seed=1 network.encoder_weights=my weights.pt stages=[{size: 64, epochs: 2}]")
    ['seed=1', 'network.encoder_weights=my weights.pt', 'stages=[{size: 64, epochs: 2}]']
    """
    texts = [overrides] if isinstance(overrides, str) else overrides
    return [pair for text in texts if text.strip() for pair in re.split(r"\s+(?=[\w.-]+=)", text.strip())]


def shorten(content: dict[str, Any], given: Sequence[str]) -> None:
    """Where an override has shortened a stage, its counts of epochs fall to the new length, in place.

    So `stages.0.epochs=1` alone makes a valid recipe of one whose last two epochs are averaged. Counts that are
    overridden themselves stay.
    """
    keys = {pair.partition("=")[0] for pair in given}
    for before, owner in owners_of_stages(content):
        for number, stage in enumerate(owner["stages"]):
            if not isinstance(stage, dict) or not isinstance(stage.get("epochs"), int):
                continue
            places = [f"{start}stages.{which}." for start in {"", before} for which in (number, stage.get("name"))]
            told = {key.removeprefix(place) for key in keys for place in places if key.startswith(place)}
            for path in _COUNTS if "epochs" in told else ():
                holder = _at(stage, path[:-1])
                said = any(".".join(path).startswith(key) for key in told)
                if isinstance(holder, dict) and isinstance(holder.get(path[-1]), int) and not said:
                    lowered = min(holder[path[-1]], max(stage["epochs"], 0))
                    if lowered != holder[path[-1]]:
                        log.info(
                            "%sstages.%d.%s: lowered to %d, as its epochs are", before, number, ".".join(path), lowered
                        )
                    holder[path[-1]] = lowered


def override(content: dict[str, Any], pair: str) -> None:
    """Sets one `a.b.0.c=value` in place; what is said of stages goes for those that members bring along, too.

    Args:
        content: What YAML gives: mappings, lists and values, none of them in two places.
        pair: The value is YAML; the items of a list go by number, stages by their name, too.

    Raises:
        KitError: it is no pair, or its key leads nowhere.

    >>> content = {"stages": [{"epochs": 8}], "members": {"a": {"stages": [{"epochs": 4}, {"epochs": 3}]}}}
    >>> override(content, "stages.0.epochs=2")
    >>> content
    {'stages': [{'epochs': 2}], 'members': {'a': {'stages': [{'epochs': 2}, {'epochs': 3}]}}}
    """
    key, value = _parsed(pair)
    path = key.split(".")
    if path[0] == "members" and path[2:3] == ["stages"] and len(path) > 3:  # the whole's, until it has its own
        member = content.setdefault("members", {}).setdefault(path[1], {})
        if isinstance(member, dict) and isinstance(content.get("stages"), list):
            member.setdefault("stages", copy.deepcopy(content["stages"]))
    owners = [content]
    if path[0] == "stages":  # also of members that have stages of their own
        owners += [owner for before, owner in owners_of_stages(content) if before]
    if path[0] == "stages" and len(path) > 1:  # one of them, where there is one of that number or name
        owners = [owner for owner in owners if _find(owner.get("stages"), path[1]) is not None] or [content]
    for owner in owners:
        _set(owner, path, key, copy.deepcopy(value))


def unreached(pair: str, whole: dict[str, Any], members: Mapping[str, dict[str, Any]]) -> str:
    """Which members an override does not reach, in words: they say otherwise, or lack the stage.

    Args:
        pair: The override.
        whole: The recipe with all its keys.
        members: Each member with all its keys, by its name.

    >>> unreached("seed=5", {"seed": 5}, {"a": {"seed": 1}, "b": {"seed": 5}})
    'a: try members.a.seed=5'
    """
    path = pair.partition("=")[0].split(".")
    said, found = _at(whole, path), {name: _at(member, path) for name, member in members.items()}
    if path[0] in ("name", "start", "members"):  # each member has its own
        return ""
    lacking = [name for name, value in found.items() if path[0] == "stages" and value is ...]
    others = [
        name
        for name, value in found.items()
        if name not in lacking and said not in (..., value) and not isinstance(value, dict)
    ]
    told = [f"{', '.join(lacking)}, which have no such stage"] if lacking else []
    return " and ".join(told + ([f"{', '.join(others)}: try members.{others[0]}.{pair}"] if others else []))


def _at(value: Any, path: Sequence[str]) -> Any:
    """What a key holds; `...` where it is not there."""
    for part in path:
        if isinstance(value, list) and (place := _find(value, part)) is not None:
            value = value[place]
        else:
            value = value.get(part, ...) if isinstance(value, dict) else ...
    return value


def _find(stages: Any, part: str) -> int | None:
    """Where in a list of stages the one of that number or name stands."""
    if not isinstance(stages, list):
        return None
    if part.isdecimal():
        return int(part) if len(part) < 10 and int(part) < len(stages) else None
    named = (number for number, stage in enumerate(stages) if isinstance(stage, dict) and stage.get("name") == part)
    return next(named, None)


def _parsed(pair: str) -> tuple[str, Any]:
    """The key and the value of a pair."""
    key, equals, text = pair.partition("=")
    if not equals or not key:
        raise KitError(f"SET: {pair!r} is not KEY=VALUE, as in SET='stages.0.epochs=2 seed=1'")
    value = load_yaml(text, f"SET: {key}")
    # YAML 1.1 takes 1e-4, without a dot, for a text.
    is_number = isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value, re.ASCII)
    return key, float(value) if is_number else value


def owners_of_stages(content: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The recipe and the members that have a list of stages of their own, each with what its keys begin with."""
    members = content.get("members")
    parts = [("", content)]
    if isinstance(members, dict):
        parts += [(f"members.{name}.", own) for name, own in members.items()]
    return [(before, own) for before, own in parts if isinstance(own, dict) and isinstance(own.get("stages"), list)]


def _set(target: Any, path: Sequence[str], key: str, value: Any) -> None:
    *parents, last = path
    for depth, part in enumerate(parents):
        if isinstance(target, dict) and target.get(part) is None:  # as a section that may be null
            target[part] = {}
        target = target[_index(target, part, key) if isinstance(target, list) else part]
        if not isinstance(target, dict | list):
            raise KitError(f"SET: {key}: {'.'.join(parents[: depth + 1])} holds a value, not keys")
    target[_index(target, last, key) if isinstance(target, list) else last] = value


def _index(items: list, part: str, key: str) -> int:
    if (found := _find(items, part)) is not None:
        return found
    names = [str(item["name"]) for item in items if isinstance(item, dict) and item.get("name")]
    called = f", called {', '.join(names)}" if names else ""
    raise KitError(f"SET: {key}: there is no {part} in a list of {len(items)} (the first is 0{called})")
