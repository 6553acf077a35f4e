"""Downloads a competition's or data set's files as one archive: resumed, checked and unpacked.

`.NAME.json` beside the files records what Kaggle listed when they were fetched, so that a version with new dates is
fetched even if all sizes are the same.
"""

import contextlib
import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import requests
from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest, ApiListDataFilesRequest
from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

from kit.core import files
from kit.core.errors import KitError, counted
from kit.core.progress import progress
from kit.kaggle import dataset, transfer
from kit.kaggle.client import Client
from kit.kaggle.retry import Refused, retrying

log = logging.getLogger(__name__)


File = dict[str, Any]
"""Kaggle's list entry of a file: `size` in bytes, and `date` of its creation."""


class Broken(KitError):
    """An archive that is invalid and must be deleted."""


def download_competition(client: Client, name: str, folder: Path) -> bool:
    """Downloads all files of a competition into a folder; returns whether anything was fetched.

    Raises:
        KitError: the rules are not accepted, the archive is broken, or a listed file is missing from it.
    """
    listed = list_files(client, name)
    sizes = {path: file["size"] for path, file in listed.items()}
    fresh = _update(client, lambda: _open_competition(client, name), folder, name, listed, sizes)
    if missing := [path for path, size in sizes.items() if _size(folder / path) != size]:
        files = f"{counted(len(missing), 'file')} (first: {missing[0]})"
        raise KitError(f"{folder}: differs from Kaggle's list in {files}: try again")
    return fresh


def download_dataset(client: Client, name: str, folder: Path) -> bool:
    """Downloads all files of a data set `OWNER/SLUG`, such as a mirror of the training images.

    Returns:
        Whether anything was fetched.

    Raises:
        KitError: there is no such data set, or the archive is broken.
    """
    owner, slug = dataset.split("--dataset", name)

    def open_archive() -> requests.Response:
        request = ApiDownloadDatasetRequest()
        request.owner_slug, request.dataset_slug = owner, slug
        return client.ask(client.datasets.download_dataset, request)

    pages = dataset.pages(client, owner, slug)
    listed = {file.name: _listed(file) for page in pages for file in page.dataset_files or []}
    return _update(client, open_archive, folder, slug, listed, None)


def list_files(client: Client, name: str) -> dict[str, File]:
    """Returns Kaggle's list of the files of a competition, by path."""
    request = ApiListDataFilesRequest()
    request.competition_name, request.page_size = name, 200
    pages = client.pages(client.competitions.list_data_files, request)
    return {file.name: _listed(file) for page in pages for file in page.files or []}


def require_accepted(client: Client, name: str) -> None:
    """Refuses a competition whose rules the account has not accepted, since its kernels would not get the files.

    Raises:
        Refused: the files are not available to the account.
    """
    try:
        retrying(lambda _: _open_competition(client, name).close())
    except Refused as failure:
        if failure.status == 403:  # otherwise the competition may have no files, which Kaggle reports for the kernel
            raise


def _open_competition(client: Client, name: str) -> requests.Response:
    """Requests all files of a competition as one archive, whose content is not read yet."""
    request = ApiDownloadDataFilesRequest()
    request.competition_name = name
    return client.ask(client.competitions.download_data_files, request)


def _listed(file: Any) -> File:
    return {"size": file.total_bytes, "date": str(file.creation_date or "")}


def _update(
    client: Client,
    open_archive: transfer.Opener,
    folder: Path,
    name: str,
    listed: dict[str, File],
    sizes: dict[str, int] | None,
) -> bool:
    """Fetches the archive unless the folder holds the listed files already; returns whether it did.

    Args:
        name: Name of the archive and of the record beside the files.
        sizes: Size of each file by path, if the list has paths: a complete folder without a record is accepted.

    Raises:
        KitError: the archive is not available; it is broken, and is deleted; or there is no room for its files, and
            it stays.
    """
    marker = folder / f".{name}.json"
    record = files.read_json(marker) if files.is_file_or_raise(marker) else {}
    earlier = record.get("files", {})
    if record:
        sizes = earlier if record.get("listed") == listed else None
    if sizes is not None and all(_size(folder / path) == size for path, size in sizes.items()):
        return False
    archive = folder / f"{name}.zip"
    with files.locked(folder, busy="another process downloads into it: wait until it has finished"):
        if not files.is_file_or_raise(archive):
            transfer.download(client, open_archive, archive, check_archive)
        try:
            unpacked = unpack(archive, folder, earlier)
        except Broken:
            archive.unlink()
            raise
        archive.unlink()
    files.write_json(marker, {"listed": listed, "files": unpacked})
    return True


def check_archive(path: Path) -> None:
    """Refuses a file that is not a whole zip archive.

    Raises:
        Broken: says what the file is instead.
    """
    with _translated_zip_errors(path), zipfile.ZipFile(path) as archive:
        if broken := archive.testzip():
            raise Broken(f"{path}: {broken} in it is broken: run the same command again")


def unpack(path: Path, folder: Path, earlier: Collection[str] = ()) -> dict[str, int]:
    """Unpacks a zip archive, every file atomically, none outside the folder.

    Args:
        folder: Target folder; other files under the names of the archive's are kept in `.previous/`.
        earlier: Paths of files of an earlier version, which are replaced.

    Returns:
        Size of each file by its path in the folder.

    Raises:
        Broken: a path leads out of the folder, or a file is damaged.
        KitError: there is no room for the files.
    """
    with _translated_zip_errors(path), files.writing(folder), zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            if not (folder / member.filename).resolve().is_relative_to(folder.resolve()):
                raise Broken(f"{path}: {member.filename!r} leads out of the folder: the archive is not to be trusted")
        missing = [member for member in members if not _is_unpacked(folder / member.filename, member)]
        part = folder / f".{path.stem[:100]}.part"  # a file's own name may already have the maximum length
        try:
            for member in progress(missing, "unpacking", unit="file"):
                target = folder / member.filename
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(part, "wb") as handle:
                    shutil.copyfileobj(source, handle, transfer.CHUNK)
                if files.is_file_or_raise(target) and member.filename not in earlier:
                    kept = folder / ".previous" / member.filename
                    kept.parent.mkdir(parents=True, exist_ok=True)
                    os.replace(target, kept)
                    log.warning("%s: was another file than Kaggle's: kept as %s", target, kept)
                os.replace(part, target)
        finally:
            part.unlink(missing_ok=True)
        os.sync()  # once for all files, before the caller deletes the archive
        return {member.filename: member.file_size for member in members}


def _is_unpacked(target: Path, member: zipfile.ZipInfo) -> bool:
    """Whether a file has the content of an archive's member."""
    return _size(target) == member.file_size and zlib.crc32(target.read_bytes()) == member.CRC


@contextlib.contextmanager
def _translated_zip_errors(path: Path) -> Iterator[None]:
    """Turns exceptions of the zip library into one line for the user."""
    try:
        yield
    except (zipfile.BadZipFile, EOFError) as error:
        with open(path, "rb") as handle:
            start = handle.read(40)
        if start.startswith(b"PK"):
            raise Broken(f"{path}: is broken ({error}): run the same command again") from None
        what = "empty" if not start else f"not a zip archive (it begins with {start.decode(errors='replace')!r})"
        raise Broken(
            f"{path}: is {what}: accept the competition's rules on kaggle.com, then run the same command again"
        ) from None
    except (zlib.error, RuntimeError) as error:  # RuntimeError: encrypted, or an unknown compression method
        raise Broken(f"{path}: cannot be unpacked ({error}): run the same command again") from None


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
