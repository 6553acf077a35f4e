"""Uploads to and downloads from Kaggle's storage: resumed after an interruption, and complete or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from tqdm import tqdm
from tqdm.utils import CallbackIOWrapper

from kit.core import files
from kit.core.errors import KitError
from kit.kaggle.client import Client
from kit.kaggle.retry import STORAGE_ADVICE, Unsettled, retrying, translated_errors

CHUNK = 1 << 16
Opener = Callable[[], requests.Response]
"""Sends the request whose answer streams a file, once per call."""


def upload(client: Client, url: str, path: Path) -> None:
    """Uploads a file to an address from a StartUpload request, resuming after each interruption.

    Raises:
        Refused: the storage refuses the file.
        Unsettled: the file did not arrive after several attempts.
    """
    name, size = f"upload of {path.name}", path.stat().st_size

    def attempt(number: int) -> None:
        with translated_errors(name, STORAGE_ADVICE), client.storage() as session:
            start = _received(session, url, path, size) if number else 0
            if start < size or not number:
                _put(session, url, path, start, size)

    retrying(attempt)


def _put(session: requests.Session, url: str, path: Path, start: int, size: int) -> None:
    headers = {"Content-Range": f"bytes {start}-{size - 1}/{size}"} if start else {}
    with open(path, "rb") as handle, _bar(path.name, start, size) as bar:
        handle.seek(start)
        response = session.put(url, data=CallbackIOWrapper(bar.update, handle, "read"), headers=headers)
    if not _arrived(response, path):  # the next attempt asks how much has arrived
        raise Unsettled(f"kaggle: upload of {path.name}: did not arrive whole: run the same command again")


def _arrived(response: requests.Response, path: Path) -> bool:
    """Whether the storage says that an upload is complete; an HTML page does not say so, whatever its status."""
    _expect(response, 200, 201, 308)
    if response.content and "json" not in response.headers.get("Content-Type", ""):
        raise Unsettled(f"kaggle: upload of {path.name}: the answer is not what it should be: try again later")
    return response.status_code != 308


def _received(session: requests.Session, url: str, path: Path, size: int) -> int:
    """Asks how many bytes of an interrupted upload have arrived."""
    response = session.put(url, headers={"Content-Range": f"bytes */{size}", "Content-Length": "0"})
    if _arrived(response, path):
        return size
    last = response.headers.get("Range", "").rpartition("-")[2]
    return int(last) + 1 if last.isdecimal() else 0


def download(client: Client, open_at: Opener, path: Path, check: Callable[[Path], object]) -> None:
    """Downloads a file to `path`, which appears once the file is complete and passes the check.

    Until then the received bytes are in `NAME.part`, from which the next call resumes if the address still holds the
    same file (by its ETag or date).

    Args:
        open_at: Sends the request whose answer streams the file; called for each attempt.
        check: Raises KitError if the file is invalid.
    """
    part = path.with_name(f"{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"download of {path.name}"

    def attempt(number: int) -> None:
        with files.writing(path), translated_errors(name, STORAGE_ADVICE), open_at() as response:
            _expect(response, 200)
            size = _fetch(client, response, part)
        if size is not None and part.stat().st_size != size:
            raise Unsettled(f"kaggle: {name}: {part.stat().st_size} of {size} bytes: run the same command again")

    retrying(attempt)
    try:
        check(part)
    except KitError:
        part.unlink()
        raise
    finally:
        _marker(part).unlink(missing_ok=True)
    with open(part, "rb") as handle:
        os.fsync(handle.fileno())
    os.replace(part, path)


def _fetch(client: Client, response: requests.Response, part: Path) -> int | None:
    """Streams an answer to the part file, resuming if it belongs to the same file; returns the whole size."""
    headers = {} if "Content-Encoding" in response.headers else response.headers  # they describe the compressed bytes
    size = int(headers["Content-Length"]) if "Content-Length" in headers else None
    identity: dict[str, Any] = {"tag": headers.get("ETag") or headers.get("Last-Modified"), "size": size}
    start = _resumable(part, identity)
    if not start:
        part.write_bytes(b"")
        files.write_json(_marker(part), identity)
        _stream(response, part, 0, size)
    elif start != size:
        with client.storage() as session:
            part_headers = {"Range": f"bytes={start}-", "If-Range": identity["tag"], "Accept-Encoding": "identity"}
            with session.get(response.url, headers=part_headers, stream=True) as rest:
                if rest.status_code == 416:  # the file has no such range any more
                    part.unlink()
                    raise Unsettled(
                        f"kaggle: download of {part.stem}: is another file by now: run the same command again"
                    )
                _expect(rest, 200, 206)
                _stream(rest, part, start if rest.status_code == 206 else 0, size)
    return size


def _resumable(part: Path, identity: dict) -> int:
    """Returns the length of the part file if it belongs to the file of that identity, else 0."""
    if identity["tag"] is None or not files.is_file_or_raise(part) or not files.is_file_or_raise(_marker(part)):
        return 0
    try:
        same = files.read_json(_marker(part)) == identity
    except KitError:  # a broken marker: the part file cannot be trusted
        same = False
    length = part.stat().st_size
    return length if same and (identity["size"] is None or length <= identity["size"]) else 0


def _stream(response: requests.Response, part: Path, start: int, size: int | None) -> None:
    with open(part, "r+b") as handle, _bar(part.stem, start, size) as bar:
        handle.truncate(start)
        handle.seek(start)
        for chunk in response.iter_content(CHUNK):
            handle.write(chunk)
            bar.update(len(chunk))


def _expect(response: requests.Response, *statuses: int) -> None:
    if response.status_code not in statuses:
        response.content  # noqa: B018  read while the connection is open, since it holds the reason
        raise requests.HTTPError(response=response)


def _bar(name: str, start: int, size: int | None) -> tqdm:
    return tqdm(total=size, initial=start, unit="B", unit_scale=True, desc=name, delay=2, leave=False, disable=None)


def _marker(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")
