"""What a measurement is: ours, a reference and a limit, run in turn, so that a busy machine slows all of them alike."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

REPEATS = 5


@dataclass(frozen=True)
class Measure:
    """Values of one thing, one a run; `processor` holds the processor time of the same runs, where it was taken."""

    values: tuple[float, ...]
    processor: tuple[float, ...] = ()
    unit: str = "s"

    @property
    def median(self) -> float:
        return float(np.median(self.values))

    def per(self, count: float) -> "Measure":
        """The same for one of `count` things done in a run."""
        return Measure(tuple(v / count for v in self.values), tuple(v / count for v in self.processor), self.unit)

    def __str__(self) -> str:
        """The median and the quartiles."""
        scale, unit = _scale(self.median, self.unit)
        low, high = np.percentile(self.values, [25, 75]) * scale
        spread = f" [{_digits(low)}, {_digits(high)}]" if len(self.values) > 1 else ""
        return f"{_digits(self.median * scale)} {unit}{spread}"


@dataclass(frozen=True)
class Row:
    """One line of the table. A goal is a least `times` the reference, or a least `share` of the limit."""

    what: str
    ours: Measure
    reference: Measure | None = None
    named: str = ""
    """What the reference is."""
    limit: Measure | None = None
    bound: str = ""
    """What the limit is."""
    bottleneck: str = ""
    times: float | None = None
    share: float | None = None
    why: str = ""
    """Why the goal is not reached, where it is not."""
    wall: bool = False
    """Compare wall times, where things run side by side; else processor time, which other work changes little."""

    @property
    def ratio(self) -> float | None:
        """How many times the reference: the median over pairs of runs."""
        return None if self.reference is None else _ratio(self.reference, self.ours, self.wall)

    @property
    def of_limit(self) -> float | None:
        """The share of the limit that is reached."""
        return None if self.limit is None else _ratio(self.limit, self.ours, self.wall)

    @property
    def missed(self) -> str:
        """The goal that was not reached, in words; empty where there is none."""
        if self.times is not None and self.ratio < self.times:
            return f"{self.what}: {self.ratio:.2f}× {self.named}, {self.times:g}× is wanted: {self.why}"
        if self.share is not None and self.of_limit < self.share:
            return f"{self.what}: {self.of_limit:.0%} of {self.bound}, {self.share:.0%} is wanted: {self.why}"
        return ""

    def cells(self) -> list[str]:
        """As the columns of the table."""
        return [
            self.what,
            str(self.ours),
            str(Measure((float(np.median(self.ours.processor)),))) if self.ours.processor else "",
            f"{self.reference} ({self.named})" if self.reference else "",
            f"{self.ratio:.2f}×" if self.ratio else "",
            f"{self.limit} ({self.bound})" if self.limit else "",
            f"{self.of_limit:.0%}" if self.of_limit else "",
            self.bottleneck,
        ]


def in_turn(*actions: Callable[[], object], repeats: int = REPEATS, warm: bool = True) -> list[Measure]:
    """Seconds of each action, all of them in turn, again and again.

    Args:
        *actions: What to run.
        repeats: Rounds that count.
        warm: Whether a round goes before that does not count.
    """
    if warm:
        for action in actions:
            action()
    walls, processors = np.empty((len(actions), repeats)), np.empty((len(actions), repeats))
    for place in range(repeats):
        for number, action in enumerate(actions):
            began, busy = time.perf_counter(), time.process_time()
            action()
            walls[number, place] = time.perf_counter() - began
            processors[number, place] = time.process_time() - busy
    return [Measure(tuple(wall), tuple(busy)) for wall, busy in zip(walls.tolist(), processors.tolist(), strict=True)]


def peak() -> float:
    """MiB of resident memory at most since this process began, on Linux.

    Not `ru_maxrss`, which a process takes over from the one that started it.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def fixed(value: float, unit: str = "s") -> Measure:
    """A limit that is known, not measured."""
    return Measure((value,), unit=unit)


def _ratio(first: Measure, second: Measure, wall: bool) -> float:
    pair = [
        one.values if wall or not (first.processor and second.processor) else one.processor for one in (first, second)
    ]
    if len(pair[0]) == len(pair[1]):
        return float(np.median([one / other for one, other in zip(*pair, strict=True)]))
    return float(np.median(pair[0]) / np.median(pair[1]))


def _scale(value: float, unit: str) -> tuple[float, str]:
    if unit != "s":
        return 1.0, unit
    return next(((scale, name) for scale, name in ((1, "s"), (1e3, "ms")) if value * scale >= 1), (1e6, "µs"))


def _digits(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"
