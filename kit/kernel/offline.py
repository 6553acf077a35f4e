"""What a kernel runs on Kaggle: from test images and a bundle to a valid submission, without a network.

There is a submission before this begins, all empty; here it fills. Whatever goes wrong with an image, there is a row
for it, and what was found of the others is written. Where the time would not do for all images, some are predicted
with fewer folds, then without TTA.
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

from kit.competition import pictures, submission
from kit.core.errors import KitError, counted, from_system
from kit.core.parallel import WORKERS, batches
from kit.core.version import installed
from kit.inference import maps, thresholds_file
from kit.inference.masks import MaskEncoder
from kit.inference.model import Map, Model
from kit.kernel import inputs
from kit.kernel.bundle import read_bundle
from kit.run import Trained

log = logging.getLogger(__name__)

PACKAGES = ("kit", "torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "pydicom", "safetensors")
EVERY = 60.0
"""Seconds between two writings of the submission."""
MORE = 4
"""Images at once on a GPU to begin with, as a multiple of the training's, which had gradients to keep."""
CPU = torch.device("cpu")
NO_SHAPE = (0, 0)
"""Of an image that was not read, whose mask must be empty."""
clock = time.monotonic

Image = Mapping[int, np.ndarray]
"""An image at each size that the networks take, uint8 (size, size)."""


