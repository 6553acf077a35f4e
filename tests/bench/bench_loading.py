"""A training sample against the winner's way of loading one, and the cache against the bare decoding."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import albumentations as A
import cv2
import numpy as np
import pydicom
from pydicom.encaps import generate_frames

from kit import phantom
from kit.competition import layout
from kit.core import allocator
from kit.core.parallel import map_in_order
from kit.data.augmentation import DEFAULTS, Augmentation
from kit.data.cache import Cache, ensure
from kit.data.dataset import Samples
from tests.bench.measure import Row, in_turn

SIZE, FILES, EPOCHS, TIMES = 512, 32, 4, 4


def rows() -> list[Row]:
    """A row a measurement."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        phantom.write(folder / "data", train=FILES, test=1, size=1024)
        competition = layout.open_folder(folder / "data")
        return [_item(folder, ensure(competition, [SIZE], folder / "kept")[SIZE]), *_cache(folder, competition)]


def _item(folder: Path, cache: Cache) -> Row:
    """The winner's: PNG files of image and mask at 1024², resized, augmented as RGB and normalised in the worker."""
    for index in range(FILES):
        for what, array, scale in (("image", cache.images, 1), ("mask", cache.masks, 255)):
            large = cv2.resize(np.array(array[index]) * scale, (1024, 1024))
            cv2.imwrite(str(folder / f"{what}{index}.png"), large)
    augmentation = Augmentation(["flip", "light", "distortion", "crop"], SIZE)
    samples = Samples(cache, augmentation)
    theirs = _public()

    def ours(epoch: int, index: int) -> None:
        samples[epoch, index]

    def published(epoch: int, index: int) -> np.ndarray:
        image = cv2.resize(cv2.imread(str(folder / f"image{index}.png")), (SIZE, SIZE))
        mask = cv2.resize(cv2.imread(str(folder / f"mask{index}.png"), cv2.IMREAD_GRAYSCALE), (SIZE, SIZE))
        sample = theirs(image=image, mask=mask)
        return ((sample["image"] / 255.0 - 0.45) / 0.225).astype(np.float32).transpose(2, 0, 1)

    def plain(epoch: int, index: int) -> None:
        seed = int(np.random.SeedSequence([0, epoch, index]).generate_state(1)[0])  # as `Samples` seeds it
        augmentation(np.array(cache.images[index]), np.array(cache.masks[index]), seed)

    def each(read) -> None:
        for epoch in range(EPOCHS):
            for index in range(FILES):
                read(epoch, index)

    found, reference, bare = in_turn(partial(each, ours), partial(each, published), partial(each, plain))
    return Row(
        f"a sample at {SIZE} px with A1 to A4, one thread",
        found.per(EPOCHS * FILES),
        reference.per(EPOCHS * FILES),
        "the winner's way",
        bare.per(EPOCHS * FILES),
        "copy and augmentation alone",
        "remapping by the distortions, seeding, resizing the crop",
        times=10,
        why="OpenCV's remapping and resizing are the same in both",
    )


def _public() -> A.Compose:
    """The pipeline of 2019 in which the paper's groups have the winner's transforms, as the library has them today."""
    light, distortion, reflect = DEFAULTS.light, DEFAULTS.distortion, {"border_mode": cv2.BORDER_REFLECT_101, "p": 1}
    return A.Compose(
        [
            A.HorizontalFlip(p=DEFAULTS.flip.probability),
            A.OneOf(
                [
                    A.RandomBrightnessContrast(0, light.contrast, p=1),
                    A.RandomGamma((100 * light.gamma[0], 100 * light.gamma[1]), p=1),
                    A.RandomBrightnessContrast(light.brightness, 0, p=1),
                ],
                p=light.probability,
            ),
            A.OneOf(
                [
                    A.ElasticTransform(distortion.elastic_alpha, distortion.elastic_sigma, **reflect),
                    A.GridDistortion(distort_limit=distortion.grid, normalized=False, **reflect),
                    A.OpticalDistortion(distort_limit=distortion.optical, **reflect),
                ],
                p=distortion.probability,
            ),
            A.RandomSizedCrop((round(DEFAULTS.crop.smallest * SIZE), SIZE), (SIZE, SIZE), p=DEFAULTS.crop.probability),
        ],
        seed=0,
    )


def _cache(folder: Path, competition: layout.Competition) -> list[Row]:
    # Each file several times: a cache of few images would be measured by what is done once.
    train = {f"{name}-{time}": path for name, path in competition.train.items() for time in range(TIMES)}
    labels = {name: competition.labels[name.rpartition("-")[0]] for name in train}
    competition = replace(competition, train=dict(sorted(train.items())), labels=labels)
    paths = list(train.values())
    allocator.keep_freed_memory()  # as in training

    def bare(path: Path) -> None:
        frame = next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))
        pixels = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_GRAYSCALE)
        cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)

    made = iter(range(1000))

    def ours() -> None:
        ensure(competition, [SIZE], folder / f"cache{next(made)}")

    cached, decoded = in_turn(ours, lambda: list(map_in_order(bare, paths)))
    return [
        Row(
            f"cache of an image at {SIZE} px, all cores",
            cached.per(len(paths)),
            limit=decoded.per(len(paths)),
            bound="decoding and resizing alone, all cores",
            bottleneck="JPEG decoding",
            share=1 / 1.3,
            why="headers and streams are checked by pydicom and Pillow (0.7 ms), rows and masks made, files hashed",
        )
    ]
