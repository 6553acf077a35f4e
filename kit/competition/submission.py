"""Submission files: `ImageId,EncodedPixels`, one row per image, `-1` for no mask. Written, read, and checked."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kit.competition import rle, shapes
from kit.competition.labels import COLUMNS, rows
from kit.competition.shapes import Shape
from kit.core.errors import KitError, printable
from kit.core.files import read_bytes, write_csv

HEADER = ",".join(COLUMNS)
_SHOWN = 20
"""Problems that are told of a file."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with a submission, and where."""

    line: int
    """Counted from 1; 0 for the file as a whole."""
    image: str
    """Empty where no image is concerned."""
    reason: str

    def __str__(self) -> str:
        place = f"line {self.line}" if self.line else "the file"
        return printable(f"{place}: {f'image {self.image}: ' if self.image else ''}{self.reason}")


def write(path: Path | str, masks: Iterable[tuple[str, str]]) -> None:
    """Writes pairs of image id and RLE text, in their order; an id with a comma or a quote is quoted."""
    write_csv(Path(path), COLUMNS, ((image_id, mask or rle.EMPTY) for image_id, mask in masks))


def read(path: Path | str) -> dict[str, str]:
    """The RLE text of each image, in the file's order."""
    return {image_id: text for _, (image_id, text) in rows(path)}


def validate(path: Path | str, sample_ids: Sequence[str] | None = None, shape: Shape = rle.SHAPE) -> list[Problem]:
    """Everything that the competition, or a person, would object to.

    Args:
        sample_ids: The ids that it must answer, in their order; None: any.
        shape: (height, width) of the images, or of each.

    Returns:
        Problems by line; none for a good file. Missing ids come last.

    Raises:
        KitError: the file cannot be read at all.
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
        problems.append(Problem(1, "", f"header is {','.join(lines[0][1])!r}, {HEADER!r} is wanted"))
        if len(lines[0][1]) == 2 and lines[0][1][0] in set(sample_ids):
            lines.insert(0, (0, []))  # there is no header: the first line is a row too
    wanted = {image_id: place for place, image_id in enumerate(sample_ids)}
    seen: dict[str, int] = {}
    before = -1
    for number, fields in lines[1:]:
        if len(fields) != 2:
            problems.append(Problem(number, "", f"has {len(fields)} fields, 2 are wanted"))
            continue
        image_id, mask = fields
        known = image_id in wanted or not isinstance(shape, Mapping)
        reasons = _mask_problems(mask, shapes.shape_of(shape, image_id)) if known else []
        problems += [Problem(number, image_id, reason) for reason in reasons]
        if image_id in seen:
            problems.append(Problem(number, image_id, f"is on line {seen[image_id]} already"))
            continue
        seen[image_id] = number
        if image_id not in wanted:
            problems.append(Problem(number, image_id, "is not an id of the sample submission"))
            continue
        if wanted[image_id] < before:
            problems.append(Problem(number, image_id, "is out of the sample submission's order"))
        before = max(before, wanted[image_id])
    if missing := [image_id for image_id in sample_ids if image_id not in seen]:
        problems.append(Problem(0, "", f"{len(missing)} of {len(wanted)} images are missing (first: {missing[0]})"))
    if len(lines) - 1 != len(wanted):
        problems.append(Problem(0, "", f"has {len(lines) - 1} rows, {len(wanted)} are wanted"))
    return problems


def check(path: Path | str, sample_ids: Sequence[str], shape: Shape = rle.SHAPE) -> None:
    """Refuses a submission that the competition would refuse.

    Raises:
        KitError: the file has problems; lists them, a line each.
    """
    problems = validate(path, sample_ids, shape)
    if problems:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        listed = "\n".join(f"  {line}" for line in describe(problems))
        raise KitError(f"{path}: is not a valid submission, it has {count}: correct the file\n{listed}")


def describe(problems: Sequence[Problem]) -> list[str]:
    """A line a problem, of many the first twenty and a count: in a foreign file each row may be one."""
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
