"""Training on Kaggle: runs one session after the other until everything is done, and fetches the run.

Every step first asks Kaggle for the current state, so that a killed command can be given again: it waits for a running
version, starts the session that follows a finished one, and keeps files that are already fetched.
"""

import contextlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import requests
from kagglesdk.kernels.types.kernels_api_service import (
    ApiGetAcceleratorQuotaStatisticsRequest,
    ApiGetKernelSessionLogsStreamRequest,
)
from kagglesdk.kernels.types.kernels_enums import KernelWorkerStatus as Status

from kit.core import files
from kit.core.errors import KitError
from kit.core.logs import Say
from kit.kaggle import dataset, kernel_output
from kit.kaggle.client import Client
from kit.kaggle.retry import Failure
from kit.kernel import push, session
from kit.kernel.bundle import Kernel
from kit.kernel.session import Session
from kit.run import Run

_SHOWN = re.compile(
    r"epoch \d+/\d+: loss|^will use up to|^no GPU|^GPUs: |^session \d+|^prediction of|^time is up|OOF maps"
)
"""Matches the lines of a session's log that are shown."""

_REMEDY = "see why, then give the same command, which tries it again"


class Ended(NamedTuple):
    """A version that has ended."""

    version: int
    session: Session | None
    """The session.json of the version; None if it failed without writing one."""
    problem: str
    """Error message of a version that failed or was cancelled; else empty."""


def train(
    client: Client,
    owner: str,
    kernel: Kernel,
    prepare: Callable[[int], None],
    say: Say,
    *,
    patient: bool = True,
    what: str = "session {} begins",
) -> Ended | None:
    """Runs sessions until one has finished the run.

    Args:
        kernel: The kernel that trains.
        prepare: Builds the kernel for the session of the given number.
        patient: Whether to wait for each session; if false, return as soon as one runs.
        what: Line to print when a session begins, with a placeholder for its number.

    Returns:
        The version with the finished run; None if a session is still running.

    Raises:
        KitError: a session fails, Kaggle refuses it, or it is unknown whether Kaggle has saved it.
    """
    with files.locked(kernel.journal, busy="another command trains it: wait for that command to finish"):
        watched = False
        while True:
            number, text = push.newest_version(client, kernel, owner)
            name, next_session = f"{owner}/{kernel.name}/{number}", 1
            if number:
                status, reason = kernel_output.session(client, owner, kernel.name, number)
                if status != Status.COMPLETE and status not in push.FAILED:
                    if not patient:
                        say(f"{name}: is running on Kaggle: run the same command later to continue")
                        return None
                    push.wait_until_ended(client, kernel, owner, number, Follower(client, owner, kernel, number, say))
                    watched = True
                    continue
                ended = _read(client, owner, kernel, number, status, reason)
                if ended.session and ended.session.state == "done":
                    say(f"{name}: everything is done")
                    return ended
                if ended.problem and watched:
                    raise KitError(ended.problem)
                if ended.problem:
                    say(f"{ended.problem}\n{name}: trying again")
                next_session = ended.session.number + 1 if ended.session else _session_number(text)
            say(f"{_quota(client)}{what.format(next_session)}")
            prepare(next_session)
            dataset.push(client, owner, kernel.dataset, kernel.bundle, kernel.journal)
            push.save(client, kernel, owner)
            watched = True


class Follower:
    """Prints the new lines in the log of a running version."""

    def __init__(self, client: Client, owner: str, kernel: Kernel, version: int, say: Say) -> None:
        self._client, self._say = client, say
        self._request = ApiGetKernelSessionLogsStreamRequest()
        self._request.user_name, self._request.kernel_slug = owner, kernel.name
        self._request.version_label, self._request.wait_for_logs_url_seconds = str(version), 1
        self._shown = 0

    def __call__(self) -> None:
        """Prints lines as they appear until the stream ends; a log that is not available is skipped."""
        text, seen = "", 0
        ask, method = self._client.ask, self._client.kernels.get_kernel_session_logs_stream
        with contextlib.suppress(Failure, requests.RequestException), ask(method, self._request) as stream:
            for event in stream.iter_lines():  # the stream always starts at the first line
                if b"END_OF_LOG" in event:
                    break
                text += kernel_output.event_text(event.decode(errors="replace"))
                *lines, text = text.split("\n")
                for line in filter(_SHOWN.search, lines):
                    seen += 1
                    if seen > self._shown:
                        self._say(line)
        self._shown = max(seen, self._shown)


