"""What a killed training goes on from: everything that the next epoch depends on, tensors and numbers only."""

import pickle
from pathlib import Path
from typing import Any

import torch

from kit.core.errors import KitError
from kit.core.files import replacing


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes the state of a stage after an epoch."""
    with replacing(path) as temporary:
        torch.save(state, temporary)


def restore(path: Path, **parts: Any) -> dict[str, Any]:
    """Gives each part, by its name in the state, what `save` wrote of it.

    Returns:
        The whole state; empty, with the parts as they were, where there is no checkpoint.

    Raises:
        KitError: the file is broken, holds anything but tensors and numbers, or is of another training.
    """
    if not path.is_file():
        return {}
    try:
        state = torch.load(path, "cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (RuntimeError, OSError, EOFError, LookupError, TypeError, ValueError, pickle.UnpicklingError) as error:
        raise KitError(
            f"{path}: is not a checkpoint of this stage ({type(error).__name__}): remove it to train the stage anew"
        ) from error
    return state
