"""What two recipes differ in: keys that do nothing are not looked at."""

from collections.abc import Callable

from kit.recipes.schema import Recipe


def differences(old: Recipe, new: Recipe, may_differ: Callable[[str], bool]) -> list[str]:
    """Keys that differ, each with both values.

    Args:
        may_differ: Whether a key, by its path such as `threshold.rule`, is left out.
    """
    before, after = _flat(old.resolved()), _flat(new.resolved())
    return [
        f"{key}: {before.get(key)} → {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and not may_differ(key)
    ]


def _flat(value: object, path: str = "") -> dict[str, object]:
    """The leaves of nested mappings and lists, by their path."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {
            key: leaf
            for name, part in items
            for key, leaf in _flat(part, f"{path}.{name}" if path else str(name)).items()
        }
    return {path: value}
