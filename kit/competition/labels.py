"""The label file: one row per region of interest, `ImageId,EncodedPixels`.

Copies of the competition's file have a byte-order mark, no header, CRLF, no final newline, spaces before the second
column's name and values, or two rows for a negative image. Spreadsheets save tables with semicolons or tabs and in
UTF-16, truncate long cells, and turn ids into numbers.
"""

import csv
import io
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kit.competition.rle import EMPTY
from kit.core.errors import KitError, counted
from kit.core.files import read_bytes

log = logging.getLogger(__name__)

STRATA = ("negative", "single", "multiple")
COLUMNS = ("ImageId", "EncodedPixels")

# The mask of a large image with ragged edges exceeds Python's default limit of 131,072 characters per field.
csv.field_size_limit(2**31 - 1)

_CELL = 32_767
"""Most characters in a spreadsheet's cell; longer rows are truncated."""

Labels = dict[str, tuple[str, ...]]
"""RLE texts of each image's regions; a negative image has none."""


def read(path: Path | str) -> Labels:
    """Reads the regions of each image, in the file's order.

    Repeated rows count once, and `-1` beside a region is ignored. The RLE texts are checked when they are decoded.

    Raises:
        KitError: the file cannot be read, a row has other than two fields or no id, or there are no rows.
    """
    regions = group((image_id, text) for _, (image_id, text) in rows(path))
    if cut := [image for image, texts in regions.items() if any(map(is_cut, texts))]:
        what = "as long as a cell of a spreadsheet, so a part of the mask is missing: get the original file"
        log.warning("%s: %s %s (first: %s)", path, counted(len(cut), "row"), what, cut[0])
    return regions


def is_cut(text: str) -> bool:
    """Whether a text is as long as a spreadsheet's cell, with or without a leading space."""
    return len(text) in (_CELL, _CELL - 1)


def rows(path: Path | str, columns: tuple[str, ...] = COLUMNS) -> list[tuple[int, tuple[str, ...]]]:
    """Returns the rows with their line numbers, without header and blank rows; surrounding spaces are stripped.

    Raises:
        KitError: the file cannot be read, a row has another number of fields or no id, or there are no rows.
    """
    names, reader = {column.lower() for column in columns}, _reader(path)
    table: list[tuple[int, tuple[str, ...]]] = []
    try:
        for fields in reader:
            values, where = tuple(field.strip() for field in fields), f"{path}:{reader.line_num}"
            if values == columns or not any(values):
                continue
            if not table and names & {value.lower() for value in values}:
                raise KitError(f"{where}: header is {','.join(values)[:80]}: expected {','.join(columns)}")
            if len(values) != len(columns):
                raise KitError(f"{where}: {counted(len(values), 'field')}: expected {','.join(columns)}")
            if not values[0]:
                raise KitError(f"{where}: the first of {','.join(columns)} is empty")
            if re.fullmatch(r"\d([.,]\d+)?E\+\d+", values[0]):
                raise KitError(f"{where}: {values[0]} is a spreadsheet's number in place of an id: export ids as text")
            table.append((reader.line_num, values))
    except csv.Error as error:
        raise KitError(f"{path}:{reader.line_num}: is not a CSV file of {','.join(columns)} ({error})") from None
    if not table:
        raise KitError(f"{path}: has no rows of {','.join(columns)}: is it the right file?")
    return table


def header(path: Path | str) -> tuple[str, ...]:
    """Returns the fields of the first row; surrounding spaces are stripped."""
    try:
        return tuple(field.strip() for field in next(_reader(path), ()))
    except csv.Error as error:
        raise KitError(f"{path}:1: is not a CSV file ({error})") from None


def _reader(path: Path | str) -> Any:
    """Opens a table in UTF-8, or in UTF-16 with a byte-order mark, separated by commas, semicolons or tabs."""
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
    """Groups pairs of image id and RLE text by image."""
    regions: dict[str, dict[str, None]] = {}
    for image_id, text in pairs:
        texts = regions.setdefault(image_id, {})
        if text not in ("", EMPTY):
            texts[text] = None
    return {image_id: tuple(texts) for image_id, texts in regions.items()}


def stratum(regions: tuple[str, ...]) -> str:
    """Returns `negative`, `single` or `multiple`, by the number of regions.

    >>> stratum(()), stratum(("3 4",)), stratum(("3 4", "9 9"))
    ('negative', 'single', 'multiple')
    """
    return STRATA[min(len(regions), 2)]
