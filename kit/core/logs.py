"""Lines for the user, and the log file of a run."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path

from kit.core.errors import unwritable
from kit.core.files import is_file_or_raise, writing

Say = Callable[[str], None]
"""Prints a line."""


class LogFile(logging.FileHandler):
    """Appends lines to a file, each with its time; raises on write errors, which logging would only print.

    Raises:
        KitError: the path is not a file, or cannot be written, now or by a later line.
    """

    def __init__(self, path: Path) -> None:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            is_file_or_raise(path)
            super().__init__(path, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: D102
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise unwritable(self.baseFilename, error) from error
        super().handleError(record)
