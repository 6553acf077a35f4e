"""Functions that numba compiles, kept for the next process where there is a folder to keep them in."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """Decorates a function that numba compiles when it is first called.

    The machine code is kept beside the package or in the user's cache; where neither can be written, as in a container
    with a read-only file system, each process compiles anew.
    """

    def decorate(function: F) -> F:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # numba found no folder for its cache
            return njit(**options)(function)

    return decorate
