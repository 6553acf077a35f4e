"""The failures of requests to Kaggle, their messages, and the one place that decides what is retried."""

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
"""Seconds before each retry."""
LONGEST_WAIT = 120.0
"""Seconds; if the server asks to wait longer, the request fails at once."""
ADVICE = {
    401: "create a new token on kaggle.com (Settings, API); an expired one in KAGGLE_API_TOKEN or"
    " ~/.kaggle/access_token hides a valid kaggle.json",
    403: "there is no such thing, or it is not for this account: check its name, accept the rules of its competition on"
    " kaggle.com, and see that the token may write",
    404: "check its name, in kaggle.yaml or on the command line",
    429: "too many requests: try again later",
}
"""Advice for a refusal by Kaggle, by the status of the answer."""
STORAGE_ADVICE = dict.fromkeys((400, 401, 403, 404, 410), "its address may have expired: run the same command again")
"""Advice for a refusal by the storage, whose addresses expire and need no credentials."""


class Failure(KitError):
    """A failed request.

    Args:
        retryable: Whether the request certainly had no effect and may be repeated: no connection, or the answer 429.
        wait: Seconds to wait before a retry, if the answer names them.
    """

    def __init__(
        self, message: str, *, retryable: bool = False, wait: float | None = None, status: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retryable = retryable
        self.wait = wait


class Refused(Failure):
    """A request that Kaggle refused and that had no effect."""

    @property
    def means_absent(self) -> bool:
        """Whether the thing does not exist, also answered with 403, or is not for this account."""
        return self.status in (403, 404)


class Unsettled(Failure):
    """A request without an answer that tells whether it had an effect."""


def retrying(attempt: Callable[[int], T], *, repeat_unsettled: bool = True) -> T:
    """Calls `attempt` with 0, 1, … until it succeeds, with growing pauses, and returns its result.

    Args:
        attempt: Raises Refused or Unsettled.
        repeat_unsettled: Whether to try again after a failure that may have had an effect.

    Raises:
        Refused: at once, except for a 429.
        Unsettled: after the last attempt.
    """
    for number, wait in enumerate(WAITS):
        try:
            return attempt(number)
        except (Refused, Unsettled) as failure:
            pause = failure.wait or wait
            again = failure.retryable or (repeat_unsettled and isinstance(failure, Unsettled))
            if not again or pause > LONGEST_WAIT:
                raise
        time.sleep(pause)
    return attempt(len(WAITS))


@contextlib.contextmanager
def translated_errors(name: str, advice: Mapping[int, str] = ADVICE) -> Iterator[None]:
    """Turns the exceptions of the HTTP library into Refused or Unsettled."""
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
        raise Unsettled(f"kaggle: {name}: no answer ({kind}): check the network", retryable=_is_unsent(error)) from None
    except KitError:
        raise
    except ValueError:
        raise _unreadable(name) from None


def explain(name: str, response: requests.Response, advice: Mapping[int, str] = ADVICE) -> Refused | Unsettled:
    """Returns the failure that an answer means, with the reason in its body."""
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
    """Says when the daily allowance is renewed: at midnight UTC."""
    now = datetime.now(UTC)
    minutes = 24 * 60 - (now.hour * 60 + now.minute)
    return f"the daily allowance is renewed at 00:00 UTC, in {minutes // 60} h {minutes % 60:02d} min"


def _retry_after(response: requests.Response) -> float | None:
    """Returns the seconds to wait by the answer's Retry-After, a number or a date."""
    text = response.headers.get("Retry-After")
    with contextlib.suppress(InvalidHeader):
        return Retry().parse_retry_after(text) if text else None
    return None


def _is_unsent(error: requests.RequestException) -> bool:
    """Whether no connection was made, so that the request had no effect."""
    cause = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(cause, NewConnectionError | ConnectTimeoutError)


def _unreadable(name: str) -> Unsettled:
    return Unsettled(f"kaggle: {name}: the answer is not what it should be: try again later")


def _reason(response: requests.Response) -> str:
    """Returns one line from the body of a failed answer: Kaggle's message in JSON, else the text without tags."""
    text = response.text
    with contextlib.suppress(ValueError, AttributeError):
        body = json.loads(text)
        error = body.get("error")
        message = error.get("message") if isinstance(error, dict) else error
        text = str(message or body.get("message") or text)
    text = " ".join(re.sub(r"<[^>]*>", " ", text).split())
    return text[:300] or response.reason or "no reason given"
