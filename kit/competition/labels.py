"""The label file: a row a region of interest, `ImageId,EncodedPixels`.

Files of this competition have come with a byte-order mark, without a header, with CRLF and without a last line end,
with spaces before the second column's name and values, and with negative images on two rows.
"""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from kit.competition.rle import EMPTY
from kit.core.errors import KitError
from kit.core.files import opened

STRATA = ("negative", "single", "multiple")
COLUMNS = ("ImageId", "EncodedPixels")

# A ragged mask of a large image is longer than the 131,072 characters that Python allows a field.
csv.field_size_limit(2**31 - 1)

Labels = dict[str, tuple[str, ...]]
"""RLE texts of each image's regions; an image without any is negative."""


def read(path: Path | str) -> Labels:
    """The regions of each image, in the file's order.

    A row that appears twice counts once, and `-1` beside a region says nothing more. The texts themselves are
    checked when they are decoded.

    Raises:
        KitError: the file cannot be read, a row has other than two fields or no id, or there are no rows.
    """
    return group((image_id, text) for _, (image_id, text) in rows(path))


def rows(path: Path | str, columns: tuple[str, ...] = COLUMNS) -> list[tuple[int, tuple[str, ...]]]:
    """The rows with their line numbers, without the header if there is one; blank rows are left out, spaces stripped.

    Raises:
        KitError: the file cannot be read, a row has another number of fields or no id, or there are no rows.
    """
    names = {column.lower() for column in columns}
    found: list[tuple[int, tuple[str, ...]]] = []
    try:
        with opened(path) as content, io.TextIOWrapper(content, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, strict=True)
            for fields in reader:
                values, here = tuple(field.strip() for field in fields), f"{path}:{reader.line_num}"
                if values == columns or not any(values):
                    continue
                if not found and names & {value.lower() for value in values}:
                    raise KitError(f"{here}: header is {','.join(values)}: {','.join(columns)} is wanted")
                if len(values) != len(columns):
                    raise KitError(f"{here}: {len(values)} fields: {','.join(columns)} is wanted")
                if not values[0]:
                    raise KitError(f"{here}: the first of {','.join(columns)} is empty")
                found.append((reader.line_num, values))
    except UnicodeDecodeError as error:
        raise KitError(f"{path}: is not a CSV file of {','.join(columns)} ({error})") from None
    except csv.Error as error:
        raise KitError(f"{path}:{reader.line_num}: is not a CSV file of {','.join(columns)} ({error})") from None
    if not found:
        raise KitError(f"{path}: has no rows of {','.join(columns)}: is it the right file?")
    return found


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
