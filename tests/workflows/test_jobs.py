"""Folds in parallel: same bytes as in sequence; failing processes and interrupts."""

import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pytest
from faulty_disk import run, run_verb, server
from tiny_run import SHORT, artefacts, command, pristine

from kit import cli, recipes
from kit.core.errors import KitError
from kit.workflows import jobs
from kit.workflows.train import Job
from kit.workflows.workspace import Workspace

TRAIN = [*command("train"), "--jobs", "2"]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """A folder with data and folds."""
    folder = pristine(tmp_path_factory.mktemp("jobs") / "split", SHORT.replace("holdout: 0.5", "count: 2"))
    assert run(folder, command("folds")).code == 0
    return folder


@pytest.fixture
def begin(split, tmp_path):
    """Starts `kit train --jobs 2` on a copy, in its own process group, as on a terminal."""
    folder, says = shutil.copytree(split, tmp_path / "work"), tmp_path / "said"

    def start():
        given = (str(folder), TRAIN, None, str(says), {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"})
        process = server().Process(target=leading, args=given)
        process.start()
        return process

    def end(process):
        process.join(300)
        return process.exitcode, says.read_text()

    start.folder, start.end = folder, end
    return start


def leading(*given):
    """Runs a verb as the leader of a process group."""
    os.setsid()
    run_verb(*given)


def children(process):
    """Process ids of the folds, once all have started."""
    until = time.monotonic() + 300
    while time.monotonic() < until:
        found = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if len(found) == 2:
            return [int(pid) for pid in found]
        time.sleep(0.02)
    raise AssertionError("no two processes were started")


def test_folds_in_parallel_equal_folds_in_sequence(begin, split, tmp_path):
    one_by_one = shutil.copytree(split, tmp_path / "alone")
    assert run(one_by_one, command("train")).code == 0  # with one thread, as each of two jobs has of two
    code, said = begin.end(begin())
    assert code == 0, said
    assert "2 folds, 2 at a time, threads each: 1" in said
    assert said.count("nested Dice") == 1
    assert artefacts(begin.folder) == artefacts(one_by_one)


def test_the_processes_are_given_every_option(split, tmp_path, monkeypatch):
    given = []

    def no_processes(numbers, command, *_):
        given.append((list(numbers), command))
        raise KitError("not today")

    monkeypatch.chdir(shutil.copytree(split, tmp_path / "work"))
    monkeypatch.setattr(jobs, "_run", no_processes)
    options = ["--set", "seed=1", "--skip-bad", "--logger", "wandb"]
    monkeypatch.setattr(sys, "argv", ["kit", *TRAIN, *options])
    with pytest.raises(SystemExit):
        cli.main()
    [(numbers, command)] = given
    words = " ".join(command)
    assert numbers == [0, 1]
    assert all(option in words for option in ("--set seed=1", "--skip-bad", "--logger wandb"))


@pytest.mark.parametrize(
    ("given", "count", "expected"),
    [
        (None, 0, ["-"] * 3),
        (None, 1, ["0", "0", "0"]),
        (None, 2, ["0", "1", "0"]),
        ("5,7", 2, ["5", "7", "5"]),
        ("GPU-1a, GPU-2b,GPU-3c", 3, ["GPU-1a", "GPU-2b", "GPU-3c"]),
        ("3,-1,4", 1, ["3", "3", "3"]),  # CUDA stops at the first that is none
        ("", 0, [""] * 3),
    ],
)
def test_processes_take_the_gpus_in_turn(tmp_path, monkeypatch, given, count, expected):
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if given is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    write = 'printf %s "${CUDA_VISIBLE_DEVICES--}" > "$0"; while [ $(ls | wc -l) -lt 3 ]; do sleep 0.02; done'
    jobs._run([0, 1, 2], ["sh", "-c", write], 3, tmp_path)
    assert [(tmp_path / str(fold)).read_text() for fold in range(3)] == expected


def test_a_failing_fold_terminates_the_others_and_is_named(tmp_path):
    wait = 'echo $$ > "$0"; while [ $(ls | wc -l) -lt 2 ]; do sleep 0.02; done; '
    die = '[ "$0" = 0 ] || kill -9 $$; exec sleep 300'
    line = "^fold 1: its process ended with signal 9: run the same command to resume$"
    with pytest.raises(KitError, match=line):
        jobs._run([0, 1], ["sh", "-c", wait + die], 2, tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "0").read_text()), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("number", "code", "word"), [("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated")])
def test_an_interrupt_ends_all_with_one_line(begin, number, code, word):
    process = begin()
    pids = children(process)
    send = os.killpg if number == "SIGINT" else os.kill  # Ctrl-C reaches all, `kill` the one
    send(process.pid, getattr(signal, number))
    ended, said = begin.end(process)
    assert ended == code
    assert said.count("run the same command to resume") == 1
    assert f"kit: {word}: run the same command to resume" in said
    assert "Traceback" not in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_jobs_cannot_be_combined_with_torchrun(split, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(KitError, match="--jobs cannot be combined with torchrun"):
        jobs.train_side_by_side(Workspace(split), Job(split / "tiny", recipes.load("demo")), [], 2)
