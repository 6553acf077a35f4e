"""`SET="KEY=VALUE …"`: values written over those of a recipe before it is validated."""

import copy
import re
from collections.abc import Sequence
from typing import Any

from kit.core.documents import NOT_YAML, load_yaml
from kit.core.errors import KitError

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
                *parents, last = path
                holder: Any = stage
                for part in parents:
                    holder = holder.get(part) if isinstance(holder, dict) else None
                said = any(".".join(path).startswith(key) for key in told)
                if isinstance(holder, dict) and isinstance(holder.get(last), int) and not said:
                    holder[last] = min(holder[last], max(stage["epochs"], 0))


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


def unreached(content: dict[str, Any], pair: str) -> str:
    """Which members an override of a valid recipe does not reach, in words: they say otherwise, or lack the stage.

    >>> unreached({"seed": 5, "members": {"a": {"seed": 1}, "b": {}}}, "seed=5")
    'a: try members.a.seed=5'
    """
    key, value = _parsed(pair)
    path = key.split(".")
    members = content.get("members") or {}
    stages = {name: own.get("stages", content.get("stages")) for name, own in members.items()}
    of_a_stage = path[0] == "stages" and len(path) > 1
    lacking = [name for name in members if of_a_stage and _find(stages[name], path[1]) is None]
    others = [
        name
        for name, own in members.items()
        if path[0] != "members" and name not in lacking and _says_otherwise(own, path, value)
    ]
    told = [f"{', '.join(lacking)}, which have no such stage"] if lacking else []
    return " and ".join(told + ([f"{', '.join(others)}: try members.{others[0]}.{pair}"] if others else []))


def _says_otherwise(own: Any, path: Sequence[str], value: Any) -> bool:
    for part in path:
        if not isinstance(own, dict | list):
            return True
        if isinstance(own, list):
            if (place := _find(own, part)) is None:
                return True
            own = own[place]
        elif part in own:
            own = own[part]
        else:
            return False
    return own != value and not isinstance(own, dict)


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
    try:
        value = load_yaml(text)
    except NOT_YAML:
        raise KitError(f"SET: {key}: {text[:80]!r} is not a YAML value") from None
    # YAML 1.1 takes 1e-4, without a dot, for a string.
    return key, float(value) if isinstance(value, str) and "e" in value.lower() and _is_number(value) else value


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


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _index(items: list, part: str, key: str) -> int:
    if (found := _find(items, part)) is not None:
        return found
    names = [str(item["name"]) for item in items if isinstance(item, dict) and item.get("name")]
    called = f", called {', '.join(names)}" if names else ""
    raise KitError(f"SET: {key}: there is no {part} in a list of {len(items)} (the first is 0{called})")
