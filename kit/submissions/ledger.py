"""The ledger: what was submitted where, and what it scored. One JSON line an event, only ever appended.

A submission is its file's SHA-256. Its events, in their order, and what each holds besides `time` and `sha256`:

    built      file, run, dice, nested_dice     a run has written the file
    validated  destination, description         it was checked, and is about to go to the destination
    submitted  destination, ref                 the destination has received it
    scored     destination, public, private     its scores, or the `error` that stands in their way, are known

A `validated` that no `submitted` follows is an upload that may or may not have arrived: whoever goes on has to
ask the destination. Every line is on the disk before the next step begins.
"""

import fcntl
import json
import os
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kit.core.errors import KitError


@dataclass(frozen=True)
class Entry:
    """What the ledger tells of one file at one destination, all its events folded into one."""

    sha256: str
    destination: str | None = None
    """`local/NAME` of a data set or `kaggle/NAME` of a competition; None: not validated for any yet."""
    file: str = ""
    run: str = ""
    """`NAME/RECIPE`, empty for a file that no run is known of."""
    dice: float | None = None
    """Out-of-fold Dice."""
    nested_dice: float | None = None
    """Dice with the thresholds of each fold chosen on the others."""
    description: str = ""
    submitted: bool = False
    ref: int | None = None
    """The destination's own number of the submission."""
    public: float | None = None
    private: float | None = None
    error: str = ""
    """Why the destination cannot score it."""
    time: str = ""
    """Of the last event, UTC."""


def append(path: Path | str, event: str, sha256: str, **fields: Any) -> None:
    """Writes one event at the end of the ledger and returns when it is on the disk.

    Several processes may append at once. What a killed writer has left of a line is removed first.

    Raises:
        KitError: the ledger cannot be written.
    """
    path = Path(path)
    time = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    line = json.dumps({"time": time, "event": event, "sha256": sha256, **fields}, allow_nan=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a+b") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            _mend(handle)
            handle.write(line.encode())
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as error:
        raise KitError(
            f"{path}: cannot be written ({error.strerror}): mend its rights, nothing was submitted"
        ) from None


def read(path: Path | str) -> list[dict[str, Any]]:
    """All events, the oldest first; none where there is no ledger. A torn last line is left out.

    Raises:
        KitError: another line is not an event.
    """
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise KitError(f"{path}: cannot be read ({error.strerror})") from None
    events = []
    for number, line in enumerate(lines, start=1):
        event = _event(line)
        if event is not None:
            events.append(event)
        elif line.strip() and number < len(lines):
            raise KitError(f"{path}:{number}: is not an event of the ledger: mend or remove the line")
    return events


def entries(path: Path | str) -> list[Entry]:
    """An entry for each file and destination, in the order in which they came up."""
    built: dict[str, Entry] = {}
    placed: dict[tuple[str, str], Entry] = {}
    for event in read(path):
        known = {key: value for key, value in event.items() if key in Entry.__dataclass_fields__}
        sha256, destination = event["sha256"], event.get("destination")
        if destination is None:
            built[sha256] = Entry(**known)
            continue
        before = placed.get((sha256, destination)) or built.get(sha256) or Entry(sha256)
        known["submitted"] = event["event"] in ("submitted", "scored")
        placed[sha256, destination] = replace(before, **known)
    waiting = [entry for sha256, entry in built.items() if all(sha256 != key[0] for key in placed)]
    return [*placed.values(), *waiting]


def find(path: Path | str, sha256: str, destination: str) -> Entry | None:
    """What the ledger tells of that file at that destination."""
    return next((entry for entry in entries(path) if (entry.sha256, entry.destination) == (sha256, destination)), None)


def table(path: Path | str) -> str:
    """The ledger for a person: a line for each file and destination."""
    rows = [
        {
            "run": entry.run or "-",
            "file": entry.file,
            "to": entry.destination or "-",
            "OOF": entry.dice,
            "nested": entry.nested_dice,
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


def _event(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and {"event", "sha256"} <= event.keys() else None


def _mend(handle: Any) -> None:
    """Ends the file with a whole line: a torn event goes, one that lacks only its newline stays."""
    content = handle.seek(0) or handle.read()
    tail = content[content.rfind(b"\n") + 1 :]
    if _event(tail) is not None:
        handle.write(b"\n")
    elif tail:
        handle.truncate(len(content) - len(tail))
