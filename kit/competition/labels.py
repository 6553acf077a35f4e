"""The label file: one row per region of interest, `ImageId,EncodedPixels`.

Files of this competition have come with a byte-order mark, without a header, with CRLF and without a last line end,
with spaces before the second column's name and values, and with negative images on two rows. Spreadsheets save tables
with semicolons or tabs and in UTF-16, cut what is longer than a cell, and turn ids into numbers.
"""

import csv
import io
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kit.competition.rle import EMPTY
from kit.core.errors import KitError
from kit.core.files import read_bytes

log = logging.getLogger(__name__)

STRATA = ("negative", "single", "multiple")
COLUMNS = ("ImageId", "EncodedPixels")

# A ragged mask of a large image is longer than the 131,072 characters that Python allows a field.
csv.field_size_limit(2**31 - 1)

_CELL = 32_767
"""Characters that a cell of a spreadsheet holds; the rest of a longer row is gone."""

Labels = dict[str, tuple[str, ...]]
"""RLE texts of each image's regions; an image without any is negative."""


def read(path: Path | str) -> Labels:
    """The regions of each image, in the file's order.

    A row that appears twice counts once, and `-1` beside a region says nothing more. The texts themselves are
    checked when they are decoded.

    Raises:
        KitError: the file cannot be read, a row has other than two fields or no id, or there are no rows.
    """
    found = group((image_id, text) for _, (image_id, text) in rows(path))
    if cut := [image for image, texts in found.items() if any(map(is_cut, texts))]:
        log.warning("%s: %d rows %s (first: %s)", path, len(cut), CUT, cut[0])
    return found


CUT = (
    "are just as long as a cell of a spreadsheet, 32,767 characters, so their masks lack a part: get the original file"
)


def is_cut(text: str) -> bool:
    """Whether a text has just as many characters as a cell of a spreadsheet, perhaps but for a space before it."""
    return len(text) in (_CELL, _CELL - 1)


def rows(path: Path | str, columns: tuple[str, ...] = COLUMNS) -> list[tuple[int, tuple[str, ...]]]:
    """The rows with their line numbers, without the header if there is one; blank rows are left out, spaces stripped.

    Raises:
        KitError: the file cannot be read, a row has another number of fields or no id, or there are no rows.
    """
    names, reader = {column.lower() for column in columns}, _reader(path)
    found: list[tuple[int, tuple[str, ...]]] = []
    try:
        for fields in reader:
            values, here = tuple(field.strip() for field in fields), f"{path}:{reader.line_num}"
            if values == columns or not any(values):
                continue
            if not found and names & {value.lower() for value in values}:
                raise KitError(f"{here}: header is {','.join(values)[:80]}: {','.join(columns)} is wanted")
            if len(values) != len(columns):
                count = "1 field" if len(values) == 1 else f"{len(values)} fields"
                raise KitError(f"{here}: {count}: {','.join(columns)} is wanted")
            if not values[0]:
                raise KitError(f"{here}: the first of {','.join(columns)} is empty")
            if re.fullmatch(r"\d([.,]\d+)?E\+\d+", values[0]):
                raise KitError(f"{here}: {values[0]} is a spreadsheet's number in place of an id: export ids as text")
            found.append((reader.line_num, values))
    except csv.Error as error:
        raise KitError(f"{path}:{reader.line_num}: is not a CSV file of {','.join(columns)} ({error})") from None
    if not found:
        raise KitError(f"{path}: has no rows of {','.join(columns)}: is it the right file?")
    return found


def header(path: Path | str) -> tuple[str, ...]:
    """The fields of the first row, spaces stripped."""
    try:
        return tuple(field.strip() for field in next(_reader(path), ()))
    except csv.Error as error:
        raise KitError(f"{path}:1: is not a CSV file ({error})") from None


def _reader(path: Path | str) -> Any:
    """Reads a table in UTF-8, or in UTF-16 with a byte-order mark, with commas, semicolons or tabs."""
    content = read_bytes(path)
    try:
        text = content.decode("utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise KitError(f"{path}: is not a CSV file in UTF-8 ({error}): save it again as one") from None
    if "\0" in text or "\ufeff" in text:
        raise KitError(f"{path}: is not a CSV file in UTF-8 (no text has such characters): save it again as one")
    first = text.lstrip().partition("\n")[0]
    return csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=max(",;\t", key=first.count))


def group(pairs: Iterable[tuple[str, str]]) -> Labels:
    """Collects pairs of image id and RLE text by image."""
    found: dict[str, dict[str, None]] = {}
    for image_id, text in pairs:
        regions = found.setdefault(image_id, {})
        if text not in ("", EMPTY):
            regions[text] = None
    return {image_id: tuple(regions) for image_id, regions in found.items()}


def stratum(regions: tuple[str, ...]) -> str:
    """`negative`, `single` or `multiple`, by the number of regions.

    >>> stratum(()), stratum(("3 4",)), stratum(("3 4", "9 9"))
    ('negative', 'single', 'multiple')
    """
    return STRATA[min(len(regions), 2)]
