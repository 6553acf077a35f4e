"""From trained weights to predictions on the disk: out of fold, or of any files. What is there is kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kit.competition import dicom, levels, pictures
from kit.core import store
from kit.core.distributed import Team
from kit.core.errors import KitError
from kit.core.files import sha256
from kit.core.parallel import ordered
from kit.core.store import key_of
from kit.data import resize
from kit.data.resize import resize_image
from kit.inference.maps import QUANTISER
from kit.recipes.schema import Recipe


@dataclass(frozen=True)
class Images:
    """Images to predict, read when asked for."""

    ids: tuple[str, ...]
    keys: tuple[bytes, ...]
    """What each was made from."""
    read: Callable[[int, int], np.ndarray]
    """The i-th image at a size, uint8 (size, size). It raises a KitError where the image cannot be read."""
    skip_unreadable: bool = False
    """Record images that cannot be read instead of raising."""


def images_of(paths: dict[str, Path], shape: tuple[int, int] | None, skip_unreadable: bool) -> Images:
    """DICOM files or pictures as images to predict.

    Args:
        paths: Files by id.
        shape: (H, W) that each must have; None: any.
        skip_unreadable: Record files that cannot be read instead of raising.
    """
    files = list(paths.values())

    def key(path: Path) -> bytes:
        try:
            return key_of(sha256(path))
        except KitError:  # reported, with all others, when it is decoded
            return key_of("unreadable")

    def read(index: int, size: int) -> np.ndarray:
        return resize_image(pictures.read_image(files[index], shape).pixels, size)

    return Images(tuple(paths), tuple(ordered(key, files)), read, skip_unreadable)


def row_keys(weights: Sequence[Path], keys: Sequence[bytes], backend: str = "torch") -> list[bytes]:
    """What the stored prediction of each image is made from.

    Weights, image, the versions of reader, resizer and quantiser, and the name of a backend other than torch.
    """
    made_from = b"".join(key_of(sha256(path)) for path in weights)
    named = [] if backend == "torch" else [backend]
    return [key_of(levels.READER, resize.RESIZER, QUANTISER, made_from, key, *named) for key in keys]


def predict_images(
    recipe: Recipe,
    weights: Sequence[Path],
    targets: tuple[Path, Path],
    images: Images,
    team: Team,
    what: str,
    backend: str = "torch",
) -> bool:
    """Makes what is missing of the maps, or of a classifier's probabilities, without and with TTA.

    Args:
        recipe: Of the networks.
        weights: Files of weights, averaged in the mean of their probabilities.
        targets: Files to make without and with TTA.
        images: What to predict.
        team: The processes that share the work.
        what: Title of the progress bar.
        backend: What the networks run on, of `kit.inference.backends`.

    Returns:
        Whether any prediction was missing.

    Raises:
        KitError: images cannot be read, each with its reason, and are not to be skipped; a file of weights is broken.
    """
    size = recipe.stages[-1].size
    shape, dtype = ((), np.float32) if recipe.role == "classify" else ((size, size), np.uint8)
    keys, skip = row_keys(weights, images.keys, backend), images.skip_unreadable
    arrays = [store.Array(target, images.ids, keys, shape, dtype) for target in targets]
    if all(array.is_current(skip) for array in arrays):
        return False
    from kit.inference import predict

    models = predict.load(recipe, weights, backend)  # before anything is changed: they may be broken

    def make(rows: Sequence[int]) -> store.Made:
        failed: list[tuple[int, KitError]] = []
        yield from (
            (rows[index], maps)
            for index, *maps in predict.maps(
                models,
                len(rows),
                lambda index: images.read(rows[index], size),
                recipe,
                what,
                lambda index, error: failed.append((rows[index], error)),
            )
        )
        yield from failed

    done, errors = store.fill(arrays, make, team, skip)
    dicom.report_bad(errors, skip)
    return done
