"""Where the curves of a stage go beside its own files: TensorBoard always, and another tracker where one is asked for.

A tracker is an extra of the package, and is imported when a stage begins that uses it.
"""

import importlib
import importlib.util
import io
import logging
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from kit.core.errors import KitError
from kit.core.suggest import did_you_mean
from kit.recipes.schema import Recipe
from kit.training.curves import Curves

log = logging.getLogger(__name__)


def tensorboard_command(folder: Path) -> str:
    """The command that shows the curves of a run: with the program's place where a shell does not find it by name."""
    program = Path(sys.executable).with_name("tensorboard")
    if shutil.which(program.name):
        program = Path(program.name)
    elif program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return f"{program} --logdir {folder}"


class Logger(Protocol):
    """What takes the figures and pictures of a stage as they come."""

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Takes a value of a step."""

    def add_image(self, name: str, png: bytes, step: int) -> None:
        """Takes a picture of a step."""

    def close(self) -> None:
        """The stage has ended, or was interrupted."""


class Wandb:
    """A run of Weights & Biases for each stage, which a resumed stage goes on with."""

    def __init__(self, folder: Path, recipe: Recipe, first: int) -> None:
        self._wandb = importlib.import_module("wandb")
        name = "/".join(folder.parts[-4:])
        self._run = self._wandb.init(
            project="kit",
            group="/".join(folder.parts[-4:-2]),
            name=name,
            id=name.replace("/", "-"),
            resume="allow" if first > 1 else None,
            dir=str(folder),
            config=recipe.model_dump(mode="json"),
        )

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Takes a value of a step."""
        self._run.log({name: value}, step=step)

    def add_image(self, name: str, png: bytes, step: int) -> None:
        """Takes a picture of a step."""
        self._run.log({name: self._wandb.Image(Image.open(io.BytesIO(png)))}, step=step)

    def close(self) -> None:
        """Ends the run."""
        self._run.finish()


class Mlflow:
    """A run of MLflow for each stage, which a resumed stage goes on with; the server is that of MLFLOW_TRACKING_URI."""

    def __init__(self, folder: Path, recipe: Recipe, first: int) -> None:
        self._client = importlib.import_module("mlflow").MlflowClient()
        name, mark = "/".join(folder.parts[-4:]), str(folder.resolve())
        found = self._client.get_experiment_by_name("kit")
        experiment = found.experiment_id if found else self._client.create_experiment("kit")
        before = self._client.search_runs([experiment], f"tags.`kit.stage` = '{mark}'", max_results=1)
        if first > 1 and before:
            self._id = before[0].info.run_id
        else:
            self._id = self._client.create_run(experiment, tags={"kit.stage": mark}, run_name=name).info.run_id
            self._client.log_text(self._id, recipe.dump(), "recipe.yaml")

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Takes a value of a step."""
        self._client.log_metric(self._id, name, value, step=step)

    def add_image(self, name: str, png: bytes, step: int) -> None:
        """Takes a picture of a step."""
        self._client.log_image(self._id, Image.open(io.BytesIO(png)), f"{name}-{step:04}.png")

    def close(self) -> None:
        """Ends the run."""
        self._client.set_terminated(self._id)


class UntilLost:
    """A tracker that a training outlives: after its first error, such as of a server that has gone, it is told no more.

    Args:
        name: Of the tracker.
        tracker: What is told.
    """

    def __init__(self, name: str, tracker: Logger) -> None:
        self._name = name
        self._tracker: Logger | None = tracker

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Takes a value of a step."""
        self._tell("add_scalar", name, value, step)

    def add_image(self, name: str, png: bytes, step: int) -> None:
        """Takes a picture of a step."""
        self._tell("add_image", name, png, step)

    def close(self) -> None:
        """Ends the run."""
        self._tell("close")

    def _tell(self, what: str, *arguments: Any) -> None:
        if self._tracker is None:
            return
        try:
            getattr(self._tracker, what)(*arguments)
        except Exception as error:  # each has errors of its own
            self._tracker = None
            log.warning("--logger %s: lost (%s): the training goes on, TensorBoard has all", self._name, _short(error))


TRACKERS: dict[str, Callable[[Path, Recipe, int], Logger]] = {"wandb": Wandb, "mlflow": Mlflow}


def check(tracker: str | None) -> None:
    """Check that a tracker can be used.

    Raises:
        KitError: it is not known, or its package is not installed.
    """
    if tracker is None:
        return
    if tracker not in TRACKERS:
        raise KitError(f"--logger {tracker}: give one of {', '.join(TRACKERS)}{did_you_mean(tracker, TRACKERS)}")
    if importlib.util.find_spec(tracker) is None:
        raise KitError(f"--logger {tracker}: is not installed: pip install {tracker} into the kit's environment")


def opened(folder: Path, recipe: Recipe, first: int, tracker: str | None) -> Sequence[Logger]:
    """TensorBoard's curves of a stage, and the tracker's.

    Args:
        folder: Of the stage.
        recipe: What is trained, for the tracker to show.
        first: The first epoch to come, from 1; what a killed stage has told of it and of later ones is void.
        tracker: A name of `TRACKERS`, or None.

    Raises:
        KitError: the tracker cannot be reached.
    """
    curves = Curves(folder / "tensorboard", first)
    if tracker is None:
        return [curves]
    try:
        return [curves, UntilLost(tracker, TRACKERS[tracker](folder, recipe, first))]
    except Exception as error:  # each has errors of its own for a missing account, server or network
        raise KitError(
            f"--logger {tracker}: cannot begin ({_short(error)}): see its own settings, or leave it out"
        ) from error


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
