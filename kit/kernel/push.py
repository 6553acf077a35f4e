"""Pushing a kernel to Kaggle: uploads its files and its code, waits for its run, and fetches its submission."""

import re
from collections.abc import Callable
from pathlib import Path

from kagglesdk.kernels.types.kernels_api_service import (
    ApiGetKernelRequest,
    ApiSaveKernelRequest,
    ApiSaveKernelResponse,
)
from kagglesdk.kernels.types.kernels_enums import KernelWorkerStatus as Status

from kit.competition import layout, submission
from kit.core import files
from kit.core.documents import Count, read_document
from kit.core.errors import KitError
from kit.core.logs import Say
from kit.kaggle import acting, dataset, kernel_output
from kit.kaggle.client import Client
from kit.kaggle.retry import Refused, Unsettled
from kit.kaggle.waiting import wait_for
from kit.kernel import identity, metadata
from kit.kernel.bundle import Kernel

PATIENCE = 13 * 3600.0
"""Maximum time to wait for a kernel, in seconds; Kaggle ends it after twelve hours."""
POLL = 10.0
CANCELLED = (Status.CANCEL_REQUESTED, Status.CANCEL_ACKNOWLEDGED)
FAILED = (Status.ERROR, *CANCELLED)
_REMEDIES = {
    "not enough memory": "give the same command with the SET that it names: what was trained is kept",
    "disk (is full|quota)|No space left|are free: make room": "Kaggle's disk is full: ask for fewer folds or a smaller"
    " size, as another run (SET='name=…')",
    "memory is used up|signal 9|more memory than": "the machine has too little memory: give the same command, which"
    " goes on from the last epoch; if it fails again, ask for smaller stages",
    "quota": "wait for the hours of the next week, then give the same command",
    "session count": "other sessions of the account run: wait for them or stop them on kaggle.com, then give the same"
    " command",
}
"""Advice on errors of Kaggle's or of a session's, by a pattern in the error's text."""


def push(client: Client, kernel: Kernel, owner: str, competition: layout.Competition, say: Say) -> tuple[Path, int]:
    """Uploads a kernel's files and code unless Kaggle has them, waits for its run and fetches its submission.

    Args:
        owner: Account that owns the kernel.
        competition: The data that the kernel's submission is checked against.

    Returns:
        The kernel's submission, and the number of its version.

    Raises:
        KitError: Kaggle refuses the kernel, the kernel fails there or writes no valid submission, or it is unknown
            whether Kaggle has saved the kernel.
    """
    with files.locked(kernel.journal, busy="another push is under way: wait for it to finish"):
        fresh = dataset.push(client, owner, kernel.dataset, kernel.bundle, kernel.journal)
        say(f"{owner}/{kernel.dataset}: {'uploaded' if fresh else 'up to date'}, its files are those of the manifest")
        version = save(client, kernel, owner)
    name = f"{owner}/{kernel.name}/{version}"
    say(f"{name}: runs")
    status, reason = wait_until_ended(client, kernel, owner, version)
    if status != Status.COMPLETE:
        _, log = kernel_output.list_output(client, owner, kernel.name, version)
        raise KitError(failure_of(name, reason or status.name, log, "correct it, build and push again"))
    path = kernel_output.fetch_submission(client, owner, kernel.name, version, competition)
    say(f"{path}: a valid submission; {compare(path, kernel.rehearsed)}")
    return path, version


def requests(kernel: Kernel, owner: str) -> list[tuple[str, dict]]:
    """Lists the requests that a push sends, each with its name and content; NAME-TOKEN stands for Kaggle's tokens."""
    paths = sorted(kernel.bundle.iterdir())
    uploads = [("StartBlobUpload", dataset.upload_request(path).to_dict()) for path in paths]
    tokens = [f"{path.name}-TOKEN" for path in paths]
    create = dataset.create_request(owner, kernel.dataset, tokens).to_dict()
    return [*uploads, ("CreateDataset", create), ("SaveKernel", save_request(kernel, owner).to_dict())]


def save_request(kernel: Kernel, owner: str) -> ApiSaveKernelRequest:
    """Makes the request that saves and runs the kernel, from its metadata and code."""
    about = metadata.read(kernel.metadata)
    request = ApiSaveKernelRequest()
    request.slug, request.new_title = f"{owner}/{kernel.name}", about.title
    request.text = identity.stamped(files.read_text(kernel.code), about.model_dump())
    request.language, request.kernel_type = about.language, about.kernel_type
    request.is_private, request.enable_internet = about.is_private, about.enable_internet
    request.enable_gpu, request.enable_tpu = about.enable_gpu, about.enable_tpu
    request.machine_shape = about.machine_shape or None
    request.docker_image_pinning_type = about.docker_image_pinning_type
    request.dataset_data_sources = [f"{owner}/{kernel.dataset}", *about.dataset_sources[1:]]
    request.competition_data_sources = about.competition_sources
    request.kernel_data_sources = about.kernel_sources
    return request


