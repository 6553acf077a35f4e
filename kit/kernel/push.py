"""A kernel's way to Kaggle: its files, its script, its run, and what it has written."""

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
from kit.kaggle import acting, dataset, kernel_output
from kit.kaggle.client import Client
from kit.kaggle.retry import Refused, Unsettled
from kit.kaggle.waiting import wait_for
from kit.kernel import identity, metadata
from kit.kernel.bundle import Kernel

PATIENCE = 13 * 3600.0
"""Seconds to wait for a kernel; Kaggle ends it after twelve hours."""
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
"""What to do about what Kaggle, or a session, says, by words in it."""


def push(
    client: Client, kernel: Kernel, owner: str, competition: layout.Competition, say: Callable[[str], None]
) -> tuple[Path, int]:
    """Uploads a kernel's files and script unless Kaggle has them, waits for its run and fetches its submission.

    Args:
        owner: Account that it will belong to.
        competition: The data that the kernel's submission is checked against.

    Returns:
        The submission that the kernel has written, and the number of its version.

    Raises:
        KitError: Kaggle does not take it, it fails there, it writes no valid submission, or whether Kaggle has taken
            it cannot be known.
    """
    with files.locked(kernel.journal, busy="another push is under way: wait for it to finish"):
        fresh = dataset.push(client, owner, kernel.dataset, kernel.bundle, kernel.journal)
        say(f"{owner}/{kernel.dataset}: {'uploaded' if fresh else 'up to date'}, its files are those of the manifest")
        version = save(client, kernel, owner)
    say(f"{owner}/{kernel.name}/{version}: runs")
    now, reason = wait_until_ended(client, kernel, owner, version)
    if now != Status.COMPLETE:
        _, log = kernel_output.list_output(client, owner, kernel.name, version)
        name, remedy = f"{owner}/{kernel.name}/{version}", "correct it, build and push again"
        raise KitError(failure_of(name, reason or now.name, log, remedy))
    path = kernel_output.fetch_submission(client, owner, kernel.name, version, competition)
    say(f"{path}: a valid submission; {compared(path, kernel.rehearsed)}")
    return path, version


def requests(kernel: Kernel, owner: str) -> list[tuple[str, dict]]:
    """What a push sends: the name and the content of each request, with NAME-TOKEN for Kaggle's tokens."""
    paths = sorted(kernel.bundle.iterdir())
    uploads = [("StartBlobUpload", dataset.upload_request(path).to_dict()) for path in paths]
    tokens = [f"{path.name}-TOKEN" for path in paths]
    create = dataset.create_request(owner, kernel.dataset, tokens).to_dict()
    return [*uploads, ("CreateDataset", create), ("SaveKernel", save_request(kernel, owner).to_dict())]


def save_request(kernel: Kernel, owner: str) -> ApiSaveKernelRequest:
    """The request that saves and runs the kernel, as its metadata says."""
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
    """Saves a version of the kernel, which runs it, unless Kaggle has it; gives its number.

    A version that failed on Kaggle is saved, and so run, once more.

    Raises:
        KitError: Kaggle does not take it, or whether it has cannot be known.
    """
    request = save_request(kernel, owner)
    ours = identity.of(request.text)
    newest, source = newest_version(client, kernel, owner)
    theirs = identity.of(source)
    failed = newest > 0 and kernel_output.session(client, owner, kernel.name, newest)[0] in FAILED
    act = acting.Journal(kernel.journal, f"version {newest + 1 if failed or theirs != ours else newest} {ours}")

    def look() -> int | None:
        number, source = _listed(client, kernel, owner)
        return number if identity.of(source) == ours and (number > newest or not failed) else None

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
    """Number and code of Kaggle's newest version; 0 where there is none.

    A version that was saved and that Kaggle does not list yet is waited for, so that it is never saved again.

    Raises:
        KitError: it is not listed after a minute.
    """
    known = saved_version(kernel.pushed)
    what = f"version {known} of {owner}/{kernel.name}"

    def look() -> tuple[int, str] | None:
        found = _listed(client, kernel, owner)
        return found if found[0] >= known else None

    found = look() or acting.wait_until_listed(what, look)
    if found is None:
        raise KitError(
            f"{what} was saved, and Kaggle does not list it: if it was deleted there, remove {kernel.pushed} and run "
            "the same command again"
        )
    return found


def saved_version(path: Path) -> int:
    """Number of the newest version that is known to have been saved; 0 where none is.

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
        if failure.status in (403, 404):  # Kaggle forbids what does not exist.
            return 0, ""
        raise
    return answer.metadata.current_version_number or 1, (answer.blob.source or "") if answer.blob else ""


def failure_of(name: str, reason: str, log: str, remedy: str) -> str:
    """What to say of a version that failed: what to do, why it failed, and the end of its log."""
    told = "\n  ".join([reason, *log.strip().splitlines()[-10:]])
    return f"{name}: failed on Kaggle: {remedy_for(told, remedy)}:\n  {told}"


def remedy_for(problem: str, otherwise: str) -> str:
    """What to do about a problem in words of Kaggle's or of a session's.

    >>> remedy_for("Maximum weekly GPU quota of 30.00 hours reached.", "see the log")
    'wait for the hours of the next week, then give the same command'
    """
    known = (remedy for words, remedy in _REMEDIES.items() if re.search(words, problem, re.IGNORECASE))
    return next(known, otherwise)


def wait_until_ended(
    client: Client, kernel: Kernel, owner: str, version: int, look: Callable[[], None] = lambda: None
) -> tuple[Status, str]:
    """Waits for the end of a version's run, however long the network is away meanwhile; gives how it ended, and why.

    Args:
        look: Called between two looks at its state.

    Raises:
        KitError: it runs for longer than Kaggle lets it.
    """
    name, state = f"{owner}/{kernel.name}/{version}", ""

    def ended() -> tuple[Status, str] | None:
        nonlocal state
        try:
            now, reason = kernel_output.session(client, owner, kernel.name, version)
            state = now.name.lower()
            if now == Status.COMPLETE or now in FAILED:
                return now, reason
            look()
        except Unsettled as failure:
            state = str(failure)
        return None

    interrupted = f"{name} runs on: run the same command to resume"
    found = wait_for(ended, lambda: f"{name} on Kaggle: {state}", interrupted, PATIENCE, POLL)
    if found is None:
        raise KitError(f"{name}: has not ended after {PATIENCE:.0f} s: run the same command later")
    return found


def compared(path: Path, rehearsed: Path) -> str:
    """How a kernel's submission stands to that of its rehearsal."""
    if not rehearsed.is_file():
        return "there was no rehearsal to compare it with"
    ours, theirs = submission.read(rehearsed), submission.read(path)
    if ours.keys() != theirs.keys():
        return "the rehearsal was on other images"
    different = sum(ours[name] != theirs[name] for name in ours)
    return f"{different} of {len(ours)} masks differ from the rehearsal's" if different else "the same as rehearsed"


def _problem(answer: ApiSaveKernelResponse) -> str:
    """What Kaggle has against a kernel that it answers 200 to."""
    invalid = {
        kind: getattr(answer, f"invalid_{kind}_sources") for kind in ("dataset", "competition", "kernel", "model")
    }
    problems = [answer.error] if answer.error else []
    problems += [f"no such {kind}: {', '.join(sources)}" for kind, sources in invalid.items() if sources]
    return "; ".join(problems)
