"""Asking Kaggle again and again until something has come about: the one way of waiting."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from tqdm import tqdm

log = logging.getLogger(__name__)

T = TypeVar("T")


def wait_for(
    look: Callable[[], T | None], what: Callable[[], str], interrupted: str, patience: float, pause: float
) -> T | None:
    """What `look` gives in the end; None where it gave nothing for as long as `patience`.

    On a terminal alone a line shows `what` and the time, after two seconds.

    Args:
        look: Gives what is waited for, or None while there is nothing.
        what: Says what it is, and how far; asked at each look.
        interrupted: What to tell a person who does not wait any longer.
        patience: Seconds; the last look is at their end.
        pause: Seconds between two looks.
    """
    end = time.monotonic() + patience
    with tqdm(bar_format="{desc} {elapsed}", delay=2, leave=False, disable=None) as bar:
        try:
            while (found := look()) is None and (rest := end - time.monotonic()) > 0:
                bar.set_description_str(what(), refresh=False)
                bar.update()
                time.sleep(min(pause, rest))
        except (KeyboardInterrupt, SystemExit):  # The second is what a signal becomes in a verb.
            log.warning("interrupted: %s", interrupted)
            raise
    return found
