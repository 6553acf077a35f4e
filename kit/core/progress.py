"""Wherever a person would wait: a bar on a terminal, and where there is none, as in a log, a plain line a minute.

In a log the first line comes within seconds of the program's start.
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
"""Seconds of silence after which a plain line is due."""
_FIRST = 4.0
"""Seconds from the start of the program to its first line at the latest."""
_LOOK = 1.0
"""Seconds from one look at whether a line is due to the next."""
_NOTE = 1.0
_SURE = (3, 5.0)
"""Items and seconds that an estimate of the time left needs."""
_FORMAT = "{desc} {bar} {n_fmt}/{total_fmt}{left}{postfix}"
_UNCOUNTED = "{desc}{left}"
_COLUMNS = 80
"""Of a terminal that tells no width."""
_NARROWEST = 6
"""Columns of the bar at least."""


class Bar(tqdm):  # type: ignore[misc]  # it has no types
    """A bar that appears after a second and goes when its items end, with a note that changes as it moves."""

    _noted = 0.0

    @property
    def format_dict(self) -> dict[str, Any]:
        """What the formats of bar and line are filled from: tqdm's values, and `left`, the time that is left.

        Where no item is done, it is the time so far. Where a terminal is too narrow, the time goes first, then the
        title's beginning; counts and note stay whole.
        """
        now = super().format_dict
        now["ncols"] = _COLUMNS if now["ncols"] == 0 else now["ncols"]
        done, whole, seconds = now["n"], now["total"], now["elapsed"]
        sure = whole and done >= _SURE[0] and seconds >= _SURE[1]
        left, title = f", {duration(seconds * (whole - done) / done)} left" if sure else "", now["prefix"]
        if not done:
            left = f", {duration(seconds)} so far"
            now |= {} if whole else {"bar_format": _UNCOUNTED}
        if now["ncols"]:
            beside = f" {whole}/{whole}, {now['postfix'] or ''}"
            room = max(1, now["ncols"] - len(beside) - _NARROWEST)
            left = left if len(title) + len(left) < room else ""
            title = title if len(title) < room else f"…{title[len(title) - room + 2 :]}"
        return now | {"left": left, "prefix": title}

    def refresh(self, nolock: bool = False, lock_args: tuple[Any, ...] | None = None) -> None:
        """Draws it again unless it has ended, which another thread may do meanwhile."""
        with self.get_lock():
            if not self.disable:
                self.display()

    @contextmanager
    def by_the_second(self) -> Iterator["Bar"]:
        """Moves it each second while the block runs, for items that take long."""
        ended = threading.Event()

        def move() -> None:
            while not ended.wait(_LOOK) and not self.disable:
                self.refresh()
                self.last_print_t = self._time()  # it stands there now, so that closing it clears it

        mover = threading.Thread(target=move, daemon=True)
        mover.start()
        try:
            yield self
        finally:
            ended.set()
            mover.join()

    def note(self, text: Callable[[], str]) -> None:
        """Shows another note; the text is asked for once a second at most, as it may have to wait for a GPU."""
        if not self.disable and (now := time.monotonic()) - self._noted >= _NOTE:
            self._noted = now
            self.set_postfix_str(text(), refresh=False)


class Lines(Bar):
    """The same as lines of the log, wherever nothing was said for a while."""

    spoken = time.monotonic() - LINE + _FIRST
    """When the last line was said, of whatever kind."""

    def refresh(self, nolock: bool = False, lock_args: tuple[Any, ...] | None = None) -> None:
        """Logs without the lock of bars: whoever logs holds the log's lock and then takes that one."""
        if not self.disable:
            self.display()

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Logs how far it is, where a line is due; called with an empty text when the items have ended."""
        if msg is None and time.monotonic() - Lines.spoken >= LINE:
            Lines.spoken = time.monotonic()
            now = self.format_dict
            counted = f": {now['n']} of {now['total']}" if now["total"] else f": {now['n']}" if now["n"] else ""
            log.info("%s%s%s%s", self.desc, counted, now["left"], f", {self.postfix}" if self.postfix else "")


def progress(
    items: Iterable[Any] | None, what: str, total: int | None = None, unit: str = "img", show: bool = True
) -> Any:
    """The items, with a bar on a terminal or in a notebook, else with one line a minute.

    Args:
        items: What to iterate over; None for a bar that is moved by hand.
        show: False keeps it silent, as in all processes but the first.
    """
    in_notebook = type(sys.stderr).__module__.startswith("ipykernel.")
    # Processes that train a fold each would draw over each other.
    if (sys.stderr.isatty() or in_notebook) and JOB not in os.environ:
        return Bar(items, what, total, unit=unit, leave=False, delay=1, disable=not show, bar_format=_FORMAT)
    return Lines(
        items, what, total, False, unit=unit, delay=_LOOK, mininterval=_LOOK, maxinterval=LINE, miniters=1,
        file=io.StringIO(), disable=not show,
    )  # fmt: skip


@contextmanager
def working(what: str) -> Iterator[None]:
    """Says that something without countable steps goes on, such as another program, and for how long already."""
    with progress(None, what) as bar, bar.by_the_second():
        yield


class Console(logging.Handler):
    """Writes log lines to stderr, each warning once; a bar that stands there makes room."""

    def __init__(self) -> None:
        super().__init__()
        self._warned: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a line."""
        Lines.spoken = time.monotonic()
        try:
            line = self.format(record)
            if record.levelno == logging.WARNING:
                if line in self._warned:
                    return
                self._warned.add(line)
            tqdm.write(line, file=sys.stderr)
        except Exception:  # as the library's own handlers: a closed pipe must not end a training
            self.handleError(record)


def duration(seconds: float) -> str:
    """A time as a person says it.

    >>> duration(8), duration(100), duration(3 * 3600 + 600)
    ('8 s', '1 min 40 s', '3 h 10 min')
    """
    seconds = round(seconds)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds % 60} s" if minutes else f"{seconds} s"
