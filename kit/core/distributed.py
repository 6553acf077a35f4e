"""The processes that share a piece of work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

JOB = "KIT_JOB"
"""Environment variable of a process that another one started for a part of its work, and that speaks for both."""
PRETRAINED = "KIT_PRETRAINED"
"""Environment variable: folder of the weights that networks start from, for a machine without internet; see
`networks.build`."""
STAND_INS = "KIT_STAND_INS"
"""Environment variable: path of a JSON object {SHA-256 of a file here: SHA-256 of the original that it replaces}. So
what was made from the originals stays current on Kaggle, where the images lie in other files; see
`store.content_of`."""


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


def lost_process(error: BaseException) -> bool:
    """Whether an error says that another process of the team is gone: the libraries say so in words alone.

    >>> lost_process(RuntimeError("[pair.cc:538] Connection closed by peer [127.0.0.1]:5000"))
    True
    """
    return any(words in str(error) for words in _LOST)


_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL communicator was aborted")
ALONE = Team(0, 1, lambda: None)
