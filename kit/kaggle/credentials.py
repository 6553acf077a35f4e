"""The credentials for Kaggle's client: what is wrong with them, and how no text ever shows them."""

import base64
import contextlib
import json
import os
import re
import stat
from pathlib import Path
from urllib.parse import quote

import requests

from kit.core.errors import KitError

HOW = "create a token on kaggle.com (Settings, API), put it in ~/.kaggle/access_token and `chmod 600` that file"


def files() -> list[Path]:
    """Returns the files in which the client looks for a token or key, in its order."""
    home = Path.home() / ".kaggle"
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
    folder = Path(os.environ.get("KAGGLE_CONFIG_DIR") or (home if home.exists() else config))
    return [home / "access_token", home / "access_token.txt", home / "credentials.json", folder / "kaggle.json"]


def sources() -> list[str]:
    """Returns the variables and files that hold credentials, in the client's order; never the credentials."""
    variables = ["KAGGLE_API_TOKEN"] if os.environ.get("KAGGLE_API_TOKEN") else []
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        variables.append("KAGGLE_KEY")
    return variables + [str(path) for path in files() if path.is_file()]


def places() -> list[Path]:
    """Returns the files for credentials, and their folders."""
    return [place for path in files() for place in (path, path.parent)]


def sign_in_problem() -> str:
    """Explains why signing in fails: which credentials were found, and what is wrong with them."""
    key = files()[-1]
    tokens = [place for place in sources() if place not in ("KAGGLE_KEY", str(key))]
    problems = [
        f"the token in {place} is {'empty' if _token(place) == '' else 'not accepted (expired or revoked)'}"
        for place in tokens[:1]
    ]
    if key.is_file() and (problem := _key_problem(key)):
        problems.append(f"{key} {problem}")
    return f"{'; '.join(problems)}: {HOW}" if problems else f"no credentials: {HOW}"


def check_token() -> None:
    """Refuses a token that no request can carry, such as one after a byte-order mark; Kaggle's answer would take long.

    Raises:
        KitError: the token has other characters than printable ASCII.
    """
    for place in sources()[:1]:
        text = _token(place)
        if text and not re.fullmatch("[!-~]+", text):
            raise KitError(f"kaggle: {place}: holds more than a token, such as a byte order mark or a space: {HOW}")


def _token(place: str) -> str | None:
    """Returns the token in a variable or file; None if it holds no token, or cannot be read."""
    if place == "KAGGLE_API_TOKEN":
        return os.environ[place].strip()
    if Path(place) in files()[:2]:
        with contextlib.suppress(OSError):  # signing in reports it
            return Path(place).read_bytes().decode(errors="replace").strip()
    return None


def _key_problem(path: Path) -> str:
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    except ValueError:
        return "is not JSON"
    missing = [name for name in ("username", "key") if not (isinstance(content, dict) and content.get(name))]
    return f"has no {' and no '.join(missing)}" if missing else ""


def readable_by_others() -> list[Path]:
    """Returns the credential files that other users of the machine can read."""
    return [path for path in files() if path.is_file() and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)]


def carried(request: requests.PreparedRequest) -> list[str]:
    """Returns the secrets in a request, which the answer may echo."""
    kind, _, value = str(request.headers.get("Authorization", "")).partition(" ")
    secrets = [value] if value else []
    if kind == "Basic":
        secrets.append(base64.b64decode(value).decode().partition(":")[2])
    if isinstance(request.body, str | bytes) and (request.url or "").endswith("/IntrospectToken"):
        secrets.append(str(json.loads(request.body).get("token") or ""))
    return [secret for secret in secrets if secret]


def masked(content: bytes, secrets: list[str]) -> bytes:
    """Masks secrets in a text, in any spelling: plain, in a URL, or in base64, alone or within other text.

    In base64, a last letter may remain that depends only partly on the secret.

    >>> masked(b"of KGAT_secret: S0dBVF9zZWNyZXQ=", ["KGAT_secret"])
    b'of ***: ***Q='
    """
    for secret in secrets:
        for spelling in sorted(_spellings(secret), key=len, reverse=True):
            content = content.replace(spelling, b"***")
    return content


def _spellings(secret: str) -> set[bytes]:
    plain = secret.encode()
    spellings = {plain, quote(secret, safe="").encode()}
    for before in range(3):  # in base64, the spelling depends on the number of bytes before, and mixes at both ends
        first, whole = -(-before * 8 // 6), (before + len(plain)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            spellings.add(encode(b"\0" * before + plain)[first:whole])
    return {spelling for spelling in spellings if len(spelling) >= 8}
