"""The processes that share a piece of work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """This process among those that were started together."""

    rank: int
    world: int
    barrier: Callable[[], object]
    """Returns when every process has come to it."""

    @property
    def first(self) -> bool:
        """Whether this process writes what is written once."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """This process's part of the items.

        >>> Team(1, 3, lambda: None).share("abcdefg")
        'be'
        """
        return items[self.rank :: self.world]


ALONE = Team(0, 1, lambda: None)
