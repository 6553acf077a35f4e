"""`SET="KEY=VALUE …"`: values written over those of a recipe before it is validated."""

import copy
import re
from collections.abc import Sequence
from typing import Any

from kit.core.documents import NOT_YAML, load_yaml
from kit.core.errors import KitError


def pairs(overrides: str | Sequence[str]) -> list[str]:
    """The `KEY=VALUE` pairs of one text or of several; a value ends where white space and the next `KEY=` begin.

    >>> pairs("seed=1 network.encoder_weights=my weights.pt stages=[{size: 64, epochs: 2}]")
    ['seed=1', 'network.encoder_weights=my weights.pt', 'stages=[{size: 64, epochs: 2}]']
    """
    texts = [overrides] if isinstance(overrides, str) else overrides
    return [pair for text in texts if text.strip() for pair in re.split(r"\s+(?=[\w.-]+=)", text.strip())]


def shorten(content: dict[str, Any], given: Sequence[str]) -> None:
    """Where an override has shortened a stage, its counts of epochs fall to the new length, in place.

    So `stages.0.epochs=1` alone makes a valid recipe of one whose last two epochs are averaged.
    """
    keys = {pair.partition("=")[0] for pair in given}
    for before, stages in [("", content.get("stages")), *_stages_of_members(content)]:
        for number, stage in enumerate(stages if isinstance(stages, list) else []):
            told = {key for key in keys for start in ("", before) if key.startswith(f"{start}stages.{number}.")}
            own = {key.rpartition(".")[2] for key in told}
            if "epochs" in own and isinstance(stage, dict) and isinstance(stage.get("epochs"), int):
                for count in ({"swa_epochs", "best_checkpoints", "frozen_epochs"} & stage.keys()) - own:
                    if isinstance(stage[count], int):
                        stage[count] = min(stage[count], max(stage["epochs"], 0))


def override(content: dict[str, Any], pair: str) -> None:
    """Sets one `a.b.0.c=value` in place; what is said of stages goes for those that members bring along, too.

    Args:
        content: What YAML gives: mappings, lists and values, none of them in two places.
        pair: The value is YAML; the items of a list go by number.

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
    _set(content, path, key, value)
    if path[0] == "stages":
        for _, stages in _stages_of_members(content):
            if len(path) == 1:
                stages[:] = copy.deepcopy(value) if isinstance(value, list) else [value]
            elif int(path[1]) < len(stages):
                _set({"stages": stages}, path, key, copy.deepcopy(value))


def unreached(content: dict[str, Any], pair: str) -> list[str]:
    """The members that an override of a valid recipe does not reach: they say otherwise, or lack the stage.

    >>> unreached({"seed": 5, "members": {"a": {"seed": 1}, "b": {}}}, "seed=5")
    ['a']
    """
    key, value = _parsed(pair)
    path = key.split(".")
    members = content.get("members") or {}
    return [name for name, own in members.items() if path[0] != "members" and _says_otherwise(own, path, value)]


def _says_otherwise(own: Any, path: Sequence[str], value: Any) -> bool:
    for part in path:
        if isinstance(own, list):
            if int(part) >= len(own):
                return True
            own = own[int(part)]
        elif part in own:
            own = own[part]
        else:
            return False
    return own != value and not isinstance(own, dict)


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


def _stages_of_members(content: dict[str, Any]) -> list[tuple[str, list]]:
    """The stages that members bring along, each with what its keys begin with."""
    members = content.get("members")
    return [
        (f"members.{name}.", own["stages"])
        for name, own in (members.items() if isinstance(members, dict) else ())
        if isinstance(own, dict) and isinstance(own.get("stages"), list)
    ]


def _set(target: Any, path: Sequence[str], key: str, value: Any) -> None:
    *parents, last = path
    for depth, part in enumerate(parents):
        target = target[_index(target, part, key)] if isinstance(target, list) else target.setdefault(part, {})
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
    if not part.isdecimal() or len(part) > 9 or int(part) >= len(items):
        raise KitError(f"SET: {key}: there is no {part} in a list of {len(items)} (the first is 0)")
    return int(part)
