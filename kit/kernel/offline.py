"""A kernel's work on Kaggle: from test images and a bundle to a valid submission, without internet.

The script has already written a submission with empty masks; this module fills it. Every image keeps its row whatever
goes wrong with it, and the masks of all other images are still written. If there is too little time for all images,
some are predicted with fewer folds, then without TTA.
"""

import contextlib
import functools
import logging
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from kit.competition import pictures, rle, submission
from kit.core.errors import KitError, counted, from_system
from kit.core.parallel import WORKERS, batches
from kit.core.version import installed
from kit.inference import maps
from kit.inference.masks import MaskEncoder
from kit.inference.model import Map, Model
from kit.kernel import inputs
from kit.kernel.bundle import MODEL

log = logging.getLogger(__name__)

PACKAGES = ("kit", "torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "pydicom", "safetensors")
EVERY = 60.0
"""Seconds between two writes of the submission."""
MORE = 4
"""Initial batch size on a GPU, as a multiple of the training's batch size: prediction keeps no gradients."""
CPU = torch.device("cpu")
NO_SHAPE = (0, 0)
"""Shape of an image that was not read: only an empty mask is valid for it."""
clock = time.monotonic

Image = Mapping[int, np.ndarray]
"""An image at each input size of the networks, uint8 (size, size)."""


def run(bundle: Path, competition: Path, output: Path, deadline: float) -> None:
    """Predicts the test images with the bundle's model, and fills the submission.

    Args:
        bundle: Folder of the verified bundle.
        competition: Folder of the competition's files, unpacked or as archives.
        output: The submission, which lists the images.
        deadline: When to stop predicting, by `time.monotonic()`; the remaining images get an empty mask.

    Raises:
        KitError: there are no test images, some were read but could not be predicted, or reading them ran out of
            memory; the submission is valid even then, and holds the masks of all other images.
    """
    start = clock()
    log.info("python %s, %s", sys.version.split()[0], ", ".join(f"{name} {installed(name)}" for name in PACKAGES))
    devices = [torch.device("cuda", number) for number in range(torch.cuda.device_count())] or [CPU]
    names = [torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu" for device in devices]
    log.info("devices: %s", ", ".join(names))
    ids = list(submission.read(output))
    paths = inputs.find_images(competition, ids)
    log.info("%s to predict, %d found", counted(len(ids), "image"), len(paths))
    if not paths:
        raise KitError(
            f"{competition}: none of {counted(len(ids), 'image')} is there: attach the competition to the kernel"
        )
    work = _Work(Model.load(bundle / MODEL, CPU), paths, deadline)

    def publish() -> None:
        masks = work.masks.rle()
        submission.write(output, [(name, masks.get(name, rle.EMPTY)) for name in ids])

    try:
        work.run(devices, publish)
    except MemoryError as lack:
        raise from_system(lack) from lack
    finally:
        publish()
    for reason in work.unread.values():
        log.warning("left empty: %s", reason)
    done = {*work.unread, *work.failed}
    if late := [name for name in paths if name not in work.masks and name not in done]:
        log.warning("left empty, time was up: %d of %s: %s", len(late), counted(len(paths), "image"), " ".join(late))
    if absent := [name for name in ids if name not in paths]:
        log.warning("left empty, no such file: %s", " ".join(absent))
    submission.check(output, ids, dict.fromkeys(ids, NO_SHAPE) | work.shapes)
    filled = sum(mask != rle.EMPTY for mask in work.masks.rle().values())
    log.info("%s: %s, %d with a mask, in %.0f s", output, counted(len(ids), "row"), filled, clock() - start)
    if work.failed:
        name, error = next(iter(work.failed.items()))
        raise KitError(
            f"{counted(len(work.failed), 'image')} cannot be predicted, {name} is the first "
            f"({type(error).__name__}: {error}): correct that and build the kernel again"
        )


@dataclass
class _Work:
    """The test images, shared among all devices, and the result of each."""

    model: Model
    """The whole model on the CPU; each GPU gets a copy."""
    paths: dict[str, Path]
    deadline: float
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """(H, W) of each image that was read."""
    unread: dict[str, KitError] = field(default_factory=dict)
    """Error of each image that could not be read."""
    failed: dict[str, Exception] = field(default_factory=dict)
    """Error of each image that was read but could not be predicted."""

    def __post_init__(self) -> None:
        assert self.model.rule is not None, "a model file has a rule"
        # The hidden test set comes as a whole, so that a share of its images can be given masks.
        self.masks = MaskEncoder(self.model.rule, self.model.share)
        self._variants = functools.cache(self._variants_on)

    def _variants_on(self, device: torch.device) -> list[Model]:
        return variants(self.model if device == CPU else self.model.to(device))

    def run(self, devices: Sequence[torch.device], publish: Callable[[], None]) -> None:
        """Predicts until all images are done or time is up, and calls `publish` every minute."""
        most = self.model.batch_size * (MORE if devices[0].type == "cuda" else 1)
        ids, lock = list(self.paths), threading.Lock()
        read_ahead = batches(
            len(ids),
            lambda index: self._read(ids[index]),
            most,
            "predicting",
            lambda index, error: self.unread.update({ids[index]: error}),
        )

        def take() -> tuple[list[str], list[Image]] | None:
            with lock:
                indices, images = next(read_ahead, ([], []))
            return ([ids[index] for index in indices], images) if indices else None

        def remaining() -> float:
            return (len(ids) - len(self.masks) - len(self.unread) - len(self.failed)) / len(devices)

        with contextlib.closing(read_ahead), ThreadPoolExecutor(WORKERS) as pool, ThreadPoolExecutor() as workers:
            running = [workers.submit(self._serve, rungs(device, most), take, remaining, pool) for device in devices]
            while wait(running, EVERY).not_done:
                publish()
        for worker in running:
            worker.result()

    def _serve(
        self,
        ladder: list["Rung"],
        take: Callable[[], tuple[list[str], list[Image]] | None],
        remaining: Callable[[], float],
        pool: ThreadPoolExecutor,
    ) -> None:
        """Predicts batches on one device, each with as many networks as the time for the remaining images allows."""
        pace, start = Pace([effort(model) for model in variants(self.model)]), clock()
        pending: list[Future[None]] = []
        while clock() <= self.deadline and (batch := take()) is not None:
            names, images = batch
            level = pace.choose(remaining(), self.deadline - clock())

            def answer(rung: Rung, images: Sequence[Image], level: int = level) -> list[Map]:
                return list(replace(self._variants(rung.device)[level], half=rung.half).inputs(images))

            answers = answer_all(ladder, answer, images)
            wait(pending)  # the maps of at most one batch wait to become masks
            pending = [pool.submit(self._finish, name, result) for name, result in zip(names, answers, strict=True)]
            pace.add((clock() - start) / len(images), level)
            start = clock()
        wait(pending)

    def _read(self, name: str) -> Image:
        """Reads an image of any size and file type, and resizes it for the networks."""
        try:
            pixels = pictures.read_image(self.paths[name]).pixels
            self.shapes[name] = pixels.shape
            return self.model.resized(pixels)
        except (KitError, MemoryError):
            raise
        except Exception as error:
            raise KitError(f"{self.paths[name]}: cannot be read ({type(error).__name__}: {error})") from error

    def _finish(self, name: str, result: Map | Exception) -> None:
        """Turns an image's map into its mask, at the image's own size."""
        try:
            if isinstance(result, Exception):
                raise result
            levels, probability = result
            self.masks.add(name, maps.upsample(levels, self.shapes[name]), probability)
        except Exception as error:
            self.failed[name] = error


class Rung(NamedTuple):
    """A way to predict images: device, precision and batch size."""

    device: torch.device
    images: int
    """Maximum batch size."""
    half: bool = True
    """Whether to compute in the recipe's precision; if false, in 32 bits."""

    def __str__(self) -> str:
        return f"{self.images} at once, {'' if self.half else '32 bits, '}{self.device}"


def rungs(device: torch.device, most: int) -> list[Rung]:
    """Lists the ways to predict on a device, from the fastest to the safest: smaller batches, 32 bits, the CPU.

    On a machine without a GPU, an image that fails alone is tried once more: not every fault is permanent.

    >>> [str(rung) for rung in rungs(torch.device("cuda", 0), 4)]
    ['4 at once, cuda:0', '2 at once, cuda:0', '1 at once, cuda:0', '1 at once, 32 bits, cuda:0', '1 at once, cpu']
    """
    sizes = [most]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2)
    safer = [Rung(device, 1, half=False)] if device.type == "cuda" else []
    return [*(Rung(device, size) for size in sizes), *safer, Rung(CPU, 1)]


def answer_all(
    ladder: list[Rung], answer: Callable[[Rung, Sequence[Image]], Sequence[Map]], images: Sequence[Image]
) -> list[Map | Exception]:
    """Predicts a batch: returns each image's map by the first rung that works for the image, or the last rung's error.

    Args:
        ladder: The rungs to try, in order; a rung that runs out of memory is removed.
        answer: Predicts images by a rung, and raises if any of them fails.
        images: The batch.
    """
    answers: dict[int, Map] = {}
    errors: dict[int, Exception] = {}
    for rung, safer in zip(tuple(ladder), [*ladder[1:], None], strict=True):
        todo = [index for index in range(len(images)) if index not in answers]
        if safer and (safer.device, safer.half) == (rung.device, rung.half) and len(todo) <= safer.images < rung.images:
            continue  # the next rung would predict the same batch in the same way
        for start in range(0, len(todo), rung.images):
            part = todo[start : start + rung.images]
            try:
                answers |= zip(part, answer(rung, [images[index] for index in part]), strict=True)
            except Exception as error:
                log.warning("%s, %s: %s: %s", counted(len(part), "image"), rung, type(error).__name__, error)
                errors |= dict.fromkeys(part, error)
                if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) and safer:
                    ladder.remove(rung)
                    with contextlib.suppress(RuntimeError):
                        torch.cuda.empty_cache()
                    break
    return [answers[index] if index in answers else errors[index] for index in range(len(images))]


