"""The credentials that Kaggle's client looks for: what is wrong with them, and that no text ever shows them."""

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
    """Where the client looks for a token or a key, in its order."""
    home = Path.home() / ".kaggle"
    others = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle"
    folder = Path(os.environ.get("KAGGLE_CONFIG_DIR") or (home if home.exists() else others))
    return [home / "access_token", home / "access_token.txt", home / "credentials.json", folder / "kaggle.json"]


def found() -> list[str]:
    """Variables and files that hold credentials of some kind, in the client's order; never what they are."""
    variables = ["KAGGLE_API_TOKEN"] if os.environ.get("KAGGLE_API_TOKEN") else []
    if os.environ.get("KAGGLE_USERNAME") and os.environ.get("KAGGLE_KEY"):
        variables.append("KAGGLE_KEY")
    return variables + [str(path) for path in files() if path.is_file()]


def places() -> list[Path]:
    """The files, and the folders that they lie in."""
    return [place for path in files() for place in (path, path.parent)]


def absence() -> str:
    """Why there is no way to sign in: what was found, and what is wrong with it."""
    key = files()[-1]
    tokens = [place for place in found() if place not in ("KAGGLE_KEY", str(key))]
    problems = [
        f"the token in {place} is {'empty' if _token(place) == '' else 'not accepted (expired or revoked)'}"
        for place in tokens[:1]
    ]
    if key.is_file() and (problem := _key_problem(key)):
        problems.append(f"{key} {problem}")
    return f"{'; '.join(problems)}: {HOW}" if problems else f"no credentials: {HOW}"


def check_token() -> None:
    """Refuses a token that no request can carry, such as one behind a byte order mark: asking with it takes long.

    Raises:
        KitError: it is not of printable ASCII letters alone.
    """
    for place in found()[:1]:
        text = _token(place)
        if text and not re.fullmatch("[!-~]+", text):
            raise KitError(f"kaggle: {place}: holds more than a token, such as a byte order mark or a space: {HOW}")


def _token(place: str) -> str | None:
    """The token of a variable or a file; None where it holds none, or cannot be read."""
    if place == "KAGGLE_API_TOKEN":
        return os.environ[place].strip()
    if Path(place) in files()[:2]:
        with contextlib.suppress(OSError):  # told by who signs in
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
    """The files with credentials that other users of the machine can read."""
    return [path for path in files() if path.is_file() and path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)]


def carried(request: requests.PreparedRequest) -> list[str]:
    """The secrets that a request carries, which its answer may echo."""
    kind, _, value = str(request.headers.get("Authorization", "")).partition(" ")
    found = [value] if value else []
    if kind == "Basic":
        found.append(base64.b64decode(value).decode().partition(":")[2])
    if isinstance(request.body, str | bytes) and (request.url or "").endswith("/IntrospectToken"):
        found.append(str(json.loads(request.body).get("token") or ""))
    return [secret for secret in found if secret]


def masked(content: bytes, secrets: list[str]) -> bytes:
    """A text without the secrets, however they are spelt: plain, in a URL, or in base64, alone or amid more.

    Of base64 a last letter may stay that is only in part the secret's.

    >>> masked(b"of KGAT_secret: S0dBVF9zZWNyZXQ=", ["KGAT_secret"])
    b'of ***: ***Q='
    """
    for secret in secrets:
        for spelling in sorted(_spellings(secret), key=len, reverse=True):
            content = content.replace(spelling, b"***")
    return content


def _spellings(secret: str) -> set[bytes]:
    plain = secret.encode()
    spelt = {plain, quote(secret, safe="").encode()}
    for before in range(3):  # Base64 spells a text in three ways, by what stands before it; its ends mix with that.
        first, whole = -(-before * 8 // 6), (before + len(plain)) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            spelt.add(encode(b"\0" * before + plain)[first:whole])
    return {spelling for spelling in spelt if len(spelling) >= 8}
