"""What a session of training starts: verbs, forked from a process that has imported it all."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faulty_disk
import torch

from kit.data import dataset
from kit.training.state import TrainState


class Started:
    """What a session starts in place of `subprocess.Popen`: a verb, forked from a process that has imported it all."""

    run = staticmethod(faulty_disk.run_verb)

    def __init__(self, command: list[str], cwd: Path, env: dict[str, str], **_: Any) -> None:
        self._said, self._ended = Path(f"{cwd}.said"), threading.Event()
        arguments = (str(cwd), command[command.index("kit") + 1 :], None, str(self._said), dict(env))
        self._process = faulty_disk.server().Process(target=self.run, args=arguments)
        self._process.start()

    @property
    def stderr(self) -> Iterator[str]:
        """What it has said, once it has ended."""
        self._ended.wait()
        yield from self._said.read_text().splitlines(keepends=True)

    def poll(self) -> int | None:
        if self._process.exitcode is not None:
            self._ended.set()
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> None:
        self._process.join(timeout)
        self.poll()

    def send_signal(self, number: int) -> None:
        os.kill(self._process.pid, number)


class LosesALoader(Started):
    """The same, whose images are loaded by processes, as beside a GPU; one of them is killed in the second epoch."""

    @staticmethod
    def run(*given: Any) -> None:
        real = dataset.Samples.__getitem__

        def load(samples: dataset.Samples, at: tuple[int, int]) -> Any:
            if at[0] == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(samples, at)

        dataset.Samples.__getitem__ = load
        dataset.torch = SimpleNamespace(**vars(torch) | {"cuda": SimpleNamespace(is_available=lambda: True)})
        faulty_disk.run_verb(*given)


class FillsItsDisk(Started):
    """The same; once there is a checkpoint, the run's disk is full to its last byte."""

    @staticmethod
    def run(*given: Any) -> None:
        real = TrainState.save

        def save(state: TrainState) -> None:
            real(state)
            other = next(Path("runs").glob("*/*")).resolve().parents[2] / "other"
            with open(other, "ab", buffering=0) as handle, contextlib.suppress(OSError):
                while handle.write(bytes(4096)):
                    pass

        TrainState.save = save
        faulty_disk.run_verb(*given)


def starting(kind: type[Started] = Started) -> SimpleNamespace:
    """Stands for the module `subprocess` in a session."""
    return SimpleNamespace(Popen=kind, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)