def fetch(client: Client, owner: str, kernel: Kernel, ended: Ended, target: Path, check: Callable[[Run], None]) -> None:
    """Downloads a finished run and verifies every file; files from an earlier call are kept.

    Args:
        ended: The version with the run.
        target: Folder of the run, which does not exist yet.
        check: Raises KitError if the run is not the one that was ordered.

    Raises:
        KitError: a file is missing or differs from the one that the session left, or the check fails.
    """
    assert ended.session is not None
    urls, _ = kernel_output.list_output(client, owner, kernel.name, ended.version)
    part = target.with_name(f".{target.name}.kaggle")

    def verify(path: Path, digest: str) -> None:
        if files.sha256(path) != digest:
            raise KitError(f"{path}: was damaged in transit: run the same command again")

    for name, digest in ended.session.files.items():
        place = f"runs/{ended.session.run}/{name}"
        if place not in urls:
            raise KitError(f"{owner}/{kernel.name}/{ended.version}: has no {place} in its output: look at kaggle.com")
        if not ((part / name).is_file() and files.sha256(part / name) == digest):
            kernel_output.download(client, urls[place], part / name, partial(verify, digest=digest))
    check(Run(part))
    files.write_json(part / session.FETCHED, ended.session.model_dump(mode="json"))
    part.rename(target)


def _read(client: Client, owner: str, kernel: Kernel, version: int, status: Status, reason: str) -> Ended:
    """Finds out how a version has ended."""
    urls, log = kernel_output.list_output(client, owner, kernel.name, version)
    name = f"{owner}/{kernel.name}/{version}"
    if status in push.CANCELLED:
        return Ended(version, None, f"{name}: was cancelled on Kaggle: the same command tries it again")
    if status != Status.COMPLETE or session.NAME not in urls:
        reason = reason or (status.name if status != Status.COMPLETE else f"it has written no {session.NAME}")
        return Ended(version, None, push.failure_of(name, reason, log, _REMEDY))
    path = kernel_output.FOLDER / kernel.name / session.NAME
    path.unlink(missing_ok=True)
    kernel_output.download(client, urls[session.NAME], path, session.read)
    ended = session.read(path)
    return Ended(version, ended, push.failure_of(name, ended.reason, log, _REMEDY) if ended.state == "failed" else "")


def _session_number(code: str) -> int:
    """Returns the number of the session in a version's code."""
    match = re.search(r"\bSESSION = (\d+)", code)
    return int(match[1]) if match else 1


def _quota(client: Client) -> str:
    """Describes the GPU hours that the account has left this week; empty if Kaggle does not say.

    Raises:
        KitError: none are left.
    """
    try:
        answer = client.read(client.kernels.get_accelerator_quota_statistics, ApiGetAcceleratorQuotaStatisticsRequest())
    except Failure:
        return ""
    if not (answer.gpu_quota and answer.gpu_quota.total_time_allowed):
        return ""
    whole = answer.gpu_quota.total_time_allowed.total_seconds() / 3600
    hours = whole - (answer.gpu_quota.time_used.total_seconds() / 3600 if answer.gpu_quota.time_used else 0.0)
    if hours <= 0:
        until = f" until {answer.quota_refresh_time:%Y-%m-%d %H:%M} UTC" if answer.quota_refresh_time else ""
        raise KitError(f"kaggle: the {whole:.0f} hours on GPUs of this week are used up{until}: wait for the next ones")
    return f"{hours:.1f} of {whole:.0f} hours on GPUs are left this week; "
