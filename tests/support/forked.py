"""Work in a process of its own that another thread may kill."""

import os
from collections.abc import Callable

from kit.core.errors import KitError


def forked(work: Callable[[], object], pids: list[int]) -> int:
    """Exit code of some work, 2 for a `KitError`; the number of its process joins the list before it begins."""
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(go)
            os.read(ready, 1)  # until the parent knows the number
            work()
            code = 0
        except KitError:
            code = 2
        finally:
            os._exit(code)
    pids.append(pid)
    os.close(ready)
    os.close(go)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)
