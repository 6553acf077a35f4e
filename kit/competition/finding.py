"""The finding that a data set's masks show: its name for reports, and its code for DICOM segmentations."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from kit.core.documents import Document, format_errors, load_yaml
from kit.core.errors import KitError
from kit.core.files import is_file_or_raise, read_json, read_text

NAME = "finding.yaml"
"""File beside a data set's labels; without it, masks show pneumothorax."""


class Finding(Document):
    """Content of finding.yaml."""

    name: Annotated[str, Field(pattern=r"^[^\x00-\x1f\x7f\\]{1,64}$")]
    """Singular, such as `nodule`; at most 64 characters, as in a DICOM file."""
    code: Annotated[int, Field(gt=0)] | None = None
    """SNOMED CT code; None if unknown."""

    @property
    def title(self) -> str:
        """The name with a capital letter."""
        return self.name[0].upper() + self.name[1:]

    def __str__(self) -> str:
        return f"name: {self.name}\ncode: {'null' if self.code is None else self.code}  # SNOMED CT\n"


PNEUMOTHORAX = Finding(name="pneumothorax", code=36118008)
UNKNOWN = Finding(name="finding")


def read(path: Path | str) -> Finding:
    """Reads a finding.yaml."""
    text, remedy = read_text(path), "write `name:` and, if you know it, the SNOMED CT `code:`"
    try:
        return Finding.model_validate(load_yaml(text, path))
    except ValidationError as error:
        raise KitError(f"{path}: {format_errors(error)}: {remedy}") from None
    except KitError as error:
        raise KitError(f"{error}: {remedy}") from None


def from_nnunet(path: Path | str, label: int | None = None) -> Finding | None:
    """Reads the foreground class from nnU-Net's dataset.json; None if there is none, or several.

    Args:
        label: Mask value of the foreground, if one was chosen.
    """
    if not is_file_or_raise(path):
        return None
    content = read_json(path)
    labels = content.get("labels") if isinstance(content, dict) else None
    # {"effusion": 1}, or {"1": "effusion"} in nnU-Net's first version.
    pairs = [(str(name), value) for name, value in (labels.items() if isinstance(labels, dict) else ())]
    pairs = [(str(value), name) if name.isdecimal() else (name, value) for name, value in pairs]
    names = [name for name, value in pairs if (str(value) == str(label) if label else str(value) != "0")]
    try:
        return Finding(name=names[0]) if len(names) == 1 else None
    except ValidationError:
        return None
