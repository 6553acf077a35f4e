"""How long the rest of a training takes, by what its epochs have taken so far."""

import time

from kit.core.progress import duration


class EtaEstimator:
    """The time that is left of all stages, folds and members, by the seconds that a pixel has taken so far.

    Args:
        pixels: Of all images of all epochs that there will be.
        largest: Of the largest epoch among them. Until one of this size was seen, the time left is a bound: a pixel of
            a larger image takes less.
    """

    def __init__(self, pixels: int, largest: int = 0) -> None:
        self._pixels_left, self._done, self._seconds, self._largest = pixels, 0, 0.0, largest
        self._epochs, self._epoch, self._began = 0, 0, time.monotonic()

    @property
    def is_waiting(self) -> bool:
        """Whether any epoch is to come."""
        return self._pixels_left > 0

    def begin(self, epochs: int, pixels: int) -> None:
        """A stage begins: so many epochs of so many pixels."""
        self._epochs, self._epoch, self._began = epochs, pixels, time.monotonic()

    def end_epoch(self, seconds: float) -> None:
        """An epoch of the stage has ended, now or before the stage was interrupted."""
        self._epochs -= 1
        self._pixels_left -= self._epoch
        self._done += self._epoch
        self._largest = 0 if self._epoch >= self._largest else self._largest
        self._seconds += seconds
        self._began = time.monotonic()

    def end(self) -> None:
        """The stage has ended, with all of its epochs or before."""
        self._pixels_left -= self._epochs * self._epoch
        self._epochs = self._epoch = 0

    def remaining(self, share: float = 0.0) -> float | None:
        """Seconds of training that are left; None before anything was measured.

        Args:
            share: Of the epoch under way, in [0, 1], how much is done.
        """
        spent = time.monotonic() - self._began if share else 0.0
        done = self._done + share * self._epoch
        return (self._pixels_left - share * self._epoch) * (self._seconds + spent) / done if done else None

    def format_remaining(self, share: float = 0.0) -> str:
        """As `remaining`, to stand at the end of a line; empty before anything was measured, and at the end of all."""
        left = self.remaining(share)
        return f", {'up to' if self._largest else 'about'} {duration(left)} of training left" if left else ""
