"""What a run was trained on: images and labels, folds, and the weights that it started from, each by its content."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from kit.core.documents import Document, read_document
from kit.core.files import sha256
from kit.core.resumable import key_of


class Inputs(Document):
    """What `inputs.json` of a run holds."""

    images: str
    """Hash of all training images and their label rows."""
    folds: str
    """SHA-256 of the fold file."""
    fold_file: Annotated[str, Field(pattern=r"^[^/\x00]+$")]
    """Its name in `folds/`."""
    starts: dict[str, str] = Field(default_factory=dict)
    """SHA-256 of the weights that the folds started from, by what to call them."""

    def changes(self, other: "Inputs") -> list[str]:
        """What differs in other inputs, in words; weights that only one of the two names do not count."""
        named = {"images or labels": (self.images, other.images), "folds": (self.folds, other.folds)}
        named |= {
            name: (self.starts[name], other.starts[name]) for name in sorted(self.starts.keys() & other.starts.keys())
        }
        return [name for name, (before, after) in named.items() if before != after]


def inputs_of(image_keys: Sequence[bytes], fold_file: Path | str) -> Inputs:
    """What a training on these images and folds is trained on.

    Args:
        image_keys: What each training image and its label rows are, by their content.
        fold_file: The fold file.
    """
    fold_file = Path(fold_file)
    return Inputs(images=key_of(*image_keys).hex(), folds=sha256(fold_file), fold_file=fold_file.name)


def read(path: Path) -> Inputs:
    """The inputs in a run's `inputs.json`.

    Raises:
        KitError: the file is missing or is not what a training writes.
    """
    return read_document(path, Inputs, f"it was edited, or is of another version: remove {path.parent} and train again")
