"""A disk whose n-th operation below a folder fails, kills the process, or loses what was not flushed.

Operations are what Python asks of the system: opening for writing, writes, flushes (of mapped arrays too), renames,
removals, new folders. `run` runs a command of the kit on such a disk, in a process of its own.
"""

import builtins
import functools
import io
import multiprocessing
import os
import resource
import shutil
import socket
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits


@dataclass
class Fault:
    """What happens at operation `number` (from 1)."""

    kind: str
    """`fail` once, `full` for good, `signal`; `limit`: no file may have more than `number` bytes. `record` disturbs
    nothing: before each `number`-th operation, the first one included, it copies what a kill would leave to
    `FOLDER.kill/N`, and to `FOLDER.power/N` what a loss of power would: of files the content that was flushed."""
    number: int
    code: int = 0
    """Of the system's error, or of the signal."""


class FaultyDisk:
    """Stands between Python and the system below `root`; `install` cannot be undone, processes end instead."""

    def __init__(self, root: Path, fault: Fault | None):
        self.root, self.fault, self.count = str(root), fault, 0
        self.durable: dict[str, bytes] = {}
        """What a loss of power leaves of each file that was written."""
        self.trace: list[str] = []
        self.lock = threading.RLock()

    def below(self, path) -> bool:
        try:
            return os.path.abspath(os.fsdecode(path)).startswith(self.root + os.sep)
        except TypeError:
            return False

    def step(self, what: str, path) -> None:
        """Counts an operation, and lets it happen or not; threads that write rows come one after the other."""
        if self.below(path):
            with self.lock:
                self._count(what, path)

    def _count(self, what: str, path) -> None:
        done = f"{what} {os.path.relpath(os.fsdecode(path), self.root)}"
        if self.trace[-2:] == [done, done]:  # a file of many tensors is written in hundreds of pieces
            return
        self.count += 1
        self.trace.append(done)
        fault = self.fault
        if fault is None:
            return
        if fault.kind == "record":
            if self.count % fault.number == 1 % fault.number:
                self.record()
        elif self.count < fault.number:
            return
        elif fault.kind == "full":
            if what in ("write", "mkdir", "open"):
                raise OSError(fault.code, os.strerror(fault.code), os.fsdecode(path) if what != "write" else None)
        elif self.count == fault.number:
            if fault.kind == "fail":
                raise OSError(fault.code, os.strerror(fault.code), os.fsdecode(path) if what != "write" else None)
            os.kill(os.getpid(), fault.code)

    def record(self) -> None:
        """Copies what a kill and a loss of power would leave; large files, which are written once, are linked."""

        def copy(old: str, new: str) -> None:
            (os.link if old.endswith((".ckpt", ".safetensors", ".tmp")) else shutil.copy2)(old, new)

        for kind in ("kill", "power"):
            place = f"{self.root}.{kind}/{self.count}"
            shutil.copytree(self.root, place, ignore=shutil.ignore_patterns("*.dcm"), copy_function=copy)
            for name, content in self.durable.items() if kind == "power" else ():
                path = Path(place, os.path.relpath(name, self.root))
                if path.is_file() and path.read_bytes() != content:
                    path.unlink()  # it may be a link
                    path.write_bytes(content)

    def opened(self, path, mode: str) -> None:
        """Takes note of what the disk holds of a file before it is written."""
        name = os.path.abspath(os.fsdecode(path))
        if name not in self.durable:
            self.durable[name] = b"" if set(mode) & set("wx") or not os.path.exists(name) else Path(name).read_bytes()

    def flushed(self, path) -> None:
        """Takes note of what has reached the disk."""
        name = os.path.abspath(os.fsdecode(path))
        if os.path.isfile(name):
            self.durable[name] = Path(name).read_bytes()

    def renamed(self, old, new) -> None:
        """A name moves at once, whether or not the content has reached the disk."""
        old, new = (os.path.abspath(os.fsdecode(one)) for one in (old, new))
        if old in self.durable:
            self.durable[new] = self.durable.pop(old)

    def install(self) -> None:
        if self.fault is not None and self.fault.kind == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.fault.number, resource.RLIM_INFINITY))
            self.fault = None
        disk, real_open = self, builtins.open

        class Raw(io.FileIO):
            def write(self, data) -> int:
                disk.step("write", self.name)
                return super().write(data)

        def faulty_open(file, mode="r", buffering=-1, encoding=None, errors=None, newline=None, *rest, **named):
            if isinstance(file, int) or not set(mode) & set("wax+") or not disk.below(file):
                return real_open(file, mode, buffering, encoding, errors, newline, *rest, **named)
            disk.step("open", file)
            disk.opened(file, mode)
            raw = Raw(os.fspath(file), mode.replace("b", "").replace("t", ""))
            buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding, errors, newline)

        builtins.open = io.open = faulty_open
        real_flush = np.memmap.flush

        def flush_mapped(array) -> None:
            disk.step("flush", array.filename)
            real_flush(array)
            disk.flushed(array.filename)

        np.memmap.flush = flush_mapped

        def wrap(name, what, place=0):
            real = getattr(os, name)

            def call(*arguments, **named):
                path = arguments[place] if arguments else named.get("path", "")
                if isinstance(path, int):
                    path = os.readlink(f"/proc/self/fd/{path}")
                disk.step(what, path)
                if what == "write" and disk.below(path):
                    disk.opened(path, "r+")
                result = real(*arguments, **named)
                if what == "flush":
                    disk.flushed(path)
                if what == "rename":
                    disk.renamed(*arguments[:2])
                return result

            setattr(os, name, call)

        wrap("fsync", "flush")
        wrap("pwrite", "write")
        for name in ("replace", "rename"):
            wrap(name, "rename", 1)
        for name in ("unlink", "remove", "rmdir"):
            wrap(name, "remove")
        wrap("mkdir", "mkdir")


