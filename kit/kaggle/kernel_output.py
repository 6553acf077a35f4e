"""What a kernel's version has written: fetched, and checked for being what it should be."""

import re
from pathlib import Path

import requests
from kagglesdk.kernels.types.kernels_api_service import ApiListKernelSessionOutputRequest

from kit.competition import layout
from kit.core.errors import KitError
from kit.kaggle import transfer
from kit.kaggle.client import Client, session
from kit.submissions.submit import validate

SUBMISSION = "submission.csv"
FOLDER = Path("build/output")


def fetch_submission(client: Client, owner: str, slug: str, competition: layout.Competition) -> Path:
    """Downloads the submission.csv of a kernel's last version and checks it as a submission.

    Kaggle has answered a refused download with a page of HTML and the status of success; such a thing is not kept.

    Args:
        client: The signed-in client.
        owner: Account that the kernel belongs to.
        slug: The kernel's name in its address.
        competition: The data that it answers.

    Raises:
        KitError: there is no such kernel or file, or it is not a valid submission.
    """
    urls, _ = list_output(client, owner, slug)
    if SUBMISSION not in urls:
        raise KitError(f"{owner}/{slug}: has written {', '.join(urls) or 'nothing'}, no {SUBMISSION}: see its log")
    path = FOLDER / slug / SUBMISSION

    def open_output() -> requests.Response:
        return session().get(urls[SUBMISSION], stream=True)

    path.unlink(missing_ok=True)
    transfer.download(open_output, path, lambda part: validate(part, competition))
    return path


def list_output(client: Client, owner: str, slug: str) -> tuple[dict[str, str], str]:
    """Address of each file that the last version has written, by its name, and its log."""
    urls: dict[str, str] = {}
    log, token = "", ""
    while True:
        request = ApiListKernelSessionOutputRequest()
        request.user_name, request.kernel_slug, request.page_token = owner, slug, token
        answer = client.read(client.kernels.list_kernel_session_output, request)
        urls |= {file.file_name: file.url for file in answer.files or []}
        log, token = log or answer.log or "", answer.next_page_token
        if not token:
            return urls, log


def split(kernel: str) -> tuple[str, str, int]:
    """Owner, slug and version of a kernel.

    Raises:
        KitError: it is not of that form.

    >>> split("ada/kit-demo/3")
    ('ada', 'kit-demo', 3)
    """
    found = re.fullmatch(r"([\w-]+)/([\w-]+)/([0-9]+)", kernel)
    if not found:
        raise KitError(f"--kernel {kernel}: is not OWNER/SLUG/VERSION, as in ada/kit-demo/3")
    return found[1], found[2], int(found[3])
