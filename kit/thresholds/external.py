"""Masks and fold files that users supply with maps of their own."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from kit.core.errors import KitError
from kit.core.files import read_bytes
from kit.inference.maps import open_stack, read_row


@dataclass(frozen=True)
class Masks:
    """Masks of one file, (N, H, W); iteration reads and yields one bool (H, W) at a time."""

    path: Path | str
    array: np.ndarray

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[np.ndarray]:
        for index in range(len(self.array)):
            mask = read_row(self.path, index)
            highest = mask.max()
            if highest > 1 and (highest != 255 or np.any((mask > 0) & (mask < 255))):
                raise KitError(f"{self.path}: mask {index} holds more than two values: give 0 and 1, or a bool array")
            yield mask > 0


def open_masks(path: Path | str) -> Masks:
    """Memory-maps a file of masks."""
    array = open_stack(path)
    if array.dtype not in (np.bool_, np.uint8):
        raise KitError(f"{path}: masks are {array.dtype}: give bool, or uint8 of 0 and 1")
    return Masks(path, array)


def read_folds(path: Path | str, ids: Sequence[str], *, named: bool) -> tuple[list[int], list[str]]:
    """Returns fold and patient of each map, from a file with columns image_id, fold and optionally patient_id.

    Args:
        named: Whether the maps have ids; if not, the rows must be in the order of the maps.

    Raises:
        KitError: the file cannot be read, lacks a column or an image, or repeats one.
    """
    try:
        content = io.BytesIO(read_bytes(path))
        # An id may be "null" or "NA".
        table = pd.read_csv(content, na_filter=False, dtype={"image_id": str, "patient_id": str, "fold": int})
    except KitError:
        raise
    except (ValueError, OverflowError) as error:
        raise KitError(f"{path}: is not a fold file ({error}): give columns image_id, patient_id, fold") from None
    if lacking := {"image_id", "fold"} - set(table.columns):
        raise KitError(f"{path}: lacks {', '.join(sorted(lacking))}: give columns image_id, patient_id, fold")
    if table.image_id.duplicated().any():
        raise KitError(f"{path}: {table.image_id[table.image_id.duplicated()].iloc[0]} appears twice: keep one row")
    if named:
        if missing := sorted(set(ids) - set(table.image_id)):
            raise KitError(f"{path}: {len(missing)} of the maps' ids are not there (first: {missing[0]}): add them")
        table = table.set_index("image_id", drop=False).loc[list(ids)]
    elif len(table) != len(ids):
        raise KitError(
            f"{path}: {len(table)} rows for {len(ids)} maps: give one a map, in their order, or ids beside them"
        )
    patients = table.get("patient_id", table.image_id)
    return table.fold.tolist(), patients.where(patients != "", table.image_id).tolist()
