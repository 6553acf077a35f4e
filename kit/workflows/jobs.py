"""Folds trained side by side: one process per fold, the threads of the arithmetic shared out among the processes.

On a CPU two processes with one thread each do more than one with two: small operators have too little to share. The
weights are, byte for byte, those of a training fold after fold with as many threads a process; with another number of
threads sums are taken in another order, and differ in their last bits. Of several GPUs each process has one, counted
round; a CUDA_VISIBLE_DEVICES that is set says which there are.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kit.core.distributed import JOB
from kit.core.errors import KitError
from kit.core.parallel import cores, gpus
from kit.data import folds
from kit.run import Run
from kit.workflows import space
from kit.workflows.extra import open_extra
from kit.workflows.train import Job, fold_file_of, train
from kit.workflows.workspace import Workspace

log = logging.getLogger(__name__)

_THREADS = "OMP_NUM_THREADS"
_ENDING = {signal.SIGINT, signal.SIGTERM}
_POLL = 0.2
"""Seconds from one look at the processes to the next."""


def train_side_by_side(workspace: Workspace, job: Job, options: Sequence[str], jobs: int) -> tuple[Run, bool]:
    """As `train.train`, with up to `jobs` folds at a time, each in a process of its own.

    When one process ends with an error, or the caller is interrupted, the others are ended too; the same call resumes.

    Args:
        workspace: Where things lie; its root is the working folder of the processes.
        options: Of the command line that names data and recipe, for the processes.

    Returns:
        The run, and whether there was anything to do.

    Raises:
        KitError: a fold's process has failed, after its own message; or as `train.train`.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise KitError("--jobs cannot be combined with torchrun, which starts its own processes: leave one of them out")
    recipe = job.recipe
    workspace.draw_demo(job.data)
    competition = workspace.open_data(job.data)
    run = workspace.run(competition, recipe)
    split = folds.read(fold_file_of(workspace, competition, recipe, run), competition)
    missing = [fold for fold in split.numbers if not run.is_trained(recipe, fold)]
    if len(missing) > 1:
        extra = open_extra(workspace, competition, recipe, split)
        space.check(space.of_training(workspace, competition, run, recipe, split, missing, extra))
        flags = ["--skip-bad"] * job.skip_bad + (["--logger", job.logger] if job.logger else [])
        command = [sys.executable, "-m", "kit", "train", *options, *flags]
        _run(missing, [*command, "--fold"], jobs, workspace.root)
    _, done = train(workspace, job)
    return run, done or len(missing) > 1


def _run(numbers: Sequence[int], command: Sequence[str], jobs: int, folder: Path) -> None:
    """Runs the command with each fold at its end, up to `jobs` at a time."""
    jobs = min(jobs, len(numbers))
    given = os.environ.get(_THREADS, "").partition(",")[0]  # a list is of nested levels
    threads = max(1, (int(given) if given.isdecimal() else cores()) // jobs)
    devices = gpus()
    on = f", on {min(jobs, len(devices))} GPUs" if len(devices) > 1 else ""
    log.info("%d folds, %d at a time, threads each: %d%s", len(numbers), jobs, threads, on)
    environment = os.environ | {JOB: "1", _THREADS: str(threads)}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    waiting, free = list(numbers), list(range(jobs))
    running: dict[int, tuple[int, subprocess.Popen]] = {}  # by its number, the fold of each process
    try:
        while waiting or running:
            while waiting and free:
                number, fold = free.pop(0), waiting.pop(0)
                if devices:
                    environment["CUDA_VISIBLE_DEVICES"] = devices[number % len(devices)]
                with _signals_waiting():  # or a process could be there that nobody knows of
                    process = subprocess.Popen(
                        [*command, str(fold)], env=environment, cwd=folder, preexec_fn=_leave_interrupts
                    )
                    running[number] = fold, process
            time.sleep(_POLL)
            for number, (fold, process) in list(running.items()):
                if (code := process.poll()) is not None:
                    del running[number]
                    free = sorted([*free, number])
                    if code:
                        how = f"exit code {code}" if code > 0 else f"signal {-code}"
                        raise KitError(f"fold {fold}: its process ended with {how}: run the same command to resume")
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.wait()


@contextmanager
def _signals_waiting() -> Iterator[None]:
    """Signals that end this process come after the block."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _leave_interrupts() -> None:
    """Ctrl-C reaches every process of a terminal; a fold's leaves it to the one that started it, which ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
