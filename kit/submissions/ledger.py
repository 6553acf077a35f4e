"""The ledger: what was submitted where, and what it scored. One JSON line an event, only ever appended.

A submission is its file's SHA-256, that of a kernel its version, `OWNER/SLUG/VERSION`, whatever its public output. Its
events, in their order, and what each holds besides `time`, `sha256` and `kernel`:

    built        file, run, nested_dice, …      a run has written the file
    validated    destination, description         it was checked, and is about to go to the destination
    unconfirmed  destination                      a person was told that the destination may have received it
    refused      destination                      the destination has certainly not received it
    submitted    destination, ref                 the destination has received it
    scored       destination, ref, public, private    its scores, or the `error` that stands in their way, are known

A `validated` that neither `refused` nor `submitted` follows is an upload that may or may not have arrived: whoever
goes on has to ask the destination. Every line is on the disk before the next step begins.
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
    """A line of the ledger; what a later version of the kit adds to it is kept out."""

    model_config = ConfigDict(frozen=True)

    time: Annotated[str, AfterValidator(_checked_time)] = ""
    """UTC."""
    event: Kind
    sha256: str
    kernel: str = ""
    """`OWNER/SLUG/VERSION` whose output is submitted."""
    destination: str | None = None
    """`local/NAME` of a data set or `kaggle/NAME` of a competition."""
    file: str = ""
    run: str = ""
    """`NAME/RECIPE`, empty for a file that no run is known of."""
    nested_dice: Score | None = None
    """Out-of-fold Dice, rule and thresholds of each fold chosen on the others."""
    interval: tuple[Score, Score] | None = None
    """Bootstrap 95 % interval of `nested_dice` over patients."""
    apparent_dice: Score | None = Field(default=None, validation_alias=AliasChoices("apparent_dice", "dice"))
    """Out-of-fold Dice by the rule on the images that it was chosen on; `dice` in ledgers of earlier versions."""
    dice_positives: Score | None = None
    """Out-of-fold Dice on positives alone."""
    dice_all_empty: Score | None = None
    """Dice of predicting nothing, where the others were measured."""
    description: str = ""
    """What the destination knows the submission by."""
    ref: Count | None = None
    """The destination's own number of the submission."""
    public: Score | None = None
    private: Score | None = None
    error: str = ""
    """Why the destination cannot score it."""


class Entry(Event):
    """What the ledger tells of one submission: the last of its events, with what the earlier ones have told.

    Without a destination it was not validated for any yet.
    """

    @property
    def submitted(self) -> bool:
        """Whether the destination has received it."""
        return self.event in ("submitted", "scored")

    @property
    def unknown(self) -> Literal["begun", "told"] | None:
        """Of an upload whose end is not known: nobody knows, or a person was told."""
        return "begun" if self.event == "validated" else "told" if self.event == "unconfirmed" else None

    @property
    def identity(self) -> str:
        """What makes it another submission than others: a kernel's version, else the file."""
        return self.kernel or self.sha256


def append(path: Path | str, event: Kind, sha256: str, **fields: Any) -> None:
    """Writes one event at the end of the ledger and returns when it is on the disk.

    Several processes may append at once. What a killed writer has left of a line is removed first.
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
    """All events, the oldest first; none where there is no ledger. A torn last line is left out.

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
    """An entry for each submission, in the order in which they came up.

    A file that was validated again after it was submitted is a submission of its own.
    """
    built: dict[str, Entry] = {}
    placed: dict[tuple[str, str], list[Entry]] = {}
    for event in read(path):
        known = event.model_dump(exclude_unset=True)
        if event.destination is None:
            built[event.sha256] = Entry(**known)
            continue
        attempts = placed.setdefault((event.kernel or event.sha256, event.destination), [])
        if not attempts or (event.event == "validated" and attempts[-1].submitted):
            attempts.append(built.get(event.sha256) or Entry(event="built", sha256=event.sha256))
        place = next((i for i, one in enumerate(attempts) if event.ref is not None and one.ref == event.ref), -1)
        attempts[place] = attempts[place].model_copy(update=known)
    found = [entry for attempts in placed.values() for entry in attempts]
    submitted = {entry.sha256 for entry in found}
    return [*found, *(entry for sha256, entry in built.items() if sha256 not in submitted)]


def find(path: Path | str, identity: str, destination: str) -> Entry | None:
    """The last submission of that file or kernel's version to that destination."""
    found = [entry for entry in entries(path) if (entry.identity, entry.destination) == (identity, destination)]
    return found[-1] if found else None


def table(path: Path | str) -> str:
    """The ledger for a person: a line for each submission."""
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
    """Ends the file with a whole line: a torn event goes, one that lacks only its newline stays."""
    handle.seek(0)
    content = handle.read()
    tail = content[content.rfind(b"\n") + 1 :]
    if _event(tail) is not None:
        handle.write(b"\n")
    elif tail:
        handle.truncate(len(content) - len(tail))
