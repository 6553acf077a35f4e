"""Polling Kaggle until something has happened: the one way of waiting."""

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
    """Calls `look` until it returns a result; None if there is none within `patience`.

    On a terminal, a line shows `what` and the elapsed time after two seconds.

    Args:
        look: Returns the awaited result, or None.
        what: Returns the text of the progress line, called after each look.
        interrupted: Message for a user who interrupts the waiting.
        patience: Seconds until the last look.
        pause: Seconds between two looks.
    """
    end = time.monotonic() + patience
    with tqdm(bar_format="{desc} {elapsed}", delay=2, leave=False, disable=None) as bar:
        try:
            while (result := look()) is None and (remaining := end - time.monotonic()) > 0:
                bar.set_description_str(what(), refresh=False)
                bar.update()
                time.sleep(min(pause, remaining))
        except (KeyboardInterrupt, SystemExit):  # a verb turns a signal into SystemExit
            log.warning("interrupted: %s", interrupted)
            raise
    return result
