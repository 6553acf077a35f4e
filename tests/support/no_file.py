"""What can lie where a file belongs."""

import os
from pathlib import Path

KINDS = ["folder", "fifo", "loop", "dangling"]


def put(path: Path, kind: str) -> Path:
    """Puts one of `KINDS`, or a link to a `device`, in the place of a file, which is removed."""
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to({"loop": path, "dangling": path.with_name("nowhere"), "device": "/dev/null"}[kind])
    return path
