"""A kernel's files as a private data set on Kaggle: created or updated once, and checked file by file."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from kagglesdk.blobs.types.blob_api_service import ApiBlobType, ApiStartBlobUploadRequest
from kagglesdk.datasets.types.dataset_api_service import (
    ApiCreateDatasetRequest,
    ApiCreateDatasetVersionRequest,
    ApiCreateDatasetVersionRequestBody,
    ApiDatasetNewFile,
    ApiGetDatasetStatusRequest,
    ApiListDatasetFilesRequest,
    ApiListDatasetFilesResponse,
)
from kagglesdk.datasets.types.dataset_enums import DatabundleVersionStatus as Status

from kit.core.errors import KitError
from kit.kaggle import acting
from kit.kaggle.client import Client
from kit.kaggle.retry import Refused
from kit.kaggle.transfer import upload
from kit.kaggle.waiting import wait_for

PATIENCE = 1800.0
"""Seconds to wait until Kaggle has processed the files."""
POLL = 2.0
LIMIT = 100 * 10**9
"""Largest private data set in bytes (100 GB, which is also the limit for all of an account's)."""


def push(client: Client, owner: str, slug: str, folder: Path, journal: Path) -> bool:
    """Updates the data set to the content of a folder, and waits until Kaggle has processed the files.

    File names contain a hash of the content, so a data set with the same names and sizes is up to date.

    Args:
        folder: A folder without subfolders.
        journal: File that records an upload of unknown outcome.

    Returns:
        Whether anything was uploaded.

    Raises:
        KitError: a file did not arrive, or Kaggle refuses the files.
    """
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    if sum(sizes.values()) > LIMIT:
        raise KitError(f"{folder}: is larger than the {LIMIT / 1e9:.0f} GB that Kaggle takes: leave weights out")

    def look() -> bool | None:
        exists = status(client, owner, slug) is not None and listed(client, owner, slug) == sizes
        return False if exists else None  # False: nothing was uploaded

    def prepare() -> Callable[[], bool]:
        tokens = [_upload(client, path) for path in sorted(folder.iterdir())]
        make_request = version_request if status(client, owner, slug) is not None else create_request
        request = make_request(owner, slug, tokens)
        return lambda: _send(client, request)

    digest = hashlib.sha256(repr(sorted(sizes.items())).encode()).hexdigest()
    record = acting.Journal(journal, f"files {digest[:12]}")
    fresh = acting.send_once(f"the files of {owner}/{slug}", look, record, prepare)
    record.write(None)
    missing = sorted(sizes)

    def is_processed() -> bool | None:
        state = status(client, owner, slug)
        if state in (Status.FAILED, Status.DELETED):
            raise KitError(f"{owner}/{slug}: Kaggle says {state.name}: look at it on kaggle.com, then push again")
        current = listed(client, owner, slug) if state == Status.READY else {}
        missing[:] = sorted(name for name in {*sizes, *current} if current.get(name) != sizes.get(name))
        return None if missing else True

    interrupted = "run the same command to resume"
    if not wait_for(is_processed, lambda: "Kaggle takes the files in", interrupted, PATIENCE, POLL):
        raise KitError(f"{owner}/{slug}: is not complete after {PATIENCE:.0f} s: {', '.join(missing)}: push again")
    return fresh


def status(client: Client, owner: str, slug: str) -> Status | None:
    """Returns the processing status of a data set; None if there is none that the account may see."""
    request = ApiGetDatasetStatusRequest()
    request.owner_slug, request.dataset_slug = owner, slug
    try:
        return client.read(client.datasets.get_dataset_status, request).status
    except Refused as failure:
        if failure.means_absent:
            return None
        raise


def listed(client: Client, owner: str, slug: str) -> dict[str, int]:
    """Returns the size of each file of the last version, by name."""
    return {file.name: file.total_bytes for page in pages(client, owner, slug) for file in page.dataset_files or []}


def pages(client: Client, owner: str, slug: str) -> Iterator[ApiListDatasetFilesResponse]:
    """Yields the file list of the last version of any data set, page by page."""
    request = ApiListDatasetFilesRequest()
    request.owner_slug, request.dataset_slug, request.page_size = owner, slug, 200
    return client.pages(client.datasets.list_dataset_files, request)


def split(option: str, name: str) -> tuple[str, str]:
    """Splits the name of a data set, as given by a command-line option, into owner and name.

    >>> split("--source", "ada/lungs")
    ('ada', 'lungs')
    """
    owner, slash, slug = name.partition("/")
    if not (owner and slash and slug) or "/" in slug:
        raise KitError(f"{option} {name}: is not OWNER/NAME, as in the address of a data set on kaggle.com")
    return owner, slug


def require(client: Client, option: str, name: str) -> None:
    """Refuses a data set that the account cannot use.

    Raises:
        KitError: the data set does not exist, or is private to another account.
    """
    try:
        next(pages(client, *split(option, name)))
    except Refused as failure:
        if not failure.means_absent:
            raise
        raise KitError(
            f"{option} {name}: there is no such data set on Kaggle, or it is not for this account: check its address, "
            f"kaggle.com/datasets/{name}, or have its owner share it"
        ) from None


def create_request(owner: str, slug: str, tokens: list[str]) -> ApiCreateDatasetRequest:
    """Returns the request that creates the data set, private."""
    request = ApiCreateDatasetRequest()
    request.owner_slug, request.slug, request.title = owner, slug, slug
    request.license_name, request.is_private = "other", True
    request.files = [_file(token) for token in tokens]
    return request


def version_request(owner: str, slug: str, tokens: list[str]) -> ApiCreateDatasetVersionRequest:
    """Returns the request that adds a version with exactly these files."""
    request = ApiCreateDatasetVersionRequest()
    request.owner_slug, request.dataset_slug = owner, slug
    request.body = ApiCreateDatasetVersionRequestBody()
    request.body.version_notes = "kit kernel push"
    request.body.files = [_file(token) for token in tokens]
    return request


def upload_request(path: Path) -> ApiStartBlobUploadRequest:
    """Returns the request for an address to which to upload a file."""
    request = ApiStartBlobUploadRequest()
    request.type, request.name = ApiBlobType.DATASET, path.name
    request.content_length = path.stat().st_size
    request.last_modified_epoch_seconds = int(path.stat().st_mtime)
    return request


def _upload(client: Client, path: Path) -> str:
    target = client.read(client.blobs.start_blob_upload, upload_request(path))
    upload(client, target.create_url, path)
    return target.token


def _file(token: str) -> ApiDatasetNewFile:
    file = ApiDatasetNewFile()
    file.token = token
    return file


def _send(client: Client, request: ApiCreateDatasetRequest | ApiCreateDatasetVersionRequest) -> bool:
    if isinstance(request, ApiCreateDatasetRequest):
        answer = client.act(client.datasets.create_dataset, request)
    else:
        answer = client.act(client.datasets.create_dataset_version, request)
    if answer.error or (answer.status or "ok").lower() == "error":
        reason = answer.error or "no reason given"
        raise Refused(f"the data set: Kaggle does not take it: {reason}: correct what it names")
    return True