class Pace:
    """Chooses how many forward passes an image gets, so that all images are predicted in time.

    The first batch is not timed, since it includes one-off costs. The estimate is the median of the last ten batches,
    so that neither a slow batch nor a slow spell counts for long.

    Args:
        efforts: Forward passes per image at each level, descending.
    """

    def __init__(self, efforts: Sequence[int]) -> None:
        self._efforts = efforts
        self._seconds_per_pass: deque[float] | None = None
        self._level = 0

    def add(self, seconds: float, level: int) -> None:
        """Records the seconds per image of a batch."""
        if self._seconds_per_pass is None:
            self._seconds_per_pass = deque(maxlen=10)
        else:
            self._seconds_per_pass.append(seconds / self._efforts[level])

    def choose(self, images: float, seconds: float) -> int:
        """Returns the level for the next batch: the first at which the remaining images fit into the time, or the last.

        Args:
            images: Number of images that remain for this device.
            seconds: Time that remains.
        """
        if not self._seconds_per_pass:
            return 0
        per_pass = statistics.median(self._seconds_per_pass)
        fitting = (level for level, passes in enumerate(self._efforts) if per_pass * passes * images <= seconds)
        level = next(fitting, len(self._efforts) - 1)
        if level != self._level:
            log.warning(
                "%s in %.0f s: going on with %d of %d passes through a network an image",
                counted(round(images), "image"),
                seconds,
                self._efforts[level],
                self._efforts[0],
            )
        self._level = level
        return level


def effort(model: Model) -> int:
    """Counts the forward passes per image."""
    return sum(map(len, model.models.values())) * (2 if model.recipe.tta and model.mirrored else 1)


def variants(model: Model) -> list[Model]:
    """Lists the whole model, then the model with fewer and fewer folds, and last without TTA; all share networks."""
    fewer = [
        replace(model, models={label: networks[:folds] for label, networks in model.models.items()})
        for folds in range(max(map(len, model.models.values())), 0, -1)
    ]
    return [*fewer, replace(fewer[-1], mirrored=False)] if model.recipe.tta else fewer
