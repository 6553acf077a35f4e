"""Hooks follow a training and cannot stop it: charts for TensorBoard and for Weights & Biases."""

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
from kit.training.state import Row
from kit.training.validation import UNKNOWN

log = logging.getLogger(__name__)

CASES = 4
"""Images that are drawn."""


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


class TensorBoard:
    """Figures of a stage, and pictures of the same few validation images, positives first.

    The library's own writer is a thread, which on a full disk dies with a traceback while the training goes on.
    """

    name = "TensorBoard"

    def __init__(self, folder: Path, data: FoldData) -> None:
        order = np.argsort([not data.cache.masks[row].any() for row in data.validation], kind="stable")
        self._folder, self._data, self._cases = folder, data, data.validation[order][:CASES]
        self._is_begun = False

    def __call__(self, network: Segmenter, row: Row) -> None:
        """Writes the row's figures and, where it was validated, the pictures."""
        final = row["weights"] == "final"
        if not self._is_begun:
            self._begin(first=row["epoch"] + final)
            self._is_begun = True
        start, names = ("final_", UNKNOWN) if final else ("", ("learning_rate", "loss", *UNKNOWN))
        figures = {start + name: row[name] for name in names if row[name] is not None}
        pictures = {f"{start}cases": self._draw(network)} if len(self._cases) and row["dice"] is not None else {}
        self._write(figures, pictures, row["epoch"])

    @torch.inference_mode()
    def _draw(self, network: Segmenter) -> np.ndarray:
        """A line a case, uint8: the image, its truth, and the probability by the network, left in evaluation mode."""
        network.eval()
        cache = self._data.cache
        images, masks = (np.stack([array[row] for row in self._cases]) for array in (cache.images, cache.masks))
        logits, _ = network(torch.from_numpy(images)[:, None].to(next(network.parameters()).device))
        found = (logits[:, 0].float().sigmoid() * 255).byte().cpu().numpy()
        return np.vstack([np.hstack(panels) for panels in zip(images, masks * np.uint8(255), found, strict=True)])

    def _begin(self, first: int) -> None:
        """Begins with an epoch; what a killed process has written of it and of later ones is void."""
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
    """The same in a run of Weights & Biases for each stage."""

    name = "--logger wandb"

    def __init__(self, folder: Path, data: FoldData, recipe: Recipe) -> None:
        super().__init__(folder, data)
        self._recipe = recipe

    def __call__(self, network: Segmenter, row: Row) -> None:
        """Sends the row's figures and pictures; the last ones end the run."""
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
        KitError: it is not known, or its package is not installed.
    """
    if logger not in (None, "wandb"):
        raise KitError(f"--logger {logger}: give wandb")
    if logger and importlib.util.find_spec(logger) is None:
        raise KitError(f"--logger {logger}: is not installed: pip install {logger} into the kit's environment")


def make_hooks(folder: Path, data: FoldData, recipe: Recipe, logger: str | None = None) -> Sequence[Hook]:
    """Makes the hooks of a stage: TensorBoard, and the logger that was asked for."""
    return [TensorBoard(folder, data), *([Wandb(folder, data, recipe)] if logger else [])]


def tensorboard_command(folder: Path) -> str:
    """The command that shows the curves of a run: with the program's place where a shell does not find it by name."""
    program = Path(sys.executable).with_name("tensorboard")
    if shutil.which(program.name):
        program = Path(program.name)
    elif program.is_relative_to(Path.cwd()):
        program = program.relative_to(Path.cwd())
    return f"{program} --logdir {folder}"
