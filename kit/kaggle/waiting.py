"""A line that shows how long something of Kaggle's takes."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

log = logging.getLogger(__name__)


class Line:
    """What it says, and since when."""

    def __init__(self, bar: tqdm) -> None:
        self._bar, self._begin = bar, time.monotonic()

    def seconds(self) -> float:
        """Since the line began; shown again."""
        self._bar.update()
        return time.monotonic() - self._begin

    def say(self, what: str) -> None:
        """Changes its text."""
        self._bar.set_description_str(what)


@contextmanager
def waiting(what: str, interrupted: str) -> Iterator[Line]:
    """Shows `what` and the time, on a terminal alone, after two seconds.

    Args:
        interrupted: What to tell a person who does not wait any longer.
    """
    with tqdm(desc=what, bar_format="{desc} {elapsed}", delay=2, leave=False, disable=None) as bar:
        try:
            yield Line(bar)
        except (KeyboardInterrupt, SystemExit):  # The second is what a signal becomes in a verb.
            log.warning("interrupted: %s", interrupted)
            raise