def save(client: Client, kernel: Kernel, owner: str) -> int:
    """Saves a version of the kernel, which runs it, unless Kaggle has that version; returns its number.

    A version that failed on Kaggle is saved, and so run, once more.

    Raises:
        KitError: Kaggle refuses the version, or it is unknown whether Kaggle has saved it.
    """
    request = save_request(kernel, owner)
    stamp = identity.of(request.text)
    newest, source = newest_version(client, kernel, owner)
    failed = newest > 0 and kernel_output.session(client, owner, kernel.name, newest)[0] in FAILED
    number = newest + 1 if failed or identity.of(source) != stamp else newest
    act = acting.Journal(kernel.journal, f"version {number} {stamp}")

    def look() -> int | None:
        number, source = _listed(client, kernel, owner)
        return number if identity.of(source) == stamp and (number > newest or not failed) else None

    def send() -> int:
        answer = client.act(client.kernels.save_kernel, request)
        if problem := _problem(answer):
            remedy = remedy_for(problem, "correct what it names")
            raise Refused(f"{owner}/{kernel.name}: Kaggle does not take it: {problem.rstrip('.')}: {remedy}")
        return answer.version_number or newest + 1

    version = acting.send_once(f"the version of {owner}/{kernel.name}", look, act, lambda: send)
    files.write_json(kernel.pushed, version)
    act.write(None)
    return version


def newest_version(client: Client, kernel: Kernel, owner: str) -> tuple[int, str]:
    """Returns number and code of Kaggle's newest version; 0 if there is none.

    If a version was saved and Kaggle does not list it yet, this waits for it, so that it is never saved twice.

    Raises:
        KitError: the version is not listed after a minute.
    """
    saved = saved_version(kernel.pushed)
    what = f"version {saved} of {owner}/{kernel.name}"

    def look() -> tuple[int, str] | None:
        listed = _listed(client, kernel, owner)
        return listed if listed[0] >= saved else None

    newest = look() or acting.wait_until_listed(what, look)
    if newest is None:
        raise KitError(
            f"{what} was saved, and Kaggle does not list it: if it was deleted there, remove {kernel.pushed} and run "
            "the same command again"
        )
    return newest


def saved_version(path: Path) -> int:
    """Returns the number of the newest version that is known to have been saved; 0 if there is none.

    Raises:
        KitError: the file is not what a push writes.
    """
    return read_document(path, Count, "remove it and run the same command again") if files.is_file_or_raise(path) else 0


def _listed(client: Client, kernel: Kernel, owner: str) -> tuple[int, str]:
    request = ApiGetKernelRequest()
    request.user_name, request.kernel_slug = owner, kernel.name
    try:
        answer = client.read(client.kernels.get_kernel, request)
    except Refused as failure:
        if failure.means_absent:
            return 0, ""
        raise
    return answer.metadata.current_version_number or 1, (answer.blob.source or "") if answer.blob else ""


def failure_of(name: str, reason: str, log: str, remedy: str) -> str:
    """Describes the failure of a version: what to do, why it failed, and the end of its log."""
    details = "\n  ".join([reason, *log.strip().splitlines()[-10:]])
    return f"{name}: failed on Kaggle: {remedy_for(details, remedy)}:\n  {details}"


def remedy_for(problem: str, otherwise: str) -> str:
    """Returns advice on an error of Kaggle's or of a session's.

    >>> remedy_for("Maximum weekly GPU quota of 30.00 hours reached.", "see the log")
    'wait for the hours of the next week, then give the same command'
    """
    remedies = (remedy for pattern, remedy in _REMEDIES.items() if re.search(pattern, problem, re.IGNORECASE))
    return next(remedies, otherwise)


def wait_until_ended(
    client: Client, kernel: Kernel, owner: str, version: int, look: Callable[[], None] = lambda: None
) -> tuple[Status, str]:
    """Waits for the end of a version's run, also through network failures; returns its status, and the reason.

    Args:
        look: Called after each check that finds the version running.

    Raises:
        KitError: the version runs longer than Kaggle allows.
    """
    name, state = f"{owner}/{kernel.name}/{version}", ""

    def ended() -> tuple[Status, str] | None:
        nonlocal state
        try:
            status, reason = kernel_output.session(client, owner, kernel.name, version)
            state = status.name.lower()
            if status == Status.COMPLETE or status in FAILED:
                return status, reason
            look()
        except Unsettled as failure:
            state = str(failure)
        return None

    interrupted = f"{name} runs on: run the same command to resume"
    result = wait_for(ended, lambda: f"{name} on Kaggle: {state}", interrupted, PATIENCE, POLL)
    if result is None:
        raise KitError(f"{name}: has not ended after {PATIENCE:.0f} s: run the same command later")
    return result


def compare(path: Path, rehearsed: Path) -> str:
    """Describes how a kernel's submission compares with that of its rehearsal."""
    if not rehearsed.is_file():
        return "there was no rehearsal to compare it with"
    expected, rows = submission.read(rehearsed), submission.read(path)
    if expected.keys() != rows.keys():
        return "the rehearsal was on other images"
    different = sum(expected[name] != rows[name] for name in expected)
    return f"{different} of {len(expected)} masks differ from the rehearsal's" if different else "the same as rehearsed"


def _problem(answer: ApiSaveKernelResponse) -> str:
    """Returns the error in an answer to a save, which has status 200 even if Kaggle refuses the kernel; else empty."""
    invalid = {
        kind: getattr(answer, f"invalid_{kind}_sources") for kind in ("dataset", "competition", "kernel", "model")
    }
    problems = [answer.error] if answer.error else []
    problems += [f"no such {kind}: {', '.join(sources)}" for kind, sources in invalid.items() if sources]
    return "; ".join(problems)
