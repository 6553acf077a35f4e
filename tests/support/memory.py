"""The most memory that this process has held at once, on Linux."""

from pathlib import Path


def peak() -> float:
    """MiB of resident memory at most, since the process began or `forget_peak` was called.

    Not `ru_maxrss`, which a process takes over from the one that started it, and which never falls.
    """
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def forget_peak() -> None:
    """From now on `peak` counts anew, from what is held now."""
    Path("/proc/self/clear_refs").write_text("5")
