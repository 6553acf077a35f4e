"""What a kernel runs on Kaggle: from test images and a bundle to a valid submission, without a network.

Whatever goes wrong with an image, there is a row for it; whatever goes slowly, the submission is there in time: it is
written at once, with empty masks, and again as it fills; and where the time would not do for all images, they are
predicted with fewer folds, then without TTA.
"""

import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import torch

from kit.competition import dicom, image_files, submission
from kit.core.errors import KitError
from kit.data.resize import resize_image
from kit.inference import ensemble, maps, predict, thresholds_file
from kit.inference.model import Model
from kit.inference.share import MaskTexts
from kit.kernel.bundle import read_bundle, read_manifest

log = logging.getLogger(__name__)

PACKAGES = ("kit", "torch", "torchvision", "timm", "segmentation-models-pytorch", "numpy", "pydicom", "safetensors")
EVERY = 60.0
"""Seconds between two writings of the submission."""
clock = time.monotonic


def run(bundle: Path, competition: Path, output: Path, deadline: float) -> None:
    """Predicts the test images with the bundle's networks and rule, and writes the submission.

    Args:
        bundle: Folder of the verified bundle.
        competition: Folder of the competition's files, unpacked or as archives.
        output: The submission to write.
        deadline: When to stop predicting, by `time.monotonic()`; images that are left get an empty mask.

    Raises:
        KitError: there are no test images, or the submission is not valid.
    """
    begin = clock()
    log.info("python %s, %s", sys.version.split()[0], ", ".join(f"{name} {_version(name)}" for name in PACKAGES))
    log.info("device: %s", torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu")
    shape = read_manifest(bundle).shape
    ids, paths = find_test(competition)
    log.info("%d images to predict, %d of them there", len(ids), len(paths))

    def publish(masks: dict[str, str]) -> None:
        submission.write(output, [(name, masks.get(name, "-1")) for name in ids])

    publish({})
    masks, unread = _predict(bundle, paths, shape, deadline, publish)
    for reason in unread.values():
        log.warning("left empty: %s", reason)
    late = [name for name in paths if name not in masks and name not in unread]
    if late:
        log.warning("left empty, time was up: %d of %d images: %s", len(late), len(paths), " ".join(late))
    if absent := [name for name in ids if name not in paths]:
        log.warning("left empty, no such file: %s", " ".join(absent))
    publish(masks)
    submission.check(output, ids, shape)
    filled = sum(mask != "-1" for mask in masks.values())
    log.info("%s: %d rows, %d with a mask, in %.0f s", output, len(ids), filled, clock() - begin)


def find_test(folder: Path) -> tuple[list[str], dict[str, Path]]:
    """Ids to submit, in their order, and the files that are there of them, sorted by id.

    Args:
        folder: The competition's folder; archives in it are unpacked elsewhere.

    Raises:
        KitError: there is no sample submission, or none of its images.
    """
    places = [folder, *_unpacked(folder)]
    samples = sorted(path for place in places for path in place.rglob("*sample_submission.csv"))
    if not samples:
        raise KitError(f"{folder}: has no file *sample_submission.csv: attach the competition to the kernel")
    ids = list(submission.read(max(samples, key=lambda path: "stage_2" in path.name)))
    wanted = set(ids)
    there = [image_files.find(place, pictures_too=False, by_place=False) for place in places]
    found = {name: path for images in there for name, path in images.items() if name in wanted}
    if not found:
        raise KitError(f"{folder}: has none of the {len(ids)} images of {samples[0].name}: attach the competition")
    return ids, dict(sorted(found.items()))


def _unpacked(folder: Path) -> Iterator[Path]:
    for archive in sorted(folder.rglob("*.zip")):
        target = Path(tempfile.mkdtemp(prefix="kit-"))
        shutil.unpack_archive(archive, target)
        yield target


def _predict(
    bundle: Path,
    paths: dict[str, Path],
    shape: tuple[int, int],
    deadline: float,
    publish: Callable[[dict[str, str]], None],
) -> tuple[dict[str, str], dict[str, KitError]]:
    """RLE text of each image that was predicted in time, and why each unreadable one was not."""
    trained = read_bundle(bundle)
    whole = Model.load(trained)
    ladder = lighter(whole, trained.stacks[False])
    unread: dict[str, KitError] = {}
    masks = MaskTexts(
        whole.rule, thresholds_file.read(trained.thresholds).share
    )  # the hidden test set comes as a whole

    def predict_from(todo: list[str], batch: int) -> None:
        begun = written = clock()

        def read(index: int) -> dict[int, np.ndarray]:
            pixels = dicom.read(paths[todo[index]], shape).pixels
            return {size: resize_image(pixels, size) for size in whole.sizes}

        def left_out(index: int, error: KitError) -> None:
            unread[todo[index]] = error

        for indices, images in predict.batches(len(todo), read, batch, "predicting", left_out):
            for index, (levels, probability) in zip(indices, ladder[0].inputs(images), strict=True):
                masks.add(todo[index], maps.upsample(levels, shape), probability)
                if clock() > deadline:
                    return
            now = clock()
            left = len(paths) - len(masks) - len(unread)
            step_down(ladder, (now - begun) / max(1, len(indices)), left, deadline - now)
            begun = now
            if now - written > EVERY:
                publish(masks.decided())
                written = now

    batch = whole.batch_size
    while True:
        try:
            predict_from([image_id for image_id in paths if image_id not in masks and image_id not in unread], batch)
            break
        except torch.cuda.OutOfMemoryError:
            if batch == 1:
                raise
            batch //= 2
            log.warning("not enough memory: going on with batches of %d", batch)
    return masks.decided(), unread


def lighter(whole: Model, plain_stack: Path) -> list[Model]:
    """The system, and what is left of it with ever fewer folds, and at last without TTA.

    Args:
        whole: With all its networks.
        plain_stack: File of the classifying members' stack without TTA, where the recipe is gated.
    """
    most = max(map(len, whole.models.values()))
    cut = [
        replace(whole, models={name: models[:folds] for name, models in whole.models.items()})
        for folds in range(most, 0, -1)
    ]
    if not whole.recipe.tta:
        return cut
    stack = ensemble.read_stack(plain_stack, whole.stack.members) if whole.stack else None
    return [*cut, replace(cut[-1], mirrored=False, stack=stack)]


def step_down(ladder: list[Model], seconds: float, images: int, left: float) -> None:
    """Removes from the ladder's top what takes too long for the images that are left.

    Args:
        ladder: Models by their effort, the first of which has been predicting.
        seconds: That an image has taken it.
        images: Still to be predicted.
        left: Seconds to do it in.
    """
    unit = seconds / ladder[0].effort
    before = ladder[0]
    while len(ladder) > 1 and unit * ladder[0].effort * images > left:
        ladder.pop(0)
    if ladder[0] is not before:
        folds = max(map(len, ladder[0].models.values()))
        tta = "with" if ladder[0].mirrored else "without"
        log.warning("too slow for %d more images in %.0f s: going on with %d folds, %s TTA", images, left, folds, tta)


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "-"
