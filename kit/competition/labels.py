"""The label file: a row a region of interest, `ImageId,EncodedPixels`.

Files of this competition have come with a byte-order mark, without a header, with CRLF and without a last line end,
with spaces before the second column's name and values, and with negative images on two rows.
"""

import csv
from pathlib import Path

from kit.competition.rle import EMPTY
from kit.errors import KitError

STRATA = ("negative", "single", "multiple")
COLUMNS = ("ImageId", "EncodedPixels")

Labels = dict[str, tuple[str, ...]]
"""RLE texts of each image's regions; an image without any is negative."""


def read(path: Path | str) -> Labels:
    """The regions of each image, in the file's order.

    A row that is there twice counts once, and `-1` beside a region says nothing more. The texts themselves are
    checked when they are decoded.

    Raises:
        KitError: the file cannot be read, a row has other than two fields or no id, or there are no rows.
    """
    return group((id, text) for _, (id, text) in rows(path))


def rows(path: Path | str, columns: tuple[str, ...] = COLUMNS) -> list[tuple[int, tuple[str, ...]]]:
    """The rows below the header, if there is one, with their line numbers; fields are stripped of spaces.

    Raises:
        KitError: the file cannot be read, a row has another number of fields or no id, or there are no rows.
    """
    found = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle)
            for fields in reader:
                if not fields:
                    continue
                values = tuple(field.strip() for field in fields)
                if reader.line_num == 1 and values[0] == columns[0]:
                    if values != columns:
                        raise KitError(f"{path}:1: header is {','.join(values)}: {','.join(columns)} is wanted")
                    continue
                if len(values) != len(columns) or not values[0]:
                    raise KitError(f"{path}:{reader.line_num}: {len(values)} fields: {','.join(columns)} is wanted")
                found.append((reader.line_num, values))
    except OSError as error:
        raise KitError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise KitError(f"{path}: is not a CSV file of {','.join(columns)} ({error})") from None
    if not found:
        raise KitError(f"{path}: has no rows of {','.join(columns)}: is it the right file?")
    return found


def group(pairs) -> Labels:
    """Collects pairs of image id and RLE text by image."""
    found: dict[str, dict[str, None]] = {}
    for id, text in pairs:
        regions = found.setdefault(id, {})
        if text not in ("", EMPTY):
            regions[text] = None
    return {id: tuple(regions) for id, regions in found.items()}


def stratum(regions: tuple[str, ...]) -> str:
    """`negative`, `single` or `multiple`, by the number of regions.

    >>> stratum(()), stratum(("3 4",)), stratum(("3 4", "9 9"))
    ('negative', 'single', 'multiple')
    """
    return STRATA[min(len(regions), 2)]
