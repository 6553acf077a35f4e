"""Training on Kaggle from here: session after session until all is done, one at a time, and the run fetched.

Where a training stands is asked of Kaggle at every step, so that a command that was killed goes on when it is given
again: a version that runs is waited for, one that has ended is followed by the next, and what was fetched is kept.
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
from kit.kaggle import dataset, kernel_output
from kit.kaggle.client import Client
from kit.kaggle.retry import Failure
from kit.kernel import push, session
from kit.kernel.bundle import Kernel
from kit.kernel.session import Session
from kit.run import Run

_TOLD = re.compile(
    r"epoch \d+/\d+: loss|^will use up to|^no GPU|^GPUs: |^session \d+|^prediction of|^time is up|OOF maps"
)
"""Lines of a session's log that are shown here."""

_REMEDY = "see why, then give the same command, which tries it again"

Say = Callable[[str], None]


class Ended(NamedTuple):
    """A version that has ended."""

    version: int
    session: Session | None
    """What it has left; None where it has failed without a word."""
    problem: str
    """Why it cannot be gone on from as if nothing were; empty where it can."""


def train(
    client: Client,
    owner: str,
    kernel: Kernel,
    prepare: Callable[[int], None],
    say: Say,
    patient: bool = True,
    what: str = "session {} begins",
) -> Ended | None:
    """Runs sessions until one says that all is done.

    Args:
        kernel: The one that trains.
        prepare: Builds it for the session of that number.
        what: What to say of a session that begins, with its number.
        patient: Wait for each session; else return as soon as one runs.

    Returns:
        The version with the finished run; None where one runs on.

    Raises:
        KitError: a session fails, Kaggle does not take it, or whether it has cannot be known.
    """
    with files.locked(kernel.journal, busy="another command is at it: wait for that one to finish"):
        watched = False
        while True:
            number, text = push.newest_version(client, kernel, owner)
            name, following = f"{owner}/{kernel.name}/{number}", 1
            if number:
                now, reason = kernel_output.session(client, owner, kernel.name, number)
                if now != Status.COMPLETE and now not in push.FAILED:
                    if not patient:
                        say(f"{name}: runs on Kaggle; the same command goes on from it")
                        return None
                    push.wait_until_ended(client, kernel, owner, number, Follower(client, owner, kernel, number, say))
                    watched = True
                    continue
                ended = _read(client, owner, kernel, number, now, reason)
                if ended.session and ended.session.state == "done":
                    say(f"{name}: all is done")
                    return ended
                if ended.problem and watched:
                    raise KitError(ended.problem)
                if ended.problem:
                    say(f"{ended.problem}\n{name}: it is tried again")
                following = ended.session.number + 1 if ended.session else _number_in(text)
            say(f"{_quota(client)}{what.format(following)}")
            prepare(following)
            dataset.push(client, owner, kernel.dataset, kernel.bundle, kernel.journal)
            push.save(client, kernel, owner)
            watched = True


class Follower:
    """Shows what is new in the log of a version that runs.

    Args:
        say: Takes each line.
    """

    def __init__(self, client: Client, owner: str, kernel: Kernel, version: int, say: Say) -> None:
        self._client, self._say = client, say
        self._request = ApiGetKernelSessionLogsStreamRequest()
        self._request.user_name, self._request.kernel_slug = owner, kernel.name
        self._request.version_label, self._request.wait_for_logs_url_seconds = str(version), 1
        self._shown = 0

    def __call__(self) -> None:
        """Shows lines as they are printed, until the log ends or breaks off; one that cannot be had stops nothing."""
        text, seen = "", 0
        ask, method = self._client.ask, self._client.kernels.get_kernel_session_logs_stream
        with contextlib.suppress(Failure, requests.RequestException), ask(method, self._request) as stream:
            for event in stream.iter_lines():  # each time from the beginning on
                if b"END_OF_LOG" in event:
                    break
                text += kernel_output.event_text(event.decode(errors="replace"))
                *lines, text = text.split("\n")
                for line in filter(_TOLD.search, lines):
                    seen += 1
                    if seen > self._shown:
                        self._say(line)
        self._shown = max(seen, self._shown)


def fetch(client: Client, owner: str, kernel: Kernel, ended: Ended, target: Path, check: Callable[[Run], None]) -> None:
    """Brings a finished run home, every file verified; what an earlier call has fetched is kept.

    Args:
        ended: Its finished version.
        target: Folder of the run, which is not there yet.
        check: Raises KitError if what has arrived is not the run that was asked for.

    Raises:
        KitError: a file is not there, or is not what the session left; or the check fails.
    """
    assert ended.session is not None
    urls, _ = kernel_output.list_output(client, owner, kernel.name, ended.version)
    part = target.with_name(f".{target.name}.kaggle")

    def verify(path: Path, digest: str) -> None:
        if files.sha256(path) != digest:
            raise KitError(f"{path}: has arrived with other bytes than the session left: run the same command again")

    for name, digest in ended.session.files.items():
        place = f"runs/{ended.session.run}/{name}"
        if place not in urls:
            raise KitError(f"{owner}/{kernel.name}/{ended.version}: has no {place} in its output: look at kaggle.com")
        if not ((part / name).is_file() and files.sha256(part / name) == digest):
            kernel_output.download(client, urls[place], part / name, partial(verify, digest=digest))
    check(Run(part))
    files.write_json(part / session.FETCHED, ended.session.model_dump(mode="json"))
    part.rename(target)


def _read(client: Client, owner: str, kernel: Kernel, version: int, now: Status, reason: str) -> Ended:
    """How a version has ended."""
    urls, log = kernel_output.list_output(client, owner, kernel.name, version)
    name = f"{owner}/{kernel.name}/{version}"
    if now in push.CANCELLED:
        return Ended(version, None, f"{name}: was cancelled on Kaggle: the same command tries it again")
    if now != Status.COMPLETE or session.NAME not in urls:
        reason = reason or (now.name if now != Status.COMPLETE else f"it has written no {session.NAME}")
        return Ended(version, None, push.failure_of(name, reason, log, _REMEDY))
    path = kernel_output.FOLDER / kernel.name / session.NAME
    path.unlink(missing_ok=True)
    kernel_output.download(client, urls[session.NAME], path, session.read)
    left = session.read(path)
    return Ended(version, left, push.failure_of(name, left.reason, log, _REMEDY) if left.state == "failed" else "")


def _number_in(text: str) -> int:
    """Number of the session that a version's code is of."""
    found = re.search(r"\bSESSION = (\d+)", text)
    return int(found[1]) if found else 1


def _quota(client: Client) -> str:
    """What is left of the account's hours on GPUs this week, if Kaggle tells."""
    try:
        answer = client.read(client.kernels.get_accelerator_quota_statistics, ApiGetAcceleratorQuotaStatisticsRequest())
    except Failure:
        return ""
    if not (answer.gpu_quota and answer.gpu_quota.total_time_allowed):
        return ""
    whole = answer.gpu_quota.total_time_allowed.total_seconds() / 3600
    left = whole - (answer.gpu_quota.time_used.total_seconds() / 3600 if answer.gpu_quota.time_used else 0.0)
    if left <= 0:
        until = f" until {answer.quota_refresh_time:%Y-%m-%d %H:%M} UTC" if answer.quota_refresh_time else ""
        raise KitError(f"kaggle: the {whole:.0f} hours on GPUs of this week are used up{until}: wait for the next ones")
    return f"{left:.1f} of {whole:.0f} hours on GPUs are left this week; "
