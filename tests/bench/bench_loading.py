"""A training sample against the winner's way of loading one, and the cache against the bare decoding."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pydicom
from pydicom.encaps import generate_frames

from kit import phantom
from kit.competition import layout
from kit.core.parallel import ordered
from kit.data.augmentation import GROUPS, Augmentation
from kit.data.cache import Cache, ensure
from kit.data.dataset import Samples
from kit.recipes.magnitudes import Magnitudes
from tests.bench.measure import Row, in_turn

SIZE, FILES, ITEMS = 512, 32, 64


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
    augmentation = Augmentation(["A1", "A2", "A3", "A4"], SIZE)
    samples = Samples(cache, augmentation)
    import albumentations as A

    settings = Magnitudes()
    theirs = A.Compose([GROUPS[group](getattr(settings, group), SIZE) for group in ("A1", "A2", "A3", "A4")])

    def published(index: int) -> np.ndarray:
        image = cv2.resize(cv2.imread(str(folder / f"image{index}.png")), (SIZE, SIZE))
        mask = cv2.resize(cv2.imread(str(folder / f"mask{index}.png"), cv2.IMREAD_GRAYSCALE), (SIZE, SIZE))
        theirs.set_random_seed(index)
        sample = theirs(image=image, mask=mask)
        return ((sample["image"] / 255.0 - 0.45) / 0.225).astype(np.float32).transpose(2, 0, 1)

    def plain(index: int) -> None:
        seed = int(np.random.SeedSequence([0, 0, index]).generate_state(1)[0])  # as `Samples` seeds it
        augmentation(np.array(cache.images[index]), np.array(cache.masks[index]), seed)

    def each(read) -> None:
        for index in range(ITEMS):
            read(index % FILES)

    ours, reference, bare = in_turn(partial(each, samples.__getitem__), partial(each, published), partial(each, plain))
    return Row(
        f"a sample at {SIZE} px with A1 to A4, one thread",
        ours.per(ITEMS),
        reference.per(ITEMS),
        "the winner's way",
        bare.per(ITEMS),
        "copy and augmentation alone",
        "albumentations: elastic and grid distortion",
        times=10,
        why="the augmentation is the same arithmetic in both, and nearly all of ours",
    )


def _cache(folder: Path, competition: layout.Competition) -> list[Row]:
    paths = list(competition.train.values())

    def bare(path: Path) -> None:
        frame = next(generate_frames(pydicom.dcmread(path).PixelData, number_of_frames=1))
        pixels = cv2.imdecode(np.frombuffer(frame, np.uint8), cv2.IMREAD_GRAYSCALE)
        cv2.resize(pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)

    made = iter(range(1000))

    def ours() -> None:
        ensure(competition, [SIZE], folder / f"cache{next(made)}")

    cached, decoded = in_turn(ours, lambda: list(ordered(bare, paths)))
    return [
        Row(
            f"cache of an image at {SIZE} px, all cores",
            cached.per(FILES),
            limit=decoded.per(FILES),
            bound="decoding and resizing alone, all cores",
            bottleneck="JPEG decoding",
            share=1 / 1.3,
            why="files are hashed and checked, masks drawn and resized with their specks, rows brought to the disk",
        )
    ]
