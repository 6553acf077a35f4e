"""Kaggle's own client, with what it lacks: time-outs, reasons, and care about what may be sent twice.

The typed requests, the endpoints and the credentials are those of the packages `kaggle` and `kagglesdk`. Their
calls wait without end, print instead of raising, and repeat what must not be repeated; so each request goes
through `Client.read`, which repeats it until it is answered, or `Client.act`, which sends it once.
"""

import contextlib
import io
from collections.abc import Callable
from typing import Any

import requests
from kagglesdk.kaggle_client import KaggleClient
from kagglesdk.kaggle_http_client import KaggleHttpClient
from requests.adapters import HTTPAdapter

from kit.core.errors import KitError
from kit.kaggle.retry import explained, persist

CONNECT_TIMEOUT = 10.0
NO_CREDENTIALS = (
    "kaggle: no credentials: create a token on kaggle.com (Settings, API) and put it in ~/.kaggle/access_token"
    " or the environment variable KAGGLE_API_TOKEN"
)


class Client:
    """A signed-in client.

    Args:
        kaggle: The client of `kagglesdk`, whose services give the methods to call.
        user: Name of the account, the owner of its kernels and datasets.
        secrets: Texts that no message may show.
    """

    def __init__(self, kaggle: KaggleClient, user: str, secrets: tuple[str, ...] = ()) -> None:
        self.competitions = kaggle.competitions.competition_api_client
        self.datasets = kaggle.datasets.dataset_api_client
        self.kernels = kaggle.kernels.kernels_api_client
        self.blobs = kaggle.blobs.blob_api_client
        self.user = user
        self._secrets = secrets

    def read(self, method: Callable[[Any], Any], request: Any) -> Any:
        """The answer to a request that changes nothing, repeated while there is hope.

        Raises:
            Refused: Kaggle says no.
            Unsettled: no answer after several tries.
        """
        return self._call(method, request, repeat=True)

    def act(self, method: Callable[[Any], Any], request: Any) -> Any:
        """The answer to a request that changes something: repeated only where the first had provably no effect.

        That is: no connection came about, or the answer was 429.

        Raises:
            Refused: Kaggle says no, and has done nothing.
            Unsettled: it may or may not have been done; the caller must look.
        """
        return self._call(method, request, repeat=False)

    def _call(self, method: Callable[[Any], Any], request: Any, repeat: bool) -> Any:
        def attempt(number: int) -> Any:
            with explained(method.__name__.replace("_", " "), self._secrets):
                try:
                    return method(request)
                except (KeyError, TypeError, AttributeError) as error:  # An answer that the client cannot take apart.
                    raise ValueError from error

        return persist(attempt, repeat)


def connect(timeout: float = 60.0) -> Client:
    """Signs in with Kaggle's own credentials: a token, kaggle.json, or its OAuth login.

    Args:
        timeout: Seconds without a byte after which a request is given up.

    Raises:
        KitError: there are no credentials, or they cannot be checked.
    """
    _TimedAdapter.timeout = (min(CONNECT_TIMEOUT, timeout), timeout)
    try:
        api = persist(_sign_in)
    except SystemExit:
        raise KitError(NO_CREDENTIALS) from None
    except OSError as error:
        raise KitError(f"kaggle: its folder cannot be made ({error}): set KAGGLE_CONFIG_DIR to one that can") from None
    user, key, token = (api.config_values.get(name) for name in ("username", "key", "token"))
    kaggle = api.build_kaggle_client_with_params(
        # Never "--verbose", which prints the headers and so the credentials.
        args=[argument for argument in api.args if argument == "--local"],
        username=user,
        password=key,
        api_token=token,
    )
    return Client(kaggle, user or "", tuple(secret for secret in (key, token) if secret))


def _sign_in(attempt: int) -> Any:
    # The package prints its help where it finds no credentials.
    with explained("sign in"), contextlib.redirect_stdout(io.StringIO()):
        from kaggle.api.kaggle_api_extended import KaggleApi

        api = KaggleApi()
        api.authenticate()
        return api


class _TimedAdapter(HTTPAdapter):
    """Gives up a request that gets no byte for `timeout` seconds; Kaggle's client would wait for ever."""

    timeout: tuple[float, float] = (CONNECT_TIMEOUT, 60.0)

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        kwargs["timeout"] = kwargs.get("timeout") or self.timeout
        return super().send(*args, **kwargs)


def session() -> requests.Session:
    """A session with our time-outs and without credentials: for the storage that uploads and downloads use."""
    return _timed(requests.Session())


def _timed(plain: requests.Session) -> requests.Session:
    for scheme in ("http://", "https://"):
        plain.mount(scheme, _TimedAdapter())
    return plain


_init_session = KaggleHttpClient._init_session


def _init_timed_session(client: KaggleHttpClient) -> None:
    """`KaggleHttpClient._init_session` with our adapter; the token is checked during import, hence the patch."""
    fresh = client._session is None
    _init_session(client)
    if fresh:
        _timed(client._session)


KaggleHttpClient._init_session = _init_timed_session
