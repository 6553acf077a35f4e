"""Estimate of the remaining training time."""

import time

from kit.core.progress import duration


class EtaEstimator:
    """Estimates the remaining time of all stages, folds and members from the seconds per pixel so far.

    Args:
        pixels: Number of pixels in all images of all epochs.
        largest: Number of pixels in the largest epoch. Until such an epoch has run, the estimate is an upper bound,
            since a pixel of a larger image takes less time.
    """

    def __init__(self, pixels: int, largest: int = 0) -> None:
        self._pixels_left, self._pixels_done, self._seconds = pixels, 0, 0.0
        self._largest = largest  # 0 once such an epoch has run
        self._epochs_left, self._pixels_per_epoch = 0, 0  # of the current stage
        self._began = time.monotonic()  # the current epoch

    @property
    def is_waiting(self) -> bool:
        """Whether any epoch remains."""
        return self._pixels_left > 0

    def begin(self, epochs: int, pixels: int) -> None:
        """Begins a stage of some epochs, each of some pixels."""
        self._epochs_left, self._pixels_per_epoch, self._began = epochs, pixels, time.monotonic()

    def end_epoch(self, seconds: float) -> None:
        """Counts a finished epoch of the stage, from this process or, when resuming, an earlier one."""
        self._epochs_left -= 1
        self._pixels_left -= self._pixels_per_epoch
        self._pixels_done += self._pixels_per_epoch
        self._largest = 0 if self._pixels_per_epoch >= self._largest else self._largest
        self._seconds += seconds
        self._began = time.monotonic()

    def end(self) -> None:
        """Ends the stage, with all of its epochs or early."""
        self._pixels_left -= self._epochs_left * self._pixels_per_epoch
        self._epochs_left = self._pixels_per_epoch = 0

    def remaining(self, share: float = 0.0) -> float | None:
        """Remaining seconds of training; None before the first measurement.

        Args:
            share: Finished share of the current epoch, in [0, 1].
        """
        spent = self._seconds + (time.monotonic() - self._began if share else 0.0)
        of_this_epoch = share * self._pixels_per_epoch
        done, left = self._pixels_done + of_this_epoch, self._pixels_left - of_this_epoch
        return left * spent / done if done else None

    def format_remaining(self, share: float = 0.0) -> str:
        """`remaining` as the end of a log line; empty before the first measurement and after the last epoch."""
        seconds = self.remaining(share)
        return f", {'up to' if self._largest else 'about'} {duration(seconds)} of training left" if seconds else ""
