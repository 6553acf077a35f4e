"""`SET="KEY=VALUE …"`: values written over those of a recipe before it is validated."""

import re
from collections.abc import Sequence
from typing import Any

import yaml

from kit.core.documents import NOT_YAML
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
    for number, stage in enumerate(content["stages"] if isinstance(content.get("stages"), list) else []):
        if f"stages.{number}.epochs" in keys and isinstance(stage, dict) and isinstance(stage.get("epochs"), int):
            for count in {"swa_epochs", "best_checkpoints", "frozen_epochs"} & stage.keys():
                if f"stages.{number}.{count}" not in keys and isinstance(stage[count], int):
                    stage[count] = min(stage[count], max(stage["epochs"], 0))


def override(content: dict[str, Any], pair: str) -> None:
    """Sets one `a.b.0.c=value` in place.

    Args:
        content: What YAML gives: mappings, lists and values.
        pair: The value is YAML; the items of a list go by number.

    Raises:
        KitError: it is no pair, or its key leads nowhere.

    >>> content = {"stages": [{"epochs": 8}]}
    >>> override(content, "stages.0.epochs=2")
    >>> content
    {'stages': [{'epochs': 2}]}
    """
    key, equals, text = pair.partition("=")
    if not equals or not key:
        raise KitError(f"SET: {pair!r} is not KEY=VALUE, as in SET='stages.0.epochs=2 seed=1'")
    *parents, last = key.split(".")
    target: Any = content
    for depth, part in enumerate(parents):
        if depth and part.isdecimal() and isinstance(target, dict) and parents[depth - 1] == "stages":
            raise KitError(f"SET: {key}: {'.'.join(parents[:depth])} are those of the whole: give all, as stages=[…]")
        target = target[_index(target, part, key)] if isinstance(target, list) else target.setdefault(part, {})
        if not isinstance(target, dict | list):
            raise KitError(f"SET: {key}: {'.'.join(parents[: depth + 1])} holds a value, not keys")
    try:
        value = yaml.safe_load(text)
        # YAML 1.1 takes 1e-4, without a dot, for a string.
        value = float(value) if isinstance(value, str) and "e" in value.lower() and _is_number(value) else value
    except NOT_YAML:
        raise KitError(f"SET: {key}: {text!r} is not a YAML value") from None
    target[_index(target, last, key) if isinstance(target, list) else last] = value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _index(items: list, part: str, key: str) -> int:
    if not part.isdecimal() or int(part) >= len(items):
        raise KitError(f"SET: {key}: there is no {part} in a list of {len(items)} (the first is 0)")
    return int(part)
