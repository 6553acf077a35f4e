"""A bar wherever a person would wait: on a terminal only, so that logs stay readable."""

from collections.abc import Iterable
from typing import Any

from tqdm import tqdm


def progress(
    items: Iterable[Any] | None, what: str, total: int | None = None, unit: str = "img", show: bool = True
) -> Any:
    """The items, with a bar that appears after a second and goes when they end.

    Args:
        items: What to iterate over; None for a bar that is moved by hand.
        what: Title.
        total: Number of items, where they cannot tell.
        unit: Of an item.
        show: False keeps it silent, as in all processes but the first.
    """
    return tqdm(items, what, total, unit=unit, leave=False, delay=1, disable=None if show else True)