def run(bundle: Path, competition: Path, output: Path, deadline: float) -> None:
    """Predicts the test images with the bundle's networks and rule, and fills the submission.

    Args:
        bundle: Folder of the verified bundle.
        competition: Folder of the competition's files, unpacked or as archives.
        output: The submission, which names the images.
        deadline: When to stop predicting, by `time.monotonic()`; images that are left get an empty mask.

    Raises:
        KitError: there are no test images, some could be read and not be predicted, or there is no memory to read
            them; the submission is valid all the same, and holds what was found of the others.
    """
    begin = clock()
    log.info("python %s, %s", sys.version.split()[0], ", ".join(f"{name} {installed(name)}" for name in PACKAGES))
    devices = [torch.device("cuda", number) for number in range(torch.cuda.device_count())] or [CPU]
    names = [torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu" for device in devices]
    log.info("devices: %s", ", ".join(names))
    ids = list(submission.read(output))
    paths = inputs.find_images(competition, ids)
    log.info("%s to predict, %d of them there", counted(len(ids), "image"), len(paths))
    if not paths:
        raise KitError(
            f"{competition}: none of {counted(len(ids), 'image')} is there: attach the competition to the kernel"
        )
    work = _Work(read_bundle(bundle), paths, deadline)

    def publish() -> None:
        masks = work.masks.rle()
        submission.write(output, [(name, masks.get(name, "-1")) for name in ids])

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
    filled = sum(mask != "-1" for mask in work.masks.rle().values())
    log.info("%s: %s, %d with a mask, in %.0f s", output, counted(len(ids), "row"), filled, clock() - begin)
    if work.failed:
        name, error = next(iter(work.failed.items()))
        raise KitError(
            f"{counted(len(work.failed), 'image')} cannot be predicted, {name} is the first "
            f"({type(error).__name__}: {error}): correct that and build the kernel again"
        )


@dataclass
class _Work:
    """Images on their way through all devices to masks, and what became of each."""

    trained: Trained
    paths: dict[str, Path]
    deadline: float
    shapes: dict[str, tuple[int, int]] = field(default_factory=dict)
    """(H, W) of each image that was read."""
    unread: dict[str, KitError] = field(default_factory=dict)
    """Why an image could not be read."""
    failed: dict[str, Exception] = field(default_factory=dict)
    """Why an image that was read has no answer."""

    def __post_init__(self) -> None:
        self._model = Model(self.trained.recipe, {}, None)  # for what needs no networks: each device loads its own
        found = thresholds_file.read(self.trained.thresholds)
        # The hidden test set comes as a whole, so that a share of its images can be given masks.
        self.masks = MaskEncoder(found.rule, found.share)
        self._models = functools.cache(functools.partial(variants, self.trained))

    def run(self, devices: Sequence[torch.device], publish: Callable[[], None]) -> None:
        """Predicts until all is done or time is up; `publish` is called every minute."""
        most = self._model.batch_size * (MORE if devices[0].type == "cuda" else 1)
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

        def left() -> float:
            return (len(ids) - len(self.masks) - len(self.unread) - len(self.failed)) / len(devices)

        with contextlib.closing(read_ahead), ThreadPoolExecutor(WORKERS) as pool, ThreadPoolExecutor() as workers:
            begun = [workers.submit(self._serve, rungs(device, most), take, left, pool) for device in devices]
            while wait(begun, EVERY).not_done:
                publish()
        for worker in begun:
            worker.result()

    def _serve(
        self,
        ladder: list["Rung"],
        take: Callable[[], tuple[list[str], list[Image]] | None],
        left: Callable[[], float],
        pool: ThreadPoolExecutor,
    ) -> None:
        """Predicts batches on one device, as fast as the images that are left ask for."""
        pace, begun = Pace(efforts(self.trained)), clock()
        pending: list[Future[None]] = []
        while clock() <= self.deadline and (batch := take()) is not None:
            names, images = batch
            level = pace.choose(left(), self.deadline - clock())

            def answer(rung: Rung, some: Sequence[Image], level: int = level) -> list[Map]:
                return list(replace(self._models(rung.device)[level], half=rung.half).inputs(some))

            answers = answer_all(ladder, answer, images)
            wait(pending)  # no more than one batch's maps wait to be made masks
            pending = [pool.submit(self._finish, name, found) for name, found in zip(names, answers, strict=True)]
            pace.add((clock() - begun) / len(images), level)
            begun = clock()
        wait(pending)

    def _read(self, name: str) -> Image:
        """An image of any size and kind."""
        try:
            pixels = pictures.read_image(self.paths[name]).pixels
            self.shapes[name] = pixels.shape
            return self._model.resized(pixels)
        except (KitError, MemoryError):
            raise
        except Exception as error:
            raise KitError(f"{self.paths[name]}: cannot be read ({type(error).__name__}: {error})") from error

    def _finish(self, name: str, found: Map | Exception) -> None:
        """From an image's map to its mask at its own size."""
        try:
            if isinstance(found, Exception):
                raise found
            levels, probability = found
            self.masks.add(name, maps.upsample(levels, self.shapes[name]), probability)
        except Exception as error:
            self.failed[name] = error


class Rung(NamedTuple):
    """A way to predict some images."""

    device: torch.device
    half: bool
    """In the recipe's precision; False: in 32 bits."""
    images: int
    """At once."""

    def __str__(self) -> str:
        return f"{self.images} at once, {'' if self.half else '32 bits, '}{self.device}"


def rungs(device: torch.device, most: int) -> list[Rung]:
    """The ways to predict on a device, from the fastest to the safest: fewer at once, in 32 bits, on the CPU.

    An image that fails alone on the CPU is tried there once more: not every fault comes back.

    >>> [str(rung) for rung in rungs(torch.device("cuda", 0), 4)]
    ['4 at once, cuda:0', '2 at once, cuda:0', '1 at once, cuda:0', '1 at once, 32 bits, cuda:0', '1 at once, cpu']
    """
    sizes = [most]
    while sizes[-1] > 1:
        sizes.append(sizes[-1] // 2)
    safer = [Rung(device, False, 1)] if device.type == "cuda" else []
    return [*(Rung(device, True, size) for size in sizes), *safer, Rung(CPU, True, 1)]


def answer_all(
    ladder: list[Rung], answer: Callable[[Rung, Sequence[Image]], Sequence[Map]], images: Sequence[Image]
) -> list[Map | Exception]:
    """For each image what the first rung gives that copes with it, or the error of the last.

    Args:
        ladder: The ways to try; a rung for which the memory does not do is taken off it.
        answer: The answers for some images by a rung, all or none.
        images: A batch.
    """
    found: dict[int, Map] = {}
    errors: dict[int, Exception] = {}
    for rung, safer in zip(tuple(ladder), [*ladder[1:], None], strict=True):
        todo = [index for index in range(len(images)) if index not in found]
        if safer and safer[:2] == rung[:2] and len(todo) <= safer.images < rung.images:
            continue  # the next one does the same
        for start in range(0, len(todo), rung.images):
            some = todo[start : start + rung.images]
            try:
                found |= zip(some, answer(rung, [images[index] for index in some]), strict=True)
            except Exception as error:
                log.warning("%s, %s: %s: %s", counted(len(some), "image"), rung, type(error).__name__, error)
                errors |= dict.fromkeys(some, error)
                if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError) and safer:
                    ladder.remove(rung)
                    with contextlib.suppress(RuntimeError):
                        torch.cuda.empty_cache()
                    break
    return [found[index] if index in found else errors[index] for index in range(len(images))]


class Pace:
    """How much effort the time that is left allows an image.

    The first batch does not count: it pays for what is loaded and chosen once. Of the others the median of the last
    ten does, so that neither a slow one nor a slow hour is remembered.

    Args:
        efforts: Of the levels, falling: how often an image goes through a network.
    """

    def __init__(self, efforts: Sequence[int]) -> None:
        self._efforts = efforts
        self._units: deque[float] | None = None
        self._level = 0

    def add(self, seconds: float, level: int) -> None:
        """Takes the seconds of an image in a batch."""
        if self._units is None:
            self._units = deque(maxlen=10)
        else:
            self._units.append(seconds / self._efforts[level])

    def choose(self, images: float, seconds: float) -> int:
        """The level for the next batch: the first by which the images that are left are done in time, or the last."""
        if not self._units:
            return 0
        unit, last = statistics.median(self._units), len(self._efforts) - 1
        fitting = (level for level, effort in enumerate(self._efforts) if unit * effort * images <= seconds)
        level = next(fitting, last)
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


def efforts(trained: Trained) -> list[int]:
    """How often an image goes through a network, for each of `variants`."""
    counts = list(map(len, trained.weights.values()))
    found = [sum(min(count, folds) for count in counts) for folds in range(max(counts), 0, -1)]
    return [*(2 * effort for effort in found), found[-1]] if trained.recipe.tta else found


def variants(trained: Trained, device: torch.device) -> list[Model]:
    """The whole model on a device, and what is left of it with ever fewer folds, and at last without TTA.

    Raises:
        KitError: a file of the bundle is broken.
    """
    whole = Model.load(trained, device)
    cut = [
        replace(whole, models={name: models[:folds] for name, models in whole.models.items()})
        for folds in range(max(map(len, whole.models.values())), 0, -1)
    ]
    return [*cut, replace(cut[-1], mirrored=False)] if whole.recipe.tta else cut
