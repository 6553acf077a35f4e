"""Hooks that log a training to TensorBoard and Weights & Biases; a failing hook never stops the training."""

import importlib
import importlib.util
import logging
import os
import shutil
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
import torch
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from kit.core.errors import KitError
from kit.core.files import writing
from kit.data.dataset import FoldData
from kit.networks import Segmenter
from kit.recipes.schema import Recipe
from kit.training.schedules import Row
from kit.training.validation import UNKNOWN

log = logging.getLogger(__name__)

CASES = 4
"""Number of validation images to log."""


class Hook(Protocol):
    """Callable that runs after every epoch, and once for the final weights of the stage."""

    name: str

    def __call__(self, network: Segmenter, row: Row) -> None:
        """Logs the current network and its row of metrics.csv."""


def call_all(hooks: list[Hook], network: Segmenter, row: Row) -> None:
    """Calls each hook; one that fails is removed from the list with a warning."""
    for hook in list(hooks):
        try:
            hook(network, row)
        except Exception as error:  # errors of a disk or a server, of any type
            hooks.remove(hook)
            log.warning("%s: lost (%s): the training goes on without it", hook.name, " ".join(str(error).split())[:200])


class TensorBoard:
    """Logs the metrics of a stage, and pictures of a few fixed validation images, positives first.

    TensorBoard's own writer is not used: on a full disk, its thread dies with a traceback.
    """

    name = "TensorBoard"

    def __init__(self, folder: Path, data: FoldData) -> None:
        order = np.argsort([not data.cache.masks[row].any() for row in data.validation], kind="stable")
        self._folder, self._data, self._cases = folder, data, data.validation[order][:CASES]
        self._has_begun = False

    def __call__(self, network: Segmenter, row: Row) -> None:
        """Writes the row's metrics and, after a validation, the pictures."""
        final = row["weights"] == "final"
        if not self._has_begun:
            self._begin(first=row["epoch"] + final)  # the final row repeats the number of the last epoch
            self._has_begun = True
        prefix, names = ("final_", UNKNOWN) if final else ("", ("learning_rate", "loss", *UNKNOWN))
        figures = {prefix + name: row[name] for name in names if row[name] is not None}
        pictures = {f"{prefix}cases": self._draw(network)} if len(self._cases) and row["dice"] is not None else {}
        self._write(figures, pictures, row["epoch"])

    @torch.inference_mode()
    def _draw(self, network: Segmenter) -> np.ndarray:
        """Draws image, truth and probability of each case in a row, uint8; leaves the network in evaluation mode."""
        network.eval()
        cache = self._data.cache
        images, masks = (np.stack([array[row] for row in self._cases]) for array in (cache.images, cache.masks))
        logits, _ = network(torch.from_numpy(images)[:, None].to(next(network.parameters()).device))
        probability = (logits[:, 0].float().sigmoid() * 255).byte().cpu().numpy()
        return np.vstack([np.hstack(panels) for panels in zip(images, masks * np.uint8(255), probability, strict=True)])

    def _begin(self, first: int) -> None:
        """Begins a log at an epoch; entries of a killed process for this and later epochs become void."""
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{first}"
        self._path = self._folder / "tensorboard" / name
        start = SessionLog(status=SessionLog.START)
        self._append(Event(file_version="brain.Event:2"), Event(step=first, session_log=start))

    def _write(self, figures: Mapping[str, float], pictures: Mapping[str, np.ndarray], epoch: int) -> None:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in figures.items()]
        for tag, pixels in pictures.items():
            image = Summary.Image(encoded_image_string=cv2.imencode(".png", pixels)[1].tobytes(), colorspace=1)
            values.append(Summary.Value(tag=tag, image=image))
        self._append(Event(step=epoch, summary=Summary(value=values)))

    def _append(self, *events: Event) -> None:
        with writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "ab") as handle:
                for event in events:
                    event.wall_time = time.time()
                    RecordWriter(handle).write(event.SerializeToString())


class Wandb(TensorBoard):
    """Logs the same to Weights & Biases, one W&B run for each stage."""

    name = "--logger wandb"

    def __init__(self, folder: Path, data: FoldData, recipe: Recipe) -> None:
        super().__init__(folder, data)
        self._recipe = recipe

    def __call__(self, network: Segmenter, row: Row) -> None:
        """Sends the row's metrics and pictures; the final row ends the W&B run."""
        super().__call__(network, row)
        if row["weights"] == "final":
            self._run.finish()

    def _begin(self, first: int) -> None:
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

    def _write(self, figures: Mapping[str, float], pictures: Mapping[str, np.ndarray], epoch: int) -> None:
        shown = {name: self._wandb.Image(pixels) for name, pixels in pictures.items()}
        self._run.log({**figures, **shown}, step=epoch)


def check(logger: str | None) -> None:
    """Checks that a logger can be used.

    Raises:
        KitError: the logger is unknown, or its package is not installed.
    """
    if logger not in (None, "wandb"):
        raise KitError(f"--logger {logger}: give wandb")
    if logger and importlib.util.find_spec(logger) is None:
        raise KitError(f"--logger {logger}: is not installed: pip install {logger} into the kit's environment")


def make_hooks(folder: Path, data: FoldData, recipe: Recipe, logger: str | None = None) -> Sequence[Hook]:
    """Makes the hooks of a stage: TensorBoard, and optionally another logger."""
    return [TensorBoard(folder, data), *([Wandb(folder, data, recipe)] if logger else [])]


def tensorboard_command(folder: Path) -> str:
    """Returns the command that shows a run in TensorBoard, with the path to the program if it is not on PATH."""
    program = Path(sys.executable).with_name("tensorboard")
    if shutil.which(program.name):
        program = Path(program.name)
    elif program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return f"{program} --logdir {folder}"
