"""An act that must happen once: recorded, sent once, and looked for where its answer is lost.

An act whose outcome is unknown is never repeated. It is looked for until Kaggle's lists have had time to catch up;
what cannot be known then is left to a person, and the next call looks first. A look is no proof against another
machine that acts in the same second.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from kit.core import files
from kit.core.documents import Number, read_document
from kit.core.errors import KitError
from kit.kaggle.retry import Failure, Refused
from kit.kaggle.waiting import waiting

T = TypeVar("T")

CATCH_UP = 60.0
"""Seconds after which Kaggle's lists show what was done."""
PAUSE = 2.0
"""Seconds between two looks."""


def seek(what: str, look: Callable[[], T | None], begun: float | None) -> T | None:
    """What an act has made, looked for until a minute after it was begun.

    Args:
        what: Names it for the person who waits.
        look: Gives it, or None while Kaggle does not list it.
        begun: When the act was begun, as of `time.time()`; None: one look is enough.

    Raises:
        Failure: Kaggle cannot be asked.
    """
    with waiting(f"looking for {what} in Kaggle's list", "run the same command to resume") as line:
        end = 0.0 if begun is None else min(begun, time.time()) + CATCH_UP  # a clock that was ahead then
        while True:
            found = look()
            rest = end - time.time()
            if found is not None or rest <= 0:
                return found
            line.seconds()
            time.sleep(min(PAUSE, rest))


def once(
    what: str,
    look: Callable[[], T | None],
    record: Callable[[], None],
    send: Callable[[], T],
    close: Callable[[], None],
) -> T:
    """Does once what has not been done yet, and gives what it made.

    Args:
        what: Names what is made, for messages.
        look: Gives it, or None while Kaggle does not list it.
        record: Writes down that the act is begun, before anything is sent.
        send: Sends the request and gives what it made.
        close: Writes down that nothing was done, where that is certain.

    Raises:
        Failure: nothing was done.
        KitError: whether it was done is not known.
    """
    found = look()
    if found is not None:
        return found
    record()
    try:
        return send()
    except Failure as failure:
        if isinstance(failure, Refused) or failure.harmless:
            close()
            raise
        lost = failure
    unknown = f"{lost}; whether Kaggle has received {what} is not known"
    try:
        found = seek(what, look, time.time())
    except Failure as failure:
        raise KitError(f"{unknown}, and it cannot be asked ({failure}): the same command looks first") from None
    if found is None:
        raise KitError(
            f"{unknown}: it is not listed after {CATCH_UP:.0f} s: look at kaggle.com; the same command looks first,"
            " and sends again what is not listed then"
        )
    return found


class Journal:
    """A file that remembers which acts were begun and are not known to have ended.

    Args:
        path: Of the file; there is none while nothing is open.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def begun(self, act: str) -> float | None:
        """When an act was begun, as of `time.time()`; None where it is not open."""
        return self._open().get(act)

    def record(self, act: str) -> None:
        """Writes down that an act is begun."""
        files.write_json(self._path, {**self._open(), act: time.time()})

    def close(self, act: str) -> None:
        """Writes down that the outcome of an act is known."""
        rest = {name: begun for name, begun in self._open().items() if name != act}
        if rest:
            files.write_json(self._path, rest)
        else:
            self._path.unlink(missing_ok=True)

    def _open(self) -> dict[str, float]:
        if not files.present(self._path):
            return {}
        return read_document(self._path, dict[str, Number], "look at kaggle.com for what it names, then remove it")
