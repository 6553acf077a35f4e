"""Names of files that are being written, and what is left of them when their writer was killed."""

import functools
import os
import re
import shutil
import socket
from contextlib import suppress
from pathlib import Path


@functools.cache
def host() -> str:
    """This machine's name, as a part of a file's, with what tells apart containers that share it.

    A process's number means something in its own namespace alone: in another, a living writer looks dead.
    """
    name = socket.gethostname().replace(".", "_")[:32]
    with suppress(OSError):  # there are namespaces on Linux alone
        name += "-" + os.readlink("/proc/self/ns/pid").removeprefix("pid:[").removesuffix("]")
    return name


def temporary_beside(path: Path) -> Path:
    """Where this process writes what becomes `path`; the name tells later processes whose it was."""
    return path.with_name(f".{path.name}.{host()}-{os.getpid()}.tmp")


@functools.cache
def sweep(folder: Path) -> None:
    """Removes, once a process, what writers into a folder have left that ran on this machine and run no more."""
    left = re.compile(rf"\..+\.{re.escape(host())}-(\d{{1,10}})\.tmp(\..+)?", re.DOTALL)
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            name = left.fullmatch(entry.name)
            if not name or _runs(int(name[1])):
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
