"""Every place where the disk can fail a chain of verbs, and the loop that makes it fail there.

What a kill or a loss of power leaves is recorded at every operation of one undisturbed run. A verb that is to fail late
begins from such a record, so that it need not train from the start. Where two faults leave the same files, what follows
is run for the first alone.
"""

import errno
import math
import shutil
import signal
from dataclasses import dataclass, field
from pathlib import Path

from faulty_disk import Ended, Fault, run
from tiny_run import DATA, SHORT, VERBS, artefacts, command, pristine, state

KINDS = {
    "input-output error": ("fail", errno.EIO, (0, 2)),
    "permission denied": ("fail", errno.EACCES, (0, 2)),
    "full disk": ("full", errno.ENOSPC, (0, 2)),
    "kill": ("recorded", 0, ()),
    "power": ("recorded", 0, ()),
    "termination": ("signal", signal.SIGTERM, (143,)),
}
"""Faults: what the disk does, the number of the error or signal, and how the verb may end."""

GROWING = ("metrics.csv", ".keys", "ledger.jsonl", ".origin.json")
"""Files that say how far the work is."""


@dataclass(frozen=True)
class Place:
    """An operation of a verb."""

    verb: str
    number: int
    """From 1, in an undisturbed run."""
    start: Path
    """A state from which the verb comes to it."""
    after: int
    """Its number from that state."""


def restore(folder: Path, saved: Path) -> None:
    """Makes a folder what it was, but for the data, which no verb changes."""
    for path in folder.iterdir():
        if path.name != DATA:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    for path in saved.iterdir():
        if path.name != DATA:
            shutil.copytree(path, folder / path.name) if path.is_dir() else shutil.copy2(path, folder / path.name)


def save(folder: Path, saved: Path) -> Path:
    """Keeps what a folder is, but for the data."""
    saved.mkdir()
    restore(saved, folder)
    return saved


@dataclass
class Loop:
    """A folder with its states, what an undisturbed run makes of it, and every place for a fault."""

    folder: Path
    before: dict[str, dict[str, str]] = field(default_factory=dict)
    """Artefacts before each verb, by name."""
    reference: dict[str, dict[str, str]] = field(default_factory=dict)
    """Artefacts after each verb, by name."""
    places: list[Place] = field(default_factory=list)
    ended_well: set[tuple[str, str]] = field(default_factory=set)
    """The states from which a verb has been seen to end well."""

    @classmethod
    def make(cls, folder: Path, step: int, strides: dict[str, int] | None = None) -> "Loop":
        """Runs the verbs undisturbed, and each again from every `step`-th of the states that kills would leave.

        Args:
            folder: Takes the data and the runs.
            step: Number of operations between two of the states that a verb can begin from.
            strides: For each verb, the number of operations between two that will fail; default: all will.
        """
        loop = cls(pristine(folder, SHORT))
        for verb in VERBS:
            start = save(folder, folder.with_name(f"{folder.name}.{verb}"))
            loop.before[verb] = artefacts(folder)
            ended = run(folder, command(verb), Fault("record", math.gcd(step, (strides or {}).get(verb, 1))))
            assert ended.code == 0, ended.said
            loop.reference[verb] = artefacts(folder)
            for kind in ("kill", "power"):
                folder.with_name(f"{folder.name}.{kind}").rename(loop.recorded(verb, kind))
            whole = done = len(ended.operations)
            for first in range(1, whole + 1, step):
                if first > 1:
                    start = loop.recorded(verb, "kill") / str(first)
                    restore(folder, start)
                    done = len(run(folder, command(verb)).operations)
                # From the end, operations are those of the undisturbed run; before, what there is is looked through.
                numbers = range(first, min(first + step, whole + 1))
                loop.places += [Place(verb, number, start, number + done - whole) for number in numbers]
        return loop

    def recorded(self, verb: str, kind: str) -> Path:
        """Where the states lie that kills or losses of power leave, by the number of the operation."""
        return self.folder.with_name(f"{self.folder.name}.{verb}.{kind}")

    def fail(self, place: Place, kind: str) -> int | None:
        """Runs a verb with a fault at a place, then again without; gives the exit code of the first, if it has one.

        Args:
            place: Where.
            kind: A key of `KINDS`.

        Raises:
            AssertionError: more than a line was said, an artefact is none of an undisturbed run, or its end is another.
        """
        fault, number, codes = KINDS[kind]
        before, reference = self.before[place.verb], self.reference[place.verb]
        what, code = f"{kind} at {place.number} of {place.verb}", None
        if fault == "recorded":
            restore(self.folder, self.recorded(place.verb, kind) / str(place.number))
        else:
            restore(self.folder, place.start)
            ended = run(self.folder, command(place.verb), Fault(fault, place.after, number))
            code, what = ended.code, f"{what} ({ended.operations[-1:]}): {ended.said}"
            check_words(ended, codes, what)
        after = artefacts(self.folder)
        for name, content in after.items():
            assert name.endswith(GROWING) or content in (before.get(name), reference.get(name)), (
                f"{name} is half a file: {what}"
            )
        assert before.keys() <= after.keys(), f"{before.keys() - after.keys()} are gone: {what}"
        assert code != 0 or after == reference, f"it ended well, and otherwise: {what}"
        left = (place.verb, state(self.folder))
        if left not in self.ended_well:
            again = run(self.folder, command(place.verb))
            check_words(again, (0,), f"again after {what}: {again.said}")
            assert artefacts(self.folder) == reference, f"it ends otherwise after {what}"
            assert not list(self.folder.rglob(".*.tmp*")), f"left behind after {what}"
            self.ended_well.add(left)
        return code


def check_words(ended: Ended, codes: tuple[int, ...], what: str) -> None:
    """One line for an error or a signal, and none without."""
    assert ended.code in codes, what
    assert "Traceback" not in ended.said, what
    errors = [line for line in ended.said.splitlines() if line.startswith("kit: ")]
    assert len(errors) == (ended.code != 0), what
