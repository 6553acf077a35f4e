"""The ledger: each submission, its destination and its scores, as one JSON line per event that is only ever appended.

A submission is identified by its file's SHA-256; a kernel's by its version, `OWNER/SLUG/VERSION`, whatever its public
output. Its events in order, and the keys of each besides `time`, `sha256` and `kernel`:

    built        file, run, nested_dice, …      a run has written the file
    validated    destination, description         the file is valid, and is about to be sent to the destination
    unconfirmed  destination                      the user was told that the destination may have received it
    refused      destination                      the destination has certainly not received it
    submitted    destination, ref                 the destination has received it
    scored       destination, ref, public, private    its scores, or the `error` that prevents scoring, are known

A `validated` that neither `refused` nor `submitted` follows is an upload of unknown outcome: the next call has to ask
the destination. Every line is on the disk before the next step begins.
"""

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import AfterValidator, AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from kit.core.documents import Count
from kit.core.errors import KitError
from kit.core.files import is_file_or_raise, read_bytes, writing

TIME = "%Y-%m-%dT%H:%M:%SZ"
Kind = Literal["built", "validated", "unconfirmed", "refused", "submitted", "scored"]
Score = Annotated[float, Field(allow_inf_nan=False)]


def _checked_time(time: str) -> str:
    datetime.strptime(time, TIME)
    return time


class Event(BaseModel):
    """A line of the ledger; keys of later versions of the kit are ignored."""

    model_config = ConfigDict(frozen=True)

    time: Annotated[str, AfterValidator(_checked_time)] = ""
    """UTC."""
    event: Kind
    sha256: str
    kernel: str = ""
    """Kernel version `OWNER/SLUG/VERSION` whose output is submitted; empty for a file."""
    destination: str | None = None
    """`local/NAME` of a data set or `kaggle/NAME` of a competition."""
    file: str = ""
    run: str = ""
    """`NAME/RECIPE`; empty if no run is known to have written the file."""
    nested_dice: Score | None = None
    """Out-of-fold Dice; rule and thresholds of each fold are chosen on the other folds."""
    interval: tuple[Score, Score] | None = None
    """Bootstrap 95 % interval of `nested_dice` over patients."""
    apparent_dice: Score | None = Field(default=None, validation_alias=AliasChoices("apparent_dice", "dice"))
    """Out-of-fold Dice of the rule on the images on which it was chosen; `dice` in ledgers of earlier versions."""
    dice_positives: Score | None = None
    """Out-of-fold Dice on positives alone."""
    dice_all_empty: Score | None = None
    """Dice of predicting nothing on the same images."""
    description: str = ""
    """Description by which the destination lists the submission."""
    ref: Count | None = None
    """Number of the submission at the destination."""
    public: Score | None = None
    private: Score | None = None
    error: str = ""
    """Why the destination cannot score the submission."""


class Entry(Event):
    """A submission as the ledger knows it: its last event, with the keys of earlier events.

    An entry without a destination has not been validated yet.
    """

    @property
    def submitted(self) -> bool:
        """Whether the destination has received it."""
        return self.event in ("submitted", "scored")

    @property
    def unknown(self) -> Literal["begun", "told"] | None:
        """State of an upload of unknown outcome, `told` if the user has been told; None if the outcome is known."""
        return "begun" if self.event == "validated" else "told" if self.event == "unconfirmed" else None

    @property
    def identity(self) -> str:
        """The kernel version, or else the file's SHA-256: what distinguishes one submission from another."""
        return self.kernel or self.sha256


def append(path: Path | str, event: Kind, sha256: str, **fields: Any) -> None:
    """Appends one event to the ledger, and returns when it is on the disk.

    Several processes may append at once. An incomplete line of a killed process is removed first.
    """
    path = Path(path)
    is_file_or_raise(path)
    line = Event(time=datetime.now(UTC).strftime(TIME), event=event, sha256=sha256, **fields)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            _repair_tail(handle)
            handle.write(line.model_dump_json(exclude_unset=True).encode() + b"\n")
            handle.flush()
            os.fsync(handle.fileno())


def read(path: Path | str) -> list[Event]:
    """Reads all events, oldest first; none without a ledger. An incomplete last line is ignored.

    Raises:
        KitError: another line is not an event.
    """
    lines = read_bytes(path).split(b"\n") if is_file_or_raise(path) else []
    events = []
    for number, line in enumerate(lines, start=1):
        event = _event(line)
        if event is not None:
            events.append(event)
        elif line.strip() and number < len(lines):
            raise KitError(f"{path}:{number}: is not an event of the ledger: correct or remove the line")
    return events


def entries(path: Path | str) -> list[Entry]:
    """Returns an entry for each submission, in the order of their first events.

    A file that is validated again after it was submitted is another submission.
    """
    built: dict[str, Entry] = {}
    placed: dict[tuple[str, str], list[Entry]] = {}
    for event in read(path):
        fields = event.model_dump(exclude_unset=True)
        if event.destination is None:
            built[event.sha256] = Entry(**fields)
            continue
        attempts = placed.setdefault((event.kernel or event.sha256, event.destination), [])
        if not attempts or (event.event == "validated" and attempts[-1].submitted):
            attempts.append(built.get(event.sha256) or Entry(event="built", sha256=event.sha256))
        index = next((i for i, entry in enumerate(attempts) if event.ref is not None and entry.ref == event.ref), -1)
        attempts[index] = attempts[index].model_copy(update=fields)
    sent = [entry for attempts in placed.values() for entry in attempts]
    hashes = {entry.sha256 for entry in sent}
    return [*sent, *(entry for sha256, entry in built.items() if sha256 not in hashes)]


def find_all(path: Path | str, identity: str, destination: str) -> list[Entry]:
    """Returns the submissions of a file or kernel version to a destination, oldest first."""
    return [entry for entry in entries(path) if (entry.identity, entry.destination) == (identity, destination)]


def find(path: Path | str, identity: str, destination: str) -> Entry | None:
    """Returns the last submission of a file or kernel version to a destination; None if there is none."""
    return next(reversed(find_all(path, identity, destination)), None)


def table(path: Path | str) -> str:
    """Formats the ledger as a table, one line per submission."""
    rows = [
        {
            "run": entry.run or "-",
            "file": entry.file,
            "to": entry.destination or "-",
            "nested": entry.nested_dice,
            "95 %": None if entry.interval is None else "–".join(f"{bound:.4f}" for bound in entry.interval),
            "all empty": entry.dice_all_empty,
            "positives": entry.dice_positives,
            "apparent": entry.apparent_dice,
            "public": entry.public,
            "private": entry.private,
            "state": entry.error or ("submitted" if entry.submitted else "not submitted"),
        }
        for entry in entries(path)
    ]
    if not rows:
        return f"{path}: nothing was submitted yet: `make submit`"
    cells = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in cells)


def _cell(value: str | float | None) -> str:
    return value if isinstance(value, str) else "-" if value is None else f"{value:.4f}"


def _event(line: bytes) -> Event | None:
    try:
        return Event.model_validate_json(line)
    except ValidationError:
        return None


def _repair_tail(handle: BinaryIO) -> None:
    """Makes the file end with a whole line: removes an incomplete event, or adds a missing newline."""
    handle.seek(0)
    content = handle.read()
    tail = content[content.rfind(b"\n") + 1 :]
    if _event(tail) is not None:
        handle.write(b"\n")
    elif tail:
        handle.truncate(len(content) - len(tail))
