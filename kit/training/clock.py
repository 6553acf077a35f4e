"""How long the rest of a training takes, by what its epochs have taken so far."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kit.core.progress import duration

Key = tuple[str, int, int]
"""A stage of a fold: the label of the part of the recipe, the fold, the stage's number from 0."""


@dataclass
class Work:
    """What a stage of a fold has to compute."""

    epochs: int
    """Those that there will be, unless it stops early."""
    pixels: int
    """Of the images of an epoch."""
    seconds: list[float] = field(default_factory=list)
    """What its finished epochs have taken."""


class Clock:
    """The time that is left of all stages, folds and members.

    An epoch takes what those of its own stage have taken; before there are any, what those of the most similar stage
    have, in proportion to the pixels: of the same stage in another fold, of the same network, of any.

    Args:
        works: All stages to come or done, in their order.
    """

    def __init__(self, works: Mapping[Key, Work]) -> None:
        self._works = works
        self._now: Key | None = None
        self._began = time.monotonic()

    def begin(self, key: Key, seconds: Sequence[float] = ()) -> None:
        """A stage begins, or goes on after epochs that have taken so many seconds each."""
        self._now, self._began = key, time.monotonic()
        self._works[key].seconds[:] = seconds

    def end_epoch(self, seconds: float) -> None:
        """An epoch of the stage has ended."""
        if self._now is not None:
            self._works[self._now].seconds.append(seconds)
        self._began = time.monotonic()

    def end(self) -> None:
        """The stage has ended, with all of its epochs or before."""
        if self._now is not None:
            self._works[self._now].epochs = len(self._works[self._now].seconds)
        self._now = None

    def left(self, share: float = 0.0) -> float | None:
        """Seconds of training that are left; None before anything was measured.

        Args:
            share: Of the epoch under way, in [0, 1], how much is done.
        """
        spent = time.monotonic() - self._began if share > 0 else 0.0
        rates = {
            key: sum(work.seconds) / len(work.seconds) / work.pixels
            for key, work in self._works.items()
            if work.seconds
        }
        if self._now is not None and share > 0:
            rates.setdefault(self._now, spent / share / self._works[self._now].pixels)
        if not rates:
            return None
        whole = sum(
            (work.epochs - len(work.seconds)) * work.pixels * rates[_nearest(key, rates)]
            for key, work in self._works.items()
        )
        return max(0.0, whole - spent)

    def words(self, share: float = 0.0) -> str:
        """As `left`, to stand at the end of a line; empty before anything was measured, and at the end of all."""
        left = self.left(share)
        return f", about {duration(left)} of training left" if left else ""


def _nearest(wanted: Key, known: Iterable[Key]) -> Key:
    """Of some stages the one that is most like another one."""
    return max(known, key=lambda key: (key == wanted, key[::2] == wanted[::2], key[0] == wanted[0], key[2]))
