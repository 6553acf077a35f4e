"""Errors caused by user input or the machine, each in one line.

Every function that reads a file raises a KitError if the file is missing or broken, and every function that writes one
if writing fails; docstrings list only other errors.
"""

import errno
import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path

_EXPLANATIONS = {
    errno.ENOSPC: "the disk is full: make room, then run the same command again",
    errno.EDQUOT: "your disk quota is used up: make room, then run the same command again",
    errno.EFBIG: "the file is larger than the file system or `ulimit -f` allows: raise the limit, then run again",
    errno.EIO: "the disk reports an input/output error: check the disk, then run the same command again",
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: check its permissions, or choose another folder",
    errno.EPERM: "operation not permitted: check its permissions, or choose another folder",
    errno.ENOENT: "no such file or folder: check the path",
    errno.ENOTDIR: "a part of the path is a file, not a folder: choose another folder or move the file away",
    errno.EISDIR: "a folder lies where a file belongs: move it away",
    errno.ENAMETOOLONG: "the name is too long for the file system: choose a shorter one",
    errno.EMFILE: "too many files are open: raise `ulimit -n`, then run again",
    errno.ENOMEM: "the machine is out of memory: free some, then run again",
}


class KitError(ValueError):
    """An error caused by user input or the machine: one line of what is wrong, where, and what to do next.

    `cli` prints it without a traceback and exits with 2. Any other exception is a bug.
    """


def printable(text: object) -> str:
    r"""Returns the text with control characters and undecodable bytes of file names escaped.

    >>> print(printable("a\udcffb\tc"))
    a\udcffb\tc
    """
    readable = str(text).encode("utf-8", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in readable)


def counted(number: int, noun: str) -> str:
    """Formats a number with its noun.

    >>> counted(1, "image"), counted(0, "image")
    ('1 image', '0 images')
    """
    return f"{number} {noun}{'s' * (number != 1)}"


def describe_exit(code: int) -> str:
    """Names the exit code, or the signal, that a process ended with.

    >>> describe_exit(2), describe_exit(-9)
    ('exit code 2', 'signal 9')
    """
    return f"exit code {code}" if code > 0 else f"signal {-code}"


def advice(error: OSError) -> str:
    """Explains an error of the operating system, and what to do about it."""
    return _EXPLANATIONS.get(error.errno or 0) or printable(error.strerror or error)


def unwritable(path: Path | str, error: OSError) -> KitError:
    """Returns the error for a file or folder that cannot be written."""
    return KitError(f"{printable(path)}: cannot be written: {advice(error)}")


def unreadable(path: Path | str, error: OSError) -> KitError:
    """Returns the error for a file that cannot be read."""
    return KitError(f"{printable(path)}: cannot be read: {advice(error)}")


def system_error(error: BaseException) -> OSError | None:
    """Returns the first error of the operating system in an exception's chain of causes, or None.

    Libraries hide such errors: `torch.save` on a full disk raises a RuntimeError about its archive.
    """
    link: BaseException | None = error
    while link is not None:  # Python keeps these chains free of cycles
        if isinstance(link, OSError) and link.errno in _EXPLANATIONS:
            return link
        link = link.__cause__ or link.__context__
    return None


def from_system(error: OSError | MemoryError) -> KitError:
    """Turns an error of the operating system that was not handled anywhere into a KitError."""
    if isinstance(error, MemoryError):
        return KitError(_EXPLANATIONS[errno.ENOMEM])
    path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    return KitError(f"{printable(path)}: {advice(error)}" if path else advice(error))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Suggests the known word closest to `word`, as the end of a message; empty if none is close.

    >>> did_you_mean("resnet43", ["resnet34", "se_resnext50_32x4d"])
    '; did you mean resnet34?'
    >>> did_you_mean("x", ["resnet34"])
    ''
    """
    by_lower = {name.lower(): name for name in known}
    nearest = get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[nearest[0]]}?" if nearest else ""
