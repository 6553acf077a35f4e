"""What an interrupted training resumes from: everything that the next epoch depends on, tensors and numbers only."""

import pickle
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from kit.core.errors import KitError
from kit.core.files import present, replacing


class Epoch(BaseModel):
    """A row of metrics.csv, as the checkpoint keeps it."""

    model_config = ConfigDict(strict=True, extra="allow")

    epoch: Annotated[int, Field(ge=1)]
    weights: Literal["epoch"]
    learning_rate: float
    loss: float
    validation_loss: float | None
    iou: float | None
    dice: float | None
    score: float | None
    seconds: float


_HISTORY = TypeAdapter(list[Epoch])


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes the state of a stage after an epoch."""
    with replacing(path) as temporary, open(temporary, "wb") as handle:  # a path's own writer hides a full disk
        torch.save(state, handle)


def restore(path: Path, **parts: Any) -> dict[str, Any]:
    """Gives each part, by its name in the state, what `save` wrote of it.

    Returns:
        The whole state; empty, with the parts as they were, where there is no checkpoint.

    Raises:
        KitError: the file is broken, holds anything but tensors and numbers, or is of another training.
    """
    if not present(path):
        return {}
    try:
        state = torch.load(path, "cpu", weights_only=True)
        _HISTORY.validate_python(state["history"])
        for name, part in parts.items():
            part.load_state_dict(state[name])
    except (
        RuntimeError,
        OSError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        pickle.UnpicklingError,
    ) as error:
        raise KitError(
            f"{path}: is not a checkpoint of this stage ({type(error).__name__}): remove it to train the stage again"
        ) from error
    return state
