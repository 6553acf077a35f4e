"""Compilation by numba, cached on the disk where possible."""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., Any])


def compiled(**options: Any) -> Callable[[F], F]:
    """Decorates a function to be compiled by numba at its first call.

    The machine code is cached beside the package or in the user's cache folder. If neither can be written, as in a
    container with a read-only file system, each process compiles again.
    """

    def decorate(function: F) -> F:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # numba found no writable cache folder
            return njit(**options)(function)

    return decorate
