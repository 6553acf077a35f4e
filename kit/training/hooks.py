"""Hooks follow a training and cannot stop it: charts for TensorBoard and for Weights & Biases."""

import importlib
import importlib.util
import io
import logging
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from kit.core.errors import KitError, did_you_mean
from kit.data.dataset import FoldData
from kit.networks import Segmenter
from kit.recipes.schema import Recipe
from kit.training import pictures
from kit.training.curves import Curves
from kit.training.state import Row
from kit.training.validation import UNKNOWN

log = logging.getLogger(__name__)

LOGGERS = ("wandb",)
"""What `--logger` takes beside TensorBoard: extras of the package, imported when a stage uses one."""


class Hook(Protocol):
    """Called after every epoch, and once for what the stage leaves in the end."""

    name: str

    def __call__(self, network: Segmenter, row: Row) -> None:
        """Takes the network as it is now, and its row of metrics.csv."""


def call_all(hooks: list[Hook], network: Segmenter, row: Row) -> None:
    """Calls each hook; one that fails is removed from the list with a warning."""
    for hook in list(hooks):
        try:
            hook(network, row)
        except Exception as error:  # each has errors of its own, of a disk or a server
            hooks.remove(hook)
            log.warning("%s: lost (%s): the training goes on without it", hook.name, " ".join(str(error).split())[:200])


class Charts:
    """Writes the figures and pictures of a stage; a resumed stage goes on with its charts."""

    def __init__(self, name: str, folder: Path, data: FoldData) -> None:
        self.name, self._folder, self._data = name, folder, data
        self._cases = pictures.cases(data)
        self._writer: Any = None

    def __call__(self, network: Segmenter, row: Row) -> None:
        """Writes the row's figures and, where it was validated, pictures of the same few cases."""
        final = row["weights"] == "final"
        if self._writer is None:
            self._writer = self._open(first=row["epoch"] + final)
        for name in UNKNOWN if final else ("learning_rate", "loss", *UNKNOWN):
            if row[name] is not None:
                self._writer.add_scalar("final_" * final + name, row[name], row["epoch"])
        if len(self._cases) and row["dice"] is not None:
            picture = pictures.draw(network, self._data, self._cases, next(network.parameters()).device)
            self._writer.add_image("final_" * final + "cases", picture, row["epoch"])

    def _open(self, first: int) -> Any:
        """What takes figures and pictures, from an epoch on; what a killed stage has told of it is void."""
        return Curves(self._folder / "tensorboard", first)


class Wandb(Charts):
    """The same in a run of Weights & Biases for each stage."""

    def __init__(self, folder: Path, data: FoldData, recipe: Recipe) -> None:
        super().__init__("--logger wandb", folder, data)
        self._recipe = recipe

    def __call__(self, network: Segmenter, row: Row) -> None:
        """Sends the row's figures and pictures; the last ones end the run."""
        super().__call__(network, row)
        if row["weights"] == "final":
            self._run.finish()

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Sends a value of an epoch."""
        self._run.log({name: value}, step=step)

    def add_image(self, name: str, png: bytes, step: int) -> None:
        """Sends a picture of an epoch."""
        self._run.log({name: self._wandb.Image(Image.open(io.BytesIO(png)))}, step=step)

    def _open(self, first: int) -> "Wandb":
        self._wandb = importlib.import_module("wandb")
        name = "/".join(self._folder.parts[-4:])
        self._run = self._wandb.init(
            project="kit",
            group="/".join(self._folder.parts[-4:-2]),
            name=name,
            id=name.replace("/", "-"),
            resume="allow" if first > 1 else None,
            dir=str(self._folder),
            config=self._recipe.model_dump(mode="json"),
        )
        return self


def check(logger: str | None) -> None:
    """Checks that a logger can be used.

    Raises:
        KitError: it is not known, or its package is not installed.
    """
    if logger is None:
        return
    if logger not in LOGGERS:
        raise KitError(f"--logger {logger}: give {', '.join(LOGGERS)}{did_you_mean(logger, LOGGERS)}")
    if importlib.util.find_spec(logger) is None:
        raise KitError(f"--logger {logger}: is not installed: pip install {logger} into the kit's environment")


def make_hooks(folder: Path, data: FoldData, recipe: Recipe, logger: str | None = None) -> Sequence[Hook]:
    """Makes the hooks of a stage: TensorBoard, and the logger that was asked for."""
    return [Charts("TensorBoard", folder, data), *([Wandb(folder, data, recipe)] if logger == "wandb" else [])]


def tensorboard_command(folder: Path) -> str:
    """The command that shows the curves of a run: with the program's place where a shell does not find it by name."""
    program = Path(sys.executable).with_name("tensorboard")
    if shutil.which(program.name):
        program = Path(program.name)
    elif program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return f"{program} --logdir {folder}"
