"""Processes that share the work of one command, and the environment variables that the kit sets for its processes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")

JOB = "KIT_JOB"
"""Environment variable that marks a worker process: only its parent process reports to the user."""
PRETRAINED = "KIT_PRETRAINED"
"""Environment variable: folder of pretrained weights, for a machine without internet; see `networks.build`."""
STAND_INS = "KIT_STAND_INS"
"""Environment variable: path of a JSON object {SHA-256 of a local file: SHA-256 of the original}. Results made from
the originals stay current on Kaggle, where the images are in other files; see `store.content_of`."""


@dataclass(frozen=True)
class Team:
    """This process and its rank in a group of processes."""

    rank: int
    world: int
    barrier: Callable[[], object]
    """Blocks until every process of the group has called it."""

    @property
    def first(self) -> bool:
        """Whether this process writes the files that the group shares."""
        return self.rank == 0

    def share(self, items: Sequence[T]) -> Sequence[T]:
        """Returns the items that this process works on.

        >>> Team(1, 3, lambda: None).share("abcdefg")
        'be'
        """
        return items[self.rank :: self.world]


def lost_process(error: BaseException) -> bool:
    """Whether an error means that another process of the group has died; libraries say so only in the message.

    >>> lost_process(RuntimeError("[pair.cc:538] Connection closed by peer [127.0.0.1]:5000"))
    True
    """
    return any(phrase in str(error) for phrase in _LOST)


_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL communicator was aborted")
ALONE = Team(0, 1, lambda: None)
