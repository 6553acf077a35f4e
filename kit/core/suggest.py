"""What a mistyped word was meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error's line: the known word nearest to `word`, or nothing where none is near.

    >>> did_you_mean("resnet43", ["resnet34", "se_resnext50_32x4d"])
    '; did you mean resnet34?'
    >>> did_you_mean("x", ["resnet34"])
    ''
    """
    by_lower = {name.lower(): name for name in known}
    nearest = get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[nearest[0]]}?" if nearest else ""