def run_verb(folder: str, arguments: list[str], fault: Fault | None, says: str, environment: dict[str, str]) -> None:
    import logging

    import torch

    torch.set_num_threads(1)
    threadpool_limits(1)  # on such small arrays a second thread only waits for the first
    os.environ.update(environment)
    os.chdir(folder)
    told = open(says, "w", buffering=1)  # noqa: SIM115
    os.dup2(told.fileno(), 2)
    sys.stdout = sys.stderr = told
    from kit import cli

    disk = FaultyDisk(Path(folder), fault)
    disk.install()
    sys.argv = ["kit", *arguments]
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    logging.shutdown()
    Path(says).with_suffix(".count").write_text(f"{disk.count}\n" + "\n".join(disk.trace))
    told.flush()
    os._exit(code)


@functools.cache
def server() -> ForkServerContext:
    """The process that commands are forked from: it has imported what they need, by its own path (see `warm`)."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["warm"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    return context


@dataclass
class Ended:
    """How a command ended."""

    code: int
    said: str
    operations: list[str]


def run(folder: Path, arguments: list[str], fault: Fault | None = None) -> Ended:
    """Runs `kit ARGUMENTS` in a folder on that disk."""
    (ended,) = run_team(folder, arguments, [fault])
    return ended


def team(count: int) -> list[dict[str, str]]:
    """The environment by which each of several processes finds the others, as under `torchrun`; empty for one alone."""
    if count == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port, world = str(free.getsockname()[1]), str(count)
    shared = {"WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world, "GROUP_WORLD_SIZE": "1", "GROUP_RANK": "0"}
    shared |= {"NODE_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"TORCHELASTIC_RUN_ID": "test", "CUDA_VISIBLE_DEVICES": ""}
    return [shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def run_team(folder: Path, arguments: list[str], faults: list[Fault | None]) -> list[Ended]:
    """Runs it in as many processes as faults, one fault each."""
    started = []
    for rank, (fault, environment) in enumerate(zip(faults, team(len(faults)), strict=True)):
        says = folder.with_name(f"{folder.name}.said{rank}")
        says.with_suffix(".count").unlink(missing_ok=True)
        process = server().Process(target=run_verb, args=(str(folder), arguments, fault, str(says), environment))
        process.start()
        started.append((process, says))
    ended = []
    for process, says in started:
        process.join(300)
        assert process.exitcode is not None, "it hangs"
        count = says.with_suffix(".count")
        operations = count.read_text().splitlines()[1:] if count.exists() else []
        ended.append(Ended(process.exitcode, says.read_text(), operations))
    return ended
