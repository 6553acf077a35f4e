"""Training folds in parallel: one process per fold, each with its part of the CPU threads.

On a CPU, two processes with one thread each are faster than one process with two, since small operators do not
parallelise well. With the same number of threads per process, the weights are byte for byte those of training the folds
in sequence; another number of threads changes the order of sums, and thereby the last bits. Processes take the GPUs in
turn; CUDA_VISIBLE_DEVICES limits which GPUs there are.
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
from kit.core.errors import KitError, describe_exit
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
"""Seconds between two checks of the processes."""


def train_side_by_side(workspace: Workspace, job: Job, options: Sequence[str], jobs: int) -> tuple[Run, bool]:
    """Runs `train.train` with up to `jobs` folds at a time, each in its own process.

    If one process fails or the caller is interrupted, all others are terminated; the same call resumes.

    Args:
        workspace: Workspace, whose root is the working folder of the processes.
        options: Command-line options for data and recipe, passed to the processes.

    Returns:
        The run, and whether there was anything to do.

    Raises:
        KitError: a fold's process has failed, after printing its own message; or as `train.train`.
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
    setting = os.environ.get(_THREADS, "").partition(",")[0]  # may list the threads of nested levels
    threads = max(1, (int(setting) if setting.isdecimal() else cores()) // jobs)
    devices = gpus()
    on = f", on {min(jobs, len(devices))} GPUs" if len(devices) > 1 else ""
    log.info("%d folds, %d at a time, threads each: %d%s", len(numbers), jobs, threads, on)
    environment = os.environ | {JOB: "1", _THREADS: str(threads)}
    environment["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    )
    waiting, free = list(numbers), list(range(jobs))
    running: dict[int, tuple[int, subprocess.Popen]] = {}  # fold and process, by slot
    try:
        while waiting or running:
            while waiting and free:
                slot, fold = free.pop(0), waiting.pop(0)
                if devices:
                    environment["CUDA_VISIBLE_DEVICES"] = devices[slot % len(devices)]
                with _signals_blocked():  # so that no process starts without being recorded
                    process = subprocess.Popen(
                        [*command, str(fold)], env=environment, cwd=folder, preexec_fn=_ignore_interrupts
                    )
                    running[slot] = fold, process
            time.sleep(_POLL)
            for slot, (fold, process) in list(running.items()):
                if (code := process.poll()) is not None:
                    del running[slot]
                    free = sorted([*free, slot])
                    if code:
                        how = describe_exit(code)
                        raise KitError(f"fold {fold}: its process ended with {how}: run the same command to resume")
    finally:
        for _, process in running.values():
            process.terminate()
        for _, process in running.values():
            process.wait()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Delays signals that end this process until after the block."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _ignore_interrupts() -> None:
    """Ignores Ctrl-C, which reaches all processes of a terminal, in a fold's process: the parent will terminate it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
