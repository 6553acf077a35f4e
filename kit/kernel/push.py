"""A kernel's way to Kaggle: its files, its script, its run, and what it has written."""

import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

from kagglesdk.kernels.types.kernels_api_service import (
    ApiGetKernelRequest,
    ApiGetKernelSessionStatusRequest,
    ApiSaveKernelRequest,
    ApiSaveKernelResponse,
)
from kagglesdk.kernels.types.kernels_enums import KernelWorkerStatus as Status

from kit.competition import layout, submission
from kit.core import files
from kit.core.errors import KitError
from kit.kaggle import dataset, kernel_output, retry
from kit.kaggle.client import Client
from kit.kaggle.waiting import waiting
from kit.kernel.bundle import Kernel

PATIENCE = 13 * 3600.0
"""Seconds to wait for a kernel; Kaggle ends it after twelve hours."""
POLL = 10.0
FAILED = (Status.ERROR, Status.CANCEL_REQUESTED, Status.CANCEL_ACKNOWLEDGED)


def push(
    client: Client, kernel: Kernel, owner: str, competition: layout.Competition, say: Callable[[str], None]
) -> Path:
    """Uploads a kernel's files and script unless Kaggle has them, waits for its run and fetches its submission.

    Args:
        client: The signed-in client.
        kernel: As built.
        owner: Account that it will belong to.
        competition: The data that the kernel's submission is checked against.
        say: Takes a line of progress.

    Returns:
        The submission that the kernel has written.

    Raises:
        KitError: Kaggle does not take it, it fails there, or it writes no valid submission.
    """
    fresh = dataset.push(client, owner, kernel.dataset, kernel.bundle)
    say(f"{owner}/{kernel.dataset}: {'uploaded' if fresh else 'up to date'}, its files are those of the manifest")
    version = pushed_version(client, kernel, owner)
    if version is None:
        version = save(client, kernel, owner)
    say(f"{owner}/{kernel.slug}/{version}: runs")
    wait(client, kernel, owner)
    path = kernel_output.fetch_submission(client, owner, kernel.slug, competition)
    say(f"{path}: a valid submission; {compared(path, kernel.rehearsed)}")
    say(f"submit it with: make submit TO=kaggle ARGS='--kernel {owner}/{kernel.slug}/{version}'")
    return path


def requests(kernel: Kernel, owner: str) -> list[tuple[str, dict]]:
    """What a push sends: the name and the content of each request, with NAME-TOKEN for Kaggle's tokens."""
    paths = sorted(kernel.bundle.iterdir())
    uploads = [("StartBlobUpload", dataset.upload_request(path).to_dict()) for path in paths]
    tokens = [f"{path.name}-TOKEN" for path in paths]
    create = dataset.create_request(owner, kernel.dataset, tokens).to_dict()
    return [*uploads, ("CreateDataset", create), ("SaveKernel", save_request(kernel, owner).to_dict())]


def save_request(kernel: Kernel, owner: str) -> ApiSaveKernelRequest:
    """The request that saves and runs the kernel, as its metadata says."""
    about = files.read_json(kernel.metadata)
    request = ApiSaveKernelRequest()
    request.slug, request.new_title = f"{owner}/{kernel.slug}", about["title"]
    request.text = kernel.script.read_text()
    request.language, request.kernel_type = about["language"], about["kernel_type"]
    request.is_private, request.enable_internet = about["is_private"], about["enable_internet"]
    request.enable_gpu, request.enable_tpu = about["enable_gpu"], about["enable_tpu"]
    request.dataset_data_sources = [f"{owner}/{kernel.dataset}"]
    request.competition_data_sources = about["competition_sources"]
    return request


def save(client: Client, kernel: Kernel, owner: str) -> int:
    """Saves a version of the kernel, which runs it, and gives its number.

    Raises:
        KitError: Kaggle does not take it.
    """
    request = save_request(kernel, owner)

    def attempt(number: int) -> int:
        try:
            answer = client.act(client.kernels.save_kernel, request)
        except retry.Unsettled as failure:
            version = pushed_version(client, kernel, owner)
            if version is not None:
                return version
            if failure.finished:
                raise
            raise KitError(f"{failure}; Kaggle does not show the kernel: the same command again looks first") from None
        if problem := _problem(answer):
            raise KitError(f"{owner}/{kernel.slug}: Kaggle does not take it: {problem}")
        return answer.version_number or 1

    return retry.persist(attempt)


def pushed_version(client: Client, kernel: Kernel, owner: str) -> int | None:
    """Number of Kaggle's last version, if it is this very script and has not failed; else None."""
    request = ApiGetKernelRequest()
    request.user_name, request.kernel_slug = owner, kernel.slug
    try:
        answer = client.read(client.kernels.get_kernel, request)
    except retry.Refused as failure:
        if failure.status in (403, 404):  # Kaggle forbids what does not exist.
            return None
        raise
    same = answer.blob is not None and _lines(answer.blob.source or "") == _lines(kernel.script.read_text())
    if not same or session(client, kernel, owner)[0] in FAILED:
        return None
    return answer.metadata.current_version_number or 1


def session(client: Client, kernel: Kernel, owner: str) -> tuple[Status, str]:
    """How the last version's run stands, and why it failed."""
    request = ApiGetKernelSessionStatusRequest()
    request.user_name, request.kernel_slug = owner, kernel.slug
    answer = client.read(client.kernels.get_kernel_session_status, request)
    return answer.status, answer.failure_message or ""


def wait(client: Client, kernel: Kernel, owner: str) -> None:
    """Returns when the last version's run is complete.

    Raises:
        KitError: it failed; the end of its log is told.
    """
    with waiting("on Kaggle:") as line:
        for _ in count():
            now, reason = session(client, kernel, owner)
            line.say(f"{owner}/{kernel.slug} on Kaggle: {now.name.lower()}")
            if now == Status.COMPLETE:
                return
            if now in FAILED:
                _, log = kernel_output.list_output(client, owner, kernel.slug)
                told = "\n  ".join([reason or now.name, *log.strip().splitlines()[-10:]])
                raise KitError(f"{owner}/{kernel.slug}: failed on Kaggle: mend it, build and push again:\n  {told}")
            if line.seconds() > PATIENCE:
                raise KitError(f"{owner}/{kernel.slug}: is {now.name.lower()} after {PATIENCE:.0f} s: push again later")
            time.sleep(POLL)


def compared(path: Path, rehearsed: Path) -> str:
    """How a kernel's submission stands to that of its rehearsal."""
    if not rehearsed.is_file():
        return "there was no rehearsal to compare it with"
    ours, theirs = submission.read(rehearsed), submission.read(path)
    if ours.keys() != theirs.keys():
        return "the rehearsal was on other images"
    different = sum(ours[image_id] != theirs[image_id] for image_id in ours)
    return f"{different} of {len(ours)} masks differ from the rehearsal's" if different else "the same as rehearsed"


def _problem(answer: ApiSaveKernelResponse) -> str:
    """What Kaggle has against a kernel that it answers 200 to."""
    invalid = {
        kind: getattr(answer, f"invalid_{kind}_sources") for kind in ("dataset", "competition", "kernel", "model")
    }
    problems = [answer.error] if answer.error else []
    problems += [f"no such {kind}: {', '.join(sources)}" for kind, sources in invalid.items() if sources]
    return "; ".join(problems)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]
