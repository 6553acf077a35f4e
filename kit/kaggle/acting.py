"""Requests that must take effect once: recorded, sent once, and looked for if the answer is lost.

A call that cannot learn the outcome of its request never repeats it. It looks for the result until Kaggle's lists have
had time to catch up. If they do not show it, the user is told to look, and only the next call sends the request again,
after looking for as long. Two machines that send in the same second cannot see each other.
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
"""State of a request of unknown outcome: nobody knows of it, or the user was told to look."""

CATCH_UP = 60.0
"""Seconds until Kaggle's lists surely show a result."""
PAUSE = 2.0
"""Seconds between two looks at Kaggle's lists."""


class Record(Protocol):
    """The record of a request, which outlives the process."""

    def state(self) -> State | None:
        """Returns the request's state; None if no outcome is unknown."""
        ...

    def write(self, state: State | None) -> None:
        """Stores the state, and returns when it is on the disk."""
        ...


def send_once(what: str, look: Callable[[], T | None], record: Record, prepare: Callable[[], Callable[[], T]]) -> T:
    """Sends a request unless it has taken effect already, and returns its result.

    Args:
        look: Returns the result, or None while Kaggle does not list it.
        record: Record of the request, which the caller closes after success.
        prepare: Does what has no effect on Kaggle, and returns the function that sends the request.

    Raises:
        Failure: the request had no effect.
        KitError: whether it had an effect is not known.
    """
    result = look()
    if result is None and (state := record.state()):
        result = wait_until_listed(what, look)
        if result is None and state == "begun":
            record.write("told")
            raise KitError(f"whether Kaggle has received {what} in an earlier call is not known: {_not_listed()}")
    if result is not None:
        return result
    send = prepare()
    result = look()  # the preparation may have taken long
    if result is not None:
        return result
    record.write("begun")
    try:
        return send()
    except Failure as failure:
        if isinstance(failure, Refused) or failure.retryable:
            record.write(None)
            raise
        unknown = f"{failure}; whether Kaggle has received {what} is not known"
    try:
        result = wait_until_listed(what, look)
    except Failure as failure:
        raise KitError(f"{unknown}, and it cannot be asked ({failure}): the same command looks first") from None
    if result is None:
        record.write("told")
        raise KitError(f"{unknown}: {_not_listed()}")
    return result


def wait_until_listed(what: str, look: Callable[[], T | None]) -> T | None:
    """Looks for the result of a request for as long as Kaggle's lists may lag; None if they do not show it.

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
    """The record of one request in a file of all requests of unknown outcome; an `acting.Record`.

    Args:
        path: Path to the file, which exists only while an outcome is unknown.
        name: Name of the request; a request with other content needs another name.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name

    def state(self) -> State | None:
        """Returns the request's state; None if no outcome is unknown."""
        return self._states().get(self._name)

    def write(self, state: State | None) -> None:
        """Stores the state, and returns when it is on the disk."""
        states = self._states()
        states.pop(self._name, None)
        if state:
            states[self._name] = state
        if states:
            files.write_json(self._path, states)
        else:
            self._path.unlink(missing_ok=True)

    def _states(self) -> dict[str, State]:
        if not files.is_file_or_raise(self._path):
            return {}
        remedy = "look at kaggle.com for what it names, then remove it"
        return read_document(self._path, dict[str, State], remedy)
