"""The competition's files, or a data set's, fetched as one archive: resumed, checked and unpacked safely."""

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

import requests
from kagglesdk.competitions.types.competition_api_service import ApiDownloadDataFilesRequest, ApiListDataFilesRequest
from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest

from kit.core import files
from kit.core.errors import KitError
from kit.core.progress import progress
from kit.kaggle import transfer
from kit.kaggle.client import Client


def download_competition(client: Client, name: str, folder: Path) -> bool:
    """Fetches all files of a competition into a folder.

    Args:
        client: The signed-in client.
        name: The competition's name on Kaggle.
        folder: Made when missing.

    Returns:
        Whether there was anything to do.

    Raises:
        KitError: the rules are not accepted, the archive is broken or not safe, or a listed file is not in it.
    """

    def open_archive() -> requests.Response:
        request = ApiDownloadDataFilesRequest()
        request.competition_name = name
        return client.read(client.competitions.download_data_files, request)

    listed = list_files(client, name)
    missing = [path for path, size in listed.items() if _size(folder / path) != size]
    if not missing:
        return False
    fetch(open_archive, folder / f"{name}.zip")
    if missing := [path for path, size in listed.items() if _size(folder / path) != size]:
        raise KitError(f"{folder}: {missing[0]} and {len(missing) - 1} more are not as Kaggle lists them: try again")
    return True


def download_dataset(client: Client, name: str, folder: Path) -> bool:
    """Fetches all files of a data set `OWNER/SLUG`, such as a mirror of the training images.

    Returns:
        Whether there was anything to do.

    Raises:
        KitError: there is no such data set, or the archive is broken or not safe.
    """
    owner, slash, slug = name.partition("/")
    if not (owner and slash and slug):
        raise KitError(f"--dataset {name}: is not OWNER/SLUG, as in its address")

    def open_archive() -> requests.Response:
        request = ApiDownloadDatasetRequest()
        request.owner_slug, request.dataset_slug = owner, slug
        return client.read(client.datasets.download_dataset, request)

    marker = folder / f".{slug}.json"
    if marker.exists() and all(_size(folder / path) == size for path, size in files.read_json(marker).items()):
        return False
    files.write_json(marker, fetch(open_archive, folder / f"{slug}.zip"))
    return True


def list_files(client: Client, name: str) -> dict[str, int]:
    """Size of each file of a competition by its path."""
    found: dict[str, int] = {}
    token = ""
    while True:
        request = ApiListDataFilesRequest()
        request.competition_name, request.page_size, request.page_token = name, 200, token
        answer = client.read(client.competitions.list_data_files, request)
        found |= {file.name: file.total_bytes for file in answer.files or []}
        token = answer.next_page_token
        if not token:
            return found


def fetch(open_archive: transfer.Opener, archive: Path) -> dict[str, int]:
    """Downloads an archive, unpacks it where it lies and removes it; gives the size of each of its files."""
    if not archive.exists():
        transfer.download(open_archive, archive, check_archive)
    sizes = unpack(archive, archive.parent)
    archive.unlink()
    return sizes


def check_archive(path: Path) -> None:
    """Refuses what is not a whole zip archive.

    Raises:
        KitError: with what it is instead.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError):
        with open(path, "rb") as handle:
            start = handle.read(40)
        what = "empty" if not start else f"not a zip archive (it begins with {start.decode(errors='replace')!r})"
        raise KitError(
            f"{path}: is {what}: accept the competition's rules on kaggle.com, then run the same command again"
        ) from None
    if broken:
        raise KitError(f"{path}: {broken} in it is broken: run the same command again")


def unpack(path: Path, folder: Path) -> dict[str, int]:
    """Unpacks a zip archive, every file atomically, none outside the folder.

    Returns:
        Size of each file by its path in the folder.

    Raises:
        KitError: a path leads out of the folder, or is a link; nothing is unpacked then.
    """
    with zipfile.ZipFile(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        for member in members:
            parts = PurePosixPath(member.filename.replace("\\", "/"))
            if parts.is_absolute() or ".." in parts.parts or ":" in parts.parts[0]:
                raise KitError(f"{path}: {member.filename!r} leads out of the folder: the archive is not to be trusted")
            if stat.S_ISLNK(member.external_attr >> 16):
                raise KitError(f"{path}: {member.filename!r} is a link: the archive is not to be trusted")
        for member in progress(members, "unpacking", unit="file"):
            target = folder / member.filename
            if _size(target) == member.file_size:
                continue
            with archive.open(member) as source, files.replacing(target) as temporary, open(temporary, "wb") as handle:
                shutil.copyfileobj(source, handle, transfer.CHUNK)
        return {member.filename: member.file_size for member in members}


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.is_file() else None
