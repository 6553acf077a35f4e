"""The run of a kernel version on Kaggle: its status, its log, and its submission, downloaded and checked."""

import contextlib
import json
import re
from collections.abc import Callable
from pathlib import Path

from kagglesdk.kernels.types.kernels_api_service import (
    ApiGetKernelSessionStatusRequest,
    ApiListKernelSessionOutputRequest,
)
from kagglesdk.kernels.types.kernels_enums import KernelWorkerStatus as Status

from kit.competition import layout, submission
from kit.core.errors import KitError
from kit.kaggle import transfer
from kit.kaggle.client import Client

SUBMISSION = "submission.csv"
FOLDER = Path("build/output")


def fetch_submission(client: Client, owner: str, slug: str, version: int, competition: layout.Competition) -> Path:
    """Downloads the submission.csv of a kernel version and checks it as a submission.

    Kaggle may answer a refused download with an HTML page and a status of success; such a file is not kept.

    Raises:
        KitError: there is no such kernel or file, its run is not complete, or the submission is invalid.
    """
    status, reason = session(client, owner, slug, version)
    if status != Status.COMPLETE:
        state = f"{status.name.lower()} {reason}".strip()
        raise KitError(
            f"{owner}/{slug}/{version}: is {state} on Kaggle: only a complete "
            "version has a score: wait for it, or correct the kernel and push it again"
        )
    urls, _ = list_output(client, owner, slug, version)
    if SUBMISSION not in urls:
        written = ", ".join(urls) or "nothing"
        raise KitError(f"{owner}/{slug}/{version}: has written {written}, no {SUBMISSION}: see its log")
    path = FOLDER / slug / SUBMISSION

    def check(part: Path) -> None:
        try:
            submission.check(part, competition.sample_ids, competition.shapes)
        except KitError as error:
            problem = str(error).replace(str(part), SUBMISSION)
            raise KitError(f"{owner}/{slug}/{version}: {problem}; correct the kernel and push it again") from None

    path.unlink(missing_ok=True)
    download(client, urls[SUBMISSION], path, check)
    return path


def download(client: Client, url: str, path: Path, check: Callable[[Path], object]) -> None:
    """Downloads an output file of a version from its address in `list_output`; see `transfer.download`."""
    transfer.download(client, lambda: client.storage().get(url, stream=True), path, check)


def session(client: Client, owner: str, slug: str, version: int) -> tuple[Status, str]:
    """Returns the status of a version's run, and why it failed."""
    request = ApiGetKernelSessionStatusRequest()
    request.user_name, request.kernel_slug, request.version_label = owner, slug, str(version)
    answer = client.read(client.kernels.get_kernel_session_status, request)
    return answer.status, answer.failure_message or ""


def list_output(client: Client, owner: str, slug: str, version: int) -> tuple[dict[str, str], str]:
    """Returns the address of each output file of a version by name, and its log as text."""
    request = ApiListKernelSessionOutputRequest()
    request.user_name, request.kernel_slug, request.version_label = owner, slug, str(version)
    urls: dict[str, str] = {}
    log = ""
    for page in client.pages(client.kernels.list_kernel_session_output, request):
        urls |= {file.file_name: file.url for file in page.files or []}
        log = log or page.log or ""
    return urls, _readable(log)


def split(kernel: str) -> tuple[str, str, int]:
    """Splits a kernel version into owner, slug and number.

    >>> split("ada/kit-demo/3")
    ('ada', 'kit-demo', 3)
    """
    match = re.fullmatch(r"([\w-]+)/([\w-]+)/([0-9]+)", kernel)
    if not match:
        raise KitError(f"--kernel {kernel}: is not OWNER/SLUG/VERSION, as in ada/kit-demo/3")
    return match[1], match[2], int(match[3])


def _readable(log: str) -> str:
    """Returns a log as text; Kaggle sends a JSON list of the printed texts with stream and time."""
    with contextlib.suppress(ValueError, TypeError, KeyError):
        return "".join(part["data"] for part in json.loads(log))
    return log


def event_text(line: str) -> str:
    r"""Returns the printed text in an event of a running version's log; empty for other lines.

    >>> event_text('data: {"stream_name": "stdout", "time": 1.5, "data": "epoch 1\\n"}')
    'epoch 1\n'
    """
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        return str(json.loads(line.removeprefix("data:"))["data"])
    return ""
