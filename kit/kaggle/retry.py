"""How a request to Kaggle can fail, what the user reads, and what may be tried again: the one retry layer."""

import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TypeVar

import requests
from urllib3 import Retry
from urllib3.exceptions import ConnectTimeoutError, InvalidHeader, NewConnectionError

from kit.core.errors import KitError

T = TypeVar("T")

WAITS = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each repetition."""
LONGEST_WAIT = 120.0
"""Seconds; a server that asks for more patience is left alone, and the user informed."""
ADVICE = {
    401: "create a new token on kaggle.com (Settings, API); an expired one in KAGGLE_API_TOKEN or"
    " ~/.kaggle/access_token hides a valid kaggle.json",
    403: "there is no such thing, or it is not for this account: check its name, accept the rules of its competition on"
    " kaggle.com, and see that the token may write",
    404: "check its name, in kaggle.yaml or on the command line",
    429: "too many requests: try again later",
}
"""What to do about a refusal of Kaggle's, by the status of the answer."""
STORAGE_ADVICE = dict.fromkeys((400, 401, 403, 404, 410), "its address may have expired: run the same command again")
"""What to do about a refusal of the storage, whose addresses are good for a while and need no credentials."""


class Failure(KitError):
    """A request that did not end well.

    Args:
        retryable: Nothing was done, and asking again is welcome: no connection came about, or the answer was 429.
        wait: Seconds that the answer asks to wait before.
    """

    def __init__(
        self, message: str, retryable: bool = False, wait: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = retryable
        self.wait = wait


class Refused(Failure):
    """Kaggle has answered that it did not do what it was asked for."""


class Unsettled(Failure):
    """There is no answer that tells whether Kaggle did what it was asked for."""


def retrying(attempt: Callable[[int], T], repeat: bool = True) -> T:
    """What `attempt` gives, called with 0, 1, … until it succeeds, with growing pauses between.

    Args:
        attempt: Raises Refused or Unsettled.
        repeat: Whether a failure that may have had an effect is followed by another attempt.

    Raises:
        Refused: at once, but for a 429.
        Unsettled: after the last attempt.
    """
    for number, wait in enumerate(WAITS):
        try:
            return attempt(number)
        except (Refused, Unsettled) as failure:
            pause = failure.wait or wait
            again = failure.retryable or (repeat and isinstance(failure, Unsettled))
            if not again or pause > LONGEST_WAIT:
                raise
        time.sleep(pause)
    return attempt(len(WAITS))


@contextlib.contextmanager
def translated_errors(name: str, advice: Mapping[int, str] = ADVICE) -> Iterator[None]:
    """Turns what the HTTP library raises into Refused or Unsettled."""
    try:
        yield
    except requests.HTTPError as error:
        if error.response is None:
            raise _unreadable(name) from None
        raise explain(name, error.response, advice) from None
    except requests.JSONDecodeError:
        raise _unreadable(name) from None
    except requests.RequestException as error:
        kind = type(error).__name__
        raise Unsettled(f"kaggle: {name}: no answer ({kind}): check the network", _unsent(error)) from None
    except KitError:
        raise
    except ValueError:
        raise _unreadable(name) from None


def explain(name: str, response: requests.Response, advice: Mapping[int, str] = ADVICE) -> Refused | Unsettled:
    """What a failed answer means, with the reason that Kaggle gives in its body."""
    status = response.status_code
    reason, wait = _reason(response), _retry_after(response)
    message = f"kaggle: {name}: {reason} ({status})"
    if status >= 500:
        return Unsettled(f"{message}: try again later", wait=wait, status=status)
    next_step = advice.get(status, "correct what it names")
    if "allowance" in reason.lower():
        next_step = reset_text()
    if re.search("(from|through) (kaggle )?notebooks", reason.lower()):
        next_step = "submit the output of a kernel: `make kernel kernel-check`, then `make push`"
    return Refused(f"{message}: {next_step}", retryable=status == 429, wait=wait, status=status)


def reset_text() -> str:
    """When the daily allowance is renewed: at midnight UTC."""
    now = datetime.now(UTC)
    minutes = 24 * 60 - (now.hour * 60 + now.minute)
    return f"the daily allowance is renewed at 00:00 UTC, in {minutes // 60} h {minutes % 60:02d} min"


def _retry_after(response: requests.Response) -> float | None:
    """Seconds that the answer asks to wait, by its Retry-After: a number or a date."""
    text = response.headers.get("Retry-After")
    with contextlib.suppress(InvalidHeader):
        return Retry().parse_retry_after(text) if text else None
    return None


def _unsent(error: requests.RequestException) -> bool:
    """Whether no connection came about, so that nothing can have been done."""
    cause = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(cause, NewConnectionError | ConnectTimeoutError)


def _unreadable(name: str) -> Unsettled:
    return Unsettled(f"kaggle: {name}: the answer is not what it should be: try again later")


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
