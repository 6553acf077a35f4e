"""Writes, reads and checks submission files: `ImageId,EncodedPixels`, one row per image, `-1` for no mask."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.competition import rle, shapes
from kit.competition.labels import COLUMNS, rows
from kit.competition.shapes import Shape
from kit.core.errors import KitError, counted, printable
from kit.core.files import read_bytes, write_csv

HEADER = ",".join(COLUMNS)
_SHOWN = 20
"""Most problems to list for a file."""


@dataclass(frozen=True)
class Problem:
    """A problem of a submission file."""

    line: int
    """Line number from 1; 0 for the whole file."""
    image: str
    """Image id; empty if the problem concerns no single image."""
    reason: str

    def __str__(self) -> str:
        place = f"line {self.line}" if self.line else "the file"
        return printable(f"{place}: {f'image {self.image}: ' if self.image else ''}{self.reason}")


def write(path: Path | str, masks: Iterable[tuple[str, str]]) -> None:
    """Writes pairs of image id and RLE text in the given order; ids with a comma or a quote are quoted."""
    write_csv(Path(path), COLUMNS, ((image_id, mask or rle.EMPTY) for image_id, mask in masks))


def read(path: Path | str) -> dict[str, str]:
    """Reads the RLE text of each image, in the file's order."""
    return {image_id: text for _, (image_id, text) in rows(path)}


def validate(path: Path | str, sample_ids: Sequence[str] | None = None, shape: Shape = rle.SHAPE) -> list[Problem]:
    """Finds everything that the competition, or a person, would object to.

    Args:
        sample_ids: Ids that the file must contain, in this order; None accepts any ids.
        shape: (height, width) of all images, or of each image by id.

    Returns:
        Problems by line, missing ids last; none for a valid file.
    """
    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError as error:
        return [Problem(0, "", f"is not a text file ({error.reason} at byte {error.start})")]
    if text.lstrip()[:1] == "<":
        return [Problem(0, "", "is a web page or XML, not a submission: was the download refused?")]
    if not text.strip():
        return [Problem(0, "", "is empty")]
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        lines = [(reader.line_num, fields) for fields in reader]
    except csv.Error as error:
        return [Problem(reader.line_num, "", f"is not a row of a CSV file ({error})")]
    if sample_ids is None:
        sample_ids = list(dict.fromkeys(fields[0] for _, fields in lines[1:] if len(fields) == len(COLUMNS)))
    problems = []
    if lines[0][1] != list(COLUMNS):
        problems.append(Problem(1, "", f"header is {','.join(lines[0][1])!r}, expected {HEADER!r}"))
        if len(lines[0][1]) == 2 and lines[0][1][0] in set(sample_ids):
            lines.insert(0, (0, []))  # without a header, the first line is a row too
    positions = {image_id: position for position, image_id in enumerate(sample_ids)}
    seen: dict[str, int] = {}
    last_position = -1
    for number, fields in lines[1:]:
        if len(fields) != 2:
            problems.append(Problem(number, "", f"has {len(fields)} fields, expected 2"))
            continue
        image_id, mask = fields
        has_shape = image_id in positions or not isinstance(shape, Mapping)
        reasons = _mask_problems(mask, shapes.shape_of(shape, image_id)) if has_shape else []
        problems += [Problem(number, image_id, reason) for reason in reasons]
        if image_id in seen:
            problems.append(Problem(number, image_id, f"is on line {seen[image_id]} already"))
            continue
        seen[image_id] = number
        if image_id not in positions:
            problems.append(Problem(number, image_id, "is not an id of the sample submission"))
            continue
        if positions[image_id] < last_position:
            problems.append(Problem(number, image_id, "is out of the sample submission's order"))
        last_position = max(last_position, positions[image_id])
    if missing := [image_id for image_id in sample_ids if image_id not in seen]:
        problems.append(Problem(0, "", f"{len(missing)} of {len(positions)} images are missing (first: {missing[0]})"))
    if len(lines) - 1 != len(positions):
        problems.append(Problem(0, "", f"has {len(lines) - 1} rows, expected {len(positions)}"))
    return problems


def check(path: Path | str, sample_ids: Sequence[str], shape: Shape = rle.SHAPE) -> None:
    """Refuses a submission that the competition would refuse.

    Raises:
        KitError: lists the problems of the file, one per line.
    """
    problems = validate(path, sample_ids, shape)
    if problems:
        count = counted(len(problems), "problem")
        listed = "\n".join(f"  {line}" for line in describe(problems))
        raise KitError(f"{path}: is not a valid submission, it has {count}: correct the file\n{listed}")


def describe(problems: Sequence[Problem]) -> list[str]:
    """Returns one line per problem, at most twenty and a count: in another kind of file every row may be one."""
    lines = list(map(str, problems[:_SHOWN]))
    return [*lines, f"and {len(problems) - _SHOWN} more problems"] if len(problems) > _SHOWN else lines


def _mask_problems(text: str, shape: tuple[int, int]) -> list[str]:
    if not text.strip() or text.strip().lower() == "nan":
        return [f"mask is {text!r}: write -1 for an empty one"]
    try:
        rle.runs(text, shape[0] * shape[1])
    except KitError as error:
        return [str(error)]
    return []
