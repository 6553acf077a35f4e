"""Progress of long work: a bar on a terminal; elsewhere, as in a log, one line per minute.

The first line of a log comes within seconds of the program's start.
"""

import io
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from kit.core.distributed import JOB

log = logging.getLogger(__name__)

LINE = 60.0
"""Seconds without output after which a line is written."""
_FIRST_LINE = 4.0
"""Latest time of the first line, in seconds from the start of the program."""
_REFRESH = 1.0
"""Seconds between two refreshes of a bar, its note, or the check whether a line is due."""
_MIN_ITEMS, _MIN_SECONDS = 3, 5.0
"""How much must be done before the remaining time is estimated."""
_FORMAT = "{desc} {bar} {n_fmt}/{total_fmt}{left}{postfix}"
_UNCOUNTED = "{desc}{left}"
_COLUMNS = 80
"""Width of a terminal that does not report its own."""
_MIN_BAR = 6
"""Minimal width of the bar itself, in columns."""


class Bar(tqdm):  # type: ignore[misc]  # it has no types
    """A progress bar with a changing note, which appears after a second and vanishes at the end of its items."""

    _noted = 0.0

    @property
    def format_dict(self) -> dict[str, Any]:
        """Values for the formats of bars and lines: tqdm's, and `left`, the remaining time.

        Before the first item is done, `left` is the time so far. If a terminal is too narrow, the time is dropped
        first, then the start of the title; counts and note are never cut.
        """
        values = super().format_dict
        values["ncols"] = _COLUMNS if values["ncols"] == 0 else values["ncols"]
        done, total, seconds = values["n"], values["total"], values["elapsed"]
        estimable = total and done >= _MIN_ITEMS and seconds >= _MIN_SECONDS
        left, title = f", {duration(seconds * (total - done) / done)} left" if estimable else "", values["prefix"]
        if not done:
            left = f", {duration(seconds)} so far"
            values |= {} if total else {"bar_format": _UNCOUNTED}
        if values["ncols"]:
            counts = f" {total}/{total}, {values['postfix'] or ''}"
            room = max(1, values["ncols"] - len(counts) - _MIN_BAR)
            left = left if len(title) + len(left) < room else ""
            title = title if len(title) < room else f"…{title[len(title) - room + 2 :]}"
        return values | {"left": left, "prefix": title}

    def refresh(self, *args: Any, **options: Any) -> None:
        """Redraws the bar unless it was closed, perhaps by another thread."""
        with self.get_lock():
            if not self.disable:
                self.display()

    @contextmanager
    def by_the_second(self) -> Iterator["Bar"]:
        """Refreshes the bar every second while the block runs, for items that take long."""
        ended = threading.Event()

        def refresh() -> None:
            while not ended.wait(_REFRESH) and not self.disable:
                self.refresh()
                self.last_print_t = self._time()  # it is visible now, so that closing it clears it

        refresher = threading.Thread(target=refresh, daemon=True)
        refresher.start()
        try:
            yield self
        finally:
            ended.set()
            refresher.join()

    def note(self, text: Callable[[], str]) -> None:
        """Changes the note, at most once a second: to make the text may mean to wait for the GPU."""
        if not self.disable and (now := time.monotonic()) - self._noted >= _REFRESH:
            self._noted = now
            self.set_postfix_str(text(), refresh=False)


class Lines(Bar):
    """Progress as lines of the log, written when nothing else was logged for a while."""

    last_line = time.monotonic() - LINE + _FIRST_LINE
    """Time of the last line of any kind; at the start such that the first one is due after `_FIRST_LINE`."""

    def refresh(self, *args: Any, **options: Any) -> None:
        """Logs without the lock of the bars, which a logging thread takes while it holds the log's lock."""
        if not self.disable:
            self.display()

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Logs the progress if a line is due; tqdm passes an empty text when the items have ended."""
        if msg is None and time.monotonic() - Lines.last_line >= LINE:
            Lines.last_line = time.monotonic()
            values = self.format_dict
            done, total, left = values["n"], values["total"], values["left"]
            counts = f": {done} of {total}" if total else f": {done}" if done else ""
            log.info("%s%s%s%s", self.desc, counts, left, f", {self.postfix}" if self.postfix else "")


def progress(
    items: Iterable[Any] | None, what: str, total: int | None = None, *, unit: str = "img", show: bool = True
) -> Any:
    """Wraps items with a progress bar on a terminal or in a notebook, and with one line per minute elsewhere.

    Args:
        items: None for a bar that the caller updates.
        show: If false, nothing is shown, as in all processes but the first.
    """
    in_notebook = type(sys.stderr).__module__.startswith("ipykernel.")
    # Worker processes would draw over each other.
    if (sys.stderr.isatty() or in_notebook) and JOB not in os.environ:
        return Bar(items, what, total, unit=unit, leave=False, delay=1, disable=not show, bar_format=_FORMAT)
    return Lines(
        items, what, total, leave=False, unit=unit, delay=_REFRESH, mininterval=_REFRESH, maxinterval=LINE, miniters=1,
        file=io.StringIO(), disable=not show,
    )  # fmt: skip


@contextmanager
def working(what: str) -> Iterator[None]:
    """Shows that work without countable steps, such as another program, is running, and for how long."""
    with progress(None, what) as bar, bar.by_the_second():
        yield


class Console(logging.Handler):
    """Writes log lines to stderr above any progress bar, each warning once."""

    def __init__(self) -> None:
        super().__init__()
        self._warned: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one log line."""
        Lines.last_line = time.monotonic()
        try:
            line = self.format(record)
            if record.levelno == logging.WARNING:
                if line in self._warned:
                    return
                self._warned.add(line)
            tqdm.write(line, file=sys.stderr)
        except Exception:  # as logging's own handlers: a closed pipe must not end a training
            self.handleError(record)


def duration(seconds: float) -> str:
    """Formats a duration.

    >>> duration(8), duration(100), duration(3 * 3600 + 600)
    ('8 s', '1 min 40 s', '3 h 10 min')
    """
    seconds = round(seconds)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
