"""How a request to Kaggle can fail, what the user is told, and what may be tried again."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

import requests
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from kit.core.errors import KitError

T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each repetition."""
LONGEST_WAIT = 120.0
"""Seconds; a server that asks for more patience is left alone, and the user told."""
ADVICE = {
    401: "create a new token on kaggle.com (Settings, API); an expired one in KAGGLE_API_TOKEN or"
    " ~/.kaggle/access_token hides a valid kaggle.json",
    403: "join the competition and accept its rules on kaggle.com, and check the names in kaggle.yaml",
    404: "check the names in kaggle.yaml",
    429: "too many requests: try again later",
}


class Failure(KitError):
    """A request that did not end well.

    Args:
        message: The line for the user.
        harmless: Nothing was done, and asking again is welcome: no connection came about, or the answer was 429.
        wait: Seconds that the answer asks to wait before.
        status: Of the answer, if there was one.
    """

    def __init__(
        self, message: str, harmless: bool = False, wait: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.harmless = harmless
        self.wait = wait


class Refused(Failure):
    """Kaggle has answered that it did not do what it was asked for."""


class Unsettled(Failure):
    """There is no answer that tells whether Kaggle did what it was asked for.

    `finished` tells that Kaggle is done with the request (it answered, if badly): what it did can be seen now.
    """

    finished = False


def persist(attempt: Callable[[int], T], repeat: bool = True) -> T:
    """What `attempt` gives, called with 0, 1, … until it succeeds, with growing pauses between.

    Args:
        attempt: Raises Refused or Unsettled.
        repeat: Whether a failure that may have had an effect is followed by another attempt.

    Raises:
        Refused: at once, but for a 429.
        Unsettled: after the last attempt.
    """
    for number, wait in enumerate((*WAITS, None)):
        try:
            return attempt(number)
        except (Refused, Unsettled) as failure:
            pause = failure.wait or wait
            again = failure.harmless or (repeat and isinstance(failure, Unsettled))
            if not again or wait is None or pause > LONGEST_WAIT:
                raise
        time.sleep(pause)
    raise AssertionError


@contextlib.contextmanager
def explained(name: str, secrets: tuple[str, ...] = ()) -> Iterator[None]:
    """Turns what the HTTP library raises into Refused or Unsettled, without the secrets.

    Args:
        name: What was asked for, for the message.
        secrets: Texts that no message may show.
    """
    try:
        yield
        return
    except requests.HTTPError as error:
        failure = explain(name, error.response)
    except requests.JSONDecodeError:
        failure = _unreadable(name)
    except requests.RequestException as error:
        harmless = _unsent(error)
        failure = Unsettled(f"kaggle: {name}: no answer ({type(error).__name__}): check the network", harmless)
    except KitError:
        raise
    except ValueError:
        failure = _unreadable(name)
    for secret in secrets:
        failure.args = (str(failure).replace(secret, "***"),)
    raise failure from None


def explain(name: str, response: requests.Response) -> Refused | Unsettled:
    """What a failed answer means, with the reason that Kaggle gives in its body."""
    status = response.status_code
    reason, wait = _reason(response), _retry_after(response)
    message = f"kaggle: {name}: {reason} ({status})"
    if status >= 500:
        failure = Unsettled(f"{message}: try again later", wait=wait, status=status)
        failure.finished = status not in (502, 504)  # Those are a gateway's, which does not know either.
        return failure
    advice = reset_text() if "allowance" in reason.lower() else ADVICE.get(status, "mend what it names")
    return Refused(f"{message}: {advice}", harmless=status == 429, wait=wait, status=status)


def reset_text() -> str:
    """When the daily allowance is renewed: at midnight UTC."""
    now = datetime.now(UTC)
    minutes = 24 * 60 - (now.hour * 60 + now.minute)
    return f"the daily allowance is renewed at 00:00 UTC, in {minutes // 60} h {minutes % 60:02d} min"


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the answer asks to wait, by its Retry-After: a number or a date."""
    text = response.headers.get("Retry-After", "")
    with contextlib.suppress(ValueError):
        return max(0.0, float(text))
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return None


def _unsent(error: requests.RequestException) -> bool:
    """Whether no connection came about, so that nothing can have been done."""
    cause = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(cause, NewConnectionError | ConnectTimeoutError)


def _unreadable(name: str) -> Unsettled:
    failure = Unsettled(f"kaggle: {name}: the answer is not what it should be: try again later")
    failure.finished = True
    return failure


def _reason(response: requests.Response) -> str:
    """One line from the body of a failed answer: Kaggle's message in JSON, else the text without its tags."""
    text = response.text
    with contextlib.suppress(ValueError, AttributeError):
        body = json.loads(text)
        error = body.get("error")
        message = error.get("message") if isinstance(error, dict) else error
        text = str(message or body.get("message") or text)
    text = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    return text[:300] or response.reason or "no reason given"
