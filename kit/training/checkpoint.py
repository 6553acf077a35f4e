"""What a killed training goes on from: everything that the next epoch depends on, tensors and numbers only."""

import pickle
from pathlib import Path
from typing import Any

import torch

from kit.errors import KitError
from kit.files import replacing


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes the state of a stage after an epoch."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def load(path: Path) -> dict[str, Any] | None:
    """The state that `save` wrote, or None where there is none.

    Raises:
        KitError: the file is broken, or holds anything but tensors and numbers.
    """
    if not path.is_file():
        return None
    try:
        return torch.load(path, "cpu", weights_only=True)
    except (RuntimeError, OSError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise KitError(
            f"{path}: is not a checkpoint ({type(error).__name__}): remove it to train this stage anew"
        ) from error
