"""What two recipes differ in."""

from collections.abc import Collection

from kit.recipes.schema import Recipe


def differences(old: Recipe, new: Recipe, ignored: Collection[str]) -> list[str]:
    """Keys that differ, each with both values.

    Args:
        old: A recipe.
        new: Another one.
        ignored: Keys that may differ, by their path: `threshold.rule`.
    """
    before, after = _flat(old.model_dump(mode="json")), _flat(new.model_dump(mode="json"))
    return [
        f"{key}: {before.get(key)} → {after.get(key)}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key) and key not in ignored
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
