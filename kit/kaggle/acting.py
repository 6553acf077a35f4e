"""An act that must happen once: recorded, sent once, and looked for where its answer is lost.

An act whose outcome is unknown is never repeated by the call that finds out. It is looked for until Kaggle's lists have
had time to catch up; where they do not show it then, a person is told to look, and only the call after that sends,
when it has looked for as long again. A look is no proof against another machine that acts in the same second.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol, TypeVar

from kit.core import files
from kit.core.documents import read_document
from kit.core.errors import KitError
from kit.kaggle.retry import Failure, Refused
from kit.kaggle.waiting import wait_for

T = TypeVar("T")
State = Literal["begun", "told"]
"""Of an act whose outcome is unknown: nobody knows, or a person was told to look."""

CATCH_UP = 60.0
"""Seconds after which Kaggle's lists show what was done."""
PAUSE = 2.0
"""Seconds between two looks."""


class Record(Protocol):
    """What remembers an act beyond the process."""

    def state(self) -> State | None:
        """Of the act; None where nothing is unknown."""
        ...

    def write(self, state: State | None) -> None:
        """Returns when it is on the disk."""
        ...


def send_once(what: str, look: Callable[[], T | None], record: Record, prepare: Callable[[], Callable[[], T]]) -> T:
    """Does once what has not been done yet, and gives what it made.

    Args:
        look: Gives it, or None while Kaggle does not list it.
        record: Of the act. It is left for the caller to close where the act is done.
        prepare: Does what has no effect beforehand, and gives the function that sends the request.

    Raises:
        Failure: nothing was done.
        KitError: whether it was done is not known.
    """
    found = look()
    if found is None and (state := record.state()):
        found = wait_until_listed(what, look)
        if found is None and state == "begun":
            record.write("told")
            raise KitError(f"whether Kaggle has received {what} in an earlier call is not known: {_not_listed()}")
    if found is not None:
        return found
    send = prepare()
    found = look()  # what has no effect may have taken long
    if found is not None:
        return found
    record.write("begun")
    try:
        return send()
    except Failure as failure:
        if isinstance(failure, Refused) or failure.retryable:
            record.write(None)
            raise
        unknown = f"{failure}; whether Kaggle has received {what} is not known"
    try:
        found = wait_until_listed(what, look)
    except Failure as failure:
        raise KitError(f"{unknown}, and it cannot be asked ({failure}): the same command looks first") from None
    if found is None:
        record.write("told")
        raise KitError(f"{unknown}: {_not_listed()}")
    return found


def wait_until_listed(what: str, look: Callable[[], T | None]) -> T | None:
    """What an act has made, looked for as long as Kaggle's lists may lag; None where they do not show it.

    Args:
        look: Gives it, or None while Kaggle does not list it.

    Raises:
        Failure: Kaggle cannot be asked.
    """
    return wait_for(
        look, lambda: f"looking for {what} in Kaggle's list", "run the same command to resume", CATCH_UP, PAUSE
    )


def _not_listed() -> str:
    return (
        f"it is not listed after {CATCH_UP:.0f} s: look at kaggle.com; the same command looks as long again, and sends "
        "what is not listed then"
    )


class Journal:
    """An act in a file that remembers which acts were begun and are not known to have ended; a `Record`.

    Args:
        path: Of the file; there is none while nothing is open.
        act: Names it; a changed content is another act.
    """

    def __init__(self, path: Path, act: str) -> None:
        self._path, self._act = path, act

    def state(self) -> State | None:
        """Of the act; None where nothing is unknown."""
        return self._open().get(self._act)

    def write(self, state: State | None) -> None:
        """Returns when it is on the disk."""
        rest = {name: known for name, known in self._open().items() if name != self._act}
        if state:
            rest[self._act] = state
        if rest:
            files.write_json(self._path, rest)
        else:
            self._path.unlink(missing_ok=True)

    def _open(self) -> dict[str, State]:
        if not files.is_file_or_raise(self._path):
            return {}
        remedy = "look at kaggle.com for what it names, then remove it"
        return read_document(self._path, dict[str, State], remedy)
