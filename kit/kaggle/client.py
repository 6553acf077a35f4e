"""Kaggle's own client with time-outs, reasons for failures, and control over what is sent twice.

The typed requests, the endpoints and the credentials are those of the packages `kaggle` and `kagglesdk`. Their calls
wait without limit, print instead of raising, and repeat what must not be repeated. So each request goes through
`Client.read`, which repeats it until it is answered, or `Client.act`, which sends it once.
"""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Any

import requests
from kagglesdk.kaggle_client import KaggleClient
from kagglesdk.kaggle_http_client import KaggleHttpClient
from requests.adapters import HTTPAdapter

from kit.core.errors import KitError
from kit.kaggle import credentials
from kit.kaggle.retry import retrying, translated_errors

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0
PINNED = {"kaggle": "2.2.4", "kagglesdk": "0.1.37"}
"""Versions of the packages on whose internals `connect` relies."""


class Client:
    """A signed-in client.

    Args:
        timeout: Seconds without a byte after which a request is given up.
    """

    def __init__(self, kaggle: KaggleClient, user: str, timeout: float) -> None:
        self.competitions = kaggle.competitions.competition_api_client
        self.datasets = kaggle.datasets.dataset_api_client
        self.kernels = kaggle.kernels.kernels_api_client
        self.blobs = kaggle.blobs.blob_api_client
        self.user = user
        self._timeout = timeout

    def read(self, method: Callable[[Any], Any], request: Any) -> Any:
        """Sends a request that changes nothing, and repeats it after failures that may pass.

        Raises:
            Refused: Kaggle refuses the request.
            Unsettled: there is no answer after several attempts.
        """
        return retrying(lambda _: self.ask(method, request))

    def act(self, method: Callable[[Any], Any], request: Any) -> Any:
        """Sends a request that changes something; repeats it only if the first attempt certainly had no effect.

        That is if no connection was made, or the answer was 429.

        Raises:
            Refused: Kaggle refuses the request and has changed nothing.
            Unsettled: whether the request had an effect is not known; the caller must look.
        """
        return retrying(lambda _: self.ask(method, request), repeat_unsettled=False)

    def pages(self, method: Callable[[Any], Any], request: Any) -> Iterator[Any]:
        """Yields the pages of an answer, each fetched with `read`."""
        while True:
            answer = self.read(method, request)
            yield answer
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def ask(self, method: Callable[[Any], Any], request: Any) -> Any:
        """Sends a request once, for callers that repeat it as a part of more.

        Raises:
            Refused: Kaggle refuses the request.
            Unsettled: there is no answer, or it cannot be parsed.
        """
        with translated_errors(f"{method.__name__.replace('_', ' ')}{_subject(request)}"):
            try:
                return method(request)
            except (KeyError, TypeError, AttributeError) as error:  # the package fails to parse the answer
                raise ValueError from error

    def storage(self) -> requests.Session:
        """Returns a session with our time-outs and without credentials, for the storage that holds the files."""
        session = requests.Session()
        _mount(session, self._timeout)
        return session


def connect(timeout: float = 60.0) -> Client:
    """Signs in with Kaggle's own credentials: a token, kaggle.json, or its OAuth login.

    Args:
        timeout: Seconds without a byte after which a request is given up.

    Raises:
        KitError: there are no credentials, they cannot be checked, or a package has another version than the pinned.
    """
    _check_versions()
    for path in credentials.readable_by_others():
        log.warning("%s: other users can read it: chmod 600 %s", path, path)
    credentials.check_token()
    try:
        api = retrying(lambda _: _sign_in(timeout))
    except SystemExit as end:
        if end.code != 1:  # raised by a signal, not by the package
            raise
        raise KitError(f"kaggle: {credentials.sign_in_problem()}") from None
    except OSError as error:  # its text may contain the token, which the package also tries as a file name
        place = f"{error.filename}: " if error.filename in map(str, credentials.places()) else ""
        raise KitError(
            f"kaggle: {place}its credentials cannot be read, or its folder not created ({error.strerror}): correct the "
            "permissions, or set KAGGLE_CONFIG_DIR to another folder"
        ) from None
    user, key, token = (api.config_values.get(name) for name in ("username", "key", "token"))
    kaggle = api.build_kaggle_client_with_params(
        # Never "--verbose", which prints the headers with the credentials.
        args=[argument for argument in api.args if argument == "--local"],
        username=user,
        password=key,
        api_token=token,
    )
    session = kaggle.http_client().__enter__()._session
    if token is None:  # otherwise the package sends a token that Kaggle has just rejected
        session.auth = (user, key)
    _mount(session, timeout)
    return Client(kaggle, user or "", timeout)


_SUBJECTS = (
    ("competition", "competition_name"),
    ("kernel", "kernel_owner", "kernel_slug"),
    ("kernel", "user_name", "kernel_slug"),
    ("data set", "owner_slug", "dataset_slug"),
    ("data set", "owner_slug", "slug"),
)
"""Fields of requests that name the object of the request."""


def _subject(request: Any) -> str:
    """Returns what a request is about, named as in its address on kaggle.com."""
    candidates = [(kind, [str(getattr(request, field, None) or "") for field in fields]) for kind, *fields in _SUBJECTS]
    subjects = [f"{kind} {'/'.join(names)}" for kind, names in candidates if all(names)]
    return f" ({', '.join(subjects)})" if subjects else ""


def _check_versions() -> None:
    for name, version in PINNED.items():
        if metadata.version(name) != version:
            raise KitError(f"{name} {metadata.version(name)}: {version} is needed: pip install -r requirements.txt")


def _sign_in(timeout: float) -> Any:
    """Returns the package's API object; importing the package checks a token, with sessions of the package's own."""
    init = KaggleHttpClient._init_session

    def init_with_timeout(client: KaggleHttpClient) -> None:
        init(client)
        _mount(client._session, timeout)

    KaggleHttpClient._init_session = init_with_timeout
    try:
        # The package prints its help if it finds no credentials.
        with translated_errors("sign in"), contextlib.redirect_stdout(io.StringIO()):
            from kaggle.api.kaggle_api_extended import KaggleApi

            api = KaggleApi()
            api.authenticate()
            return api
    finally:
        KaggleHttpClient._init_session = init


class _Adapter(HTTPAdapter):
    """Gives up a request that receives no byte for a while, and masks the credentials that an answer echoes."""

    def __init__(self, timeout: float) -> None:
        self._timeout = (min(CONNECT_TIMEOUT, timeout), timeout)
        super().__init__()

    def send(self, request: requests.PreparedRequest, *args: Any, **options: Any) -> requests.Response:
        options["timeout"] = options.get("timeout") or self._timeout
        response = super().send(request, *args, **options)
        secrets = credentials.carried(request)
        if secrets and (not options.get("stream") or response.status_code >= 400):
            response._content = credentials.masked(response.content, secrets)
            response.reason = credentials.masked((response.reason or "").encode(), secrets).decode()
        return response


def _mount(session: requests.Session, timeout: float) -> None:
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(timeout))
