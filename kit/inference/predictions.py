"""From trained weights to predictions on the disk: out of fold, or of any files. What is there is kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from kit.competition import dicom, levels, pictures
from kit.core import store
from kit.core.distributed import Team
from kit.core.errors import KitError
from kit.core.files import sha256
from kit.core.parallel import ordered
from kit.core.store import key_of
from kit.data import resize
from kit.inference.maps import QUANTISER
from kit.recipes.schema import Recipe

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from kit.inference.model import Map, Model


@dataclass(frozen=True)
class Images:
    """Images to predict, read when asked for."""

    ids: tuple[str, ...]
    keys: tuple[bytes, ...]
    """What each was made from."""
    read: Callable[[int], np.ndarray]
    """The i-th image, uint8 (H, W). It raises a KitError where the image cannot be read."""
    skip_unreadable: bool = False
    """Record images that cannot be read instead of raising."""


@dataclass(frozen=True)
class File:
    """A file of what a model answers, a row an image."""

    path: Path
    keys: Sequence[bytes]
    """What each row is made from."""
    tta: bool
    """Whether the answers are averaged with those to the mirror images."""
    role: str
    """`segment`: maps; `classify`: probabilities that the image has any pneumothorax."""

    def row(self, answers: tuple["Map", "Map"]) -> npt.ArrayLike:
        """Its row of an image, of the model's answers without and with TTA."""
        answer = answers[self.tta]
        if self.role == "segment":
            return answer.levels
        assert answer.image_probability is not None, "classifiers answer"
        return answer.image_probability


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

    def read(index: int) -> np.ndarray:
        return pictures.read_image(files[index], shape).pixels

    return Images(tuple(paths), tuple(ordered(key, files)), read, skip_unreadable)


def row_keys(weights: Sequence[Path], keys: Sequence[bytes], backend: str = "torch") -> list[bytes]:
    """What the stored prediction of each image is made from.

    Weights, image, the versions of reader, resizer and quantiser, and the name of a backend other than torch.
    """
    made_from = b"".join(key_of(sha256(path)) for path in weights)
    named = [] if backend == "torch" else [backend]
    return [key_of(levels.READER, resize.RESIZER, QUANTISER, made_from, key, *named) for key in keys]


def predict_part(
    recipe: Recipe,
    weights: Sequence[Path],
    targets: tuple[Path, Path],
    images: Images,
    team: Team,
    what: str,
    backend: str = "torch",
) -> bool:
    """Makes what is missing of the maps, or of a classifier's probabilities, of one part of a recipe.

    Args:
        recipe: Of the part.
        weights: Files of weights, averaged in the mean of their probabilities.
        targets: Files to make without and with TTA.
        images: What to predict.
        team: The processes that share the work.
        what: Title of the progress bar.
        backend: What the networks run on, of `kit.inference.backends`.

    Returns:
        Whether any prediction was missing.

    Raises:
        KitError: as `predict_images`.
    """

    def load() -> "Model":
        from kit.inference import predict
        from kit.inference.model import Model

        return Model(recipe, {recipe.label: predict.load(recipe, weights, backend)}, None)

    keys = row_keys(weights, images.keys, backend)
    files = [File(path, keys, tta, recipe.role) for tta, path in zip((False, True), targets, strict=True)]
    return predict_images(recipe, load, files, images, team, what)


def predict_images(
    recipe: Recipe, load: Callable[[], "Model"], files: Sequence[File], images: Images, team: Team, what: str
) -> bool:
    """Makes what is missing of what a model answers to some images.

    Args:
        recipe: Of the model.
        load: Gives the model; it is called where anything is missing.
        files: To make.
        images: What to predict.
        team: The processes that share the work.
        what: Title of the progress bar.

    Returns:
        Whether any prediction was missing.

    Raises:
        KitError: images cannot be read, each with its reason, and are not to be skipped; a file of weights is broken.
    """
    size = max((part.stages[-1].size for part in recipe.parts() if part.role == "segment"), default=0)
    probability = np.float32 if recipe.role == "classify" else np.float64  # a network's own, or a stack's
    arrays = [
        store.Array(file.path, images.ids, file.keys, (size, size), np.uint8)
        if file.role == "segment"
        else store.Array(file.path, images.ids, file.keys, (), probability)
        for file in files
    ]
    if all(array.is_current(images.skip_unreadable) for array in arrays):
        return False
    from kit.inference import predict

    model = load()  # before anything is changed: its files may be broken

    def make(rows: Sequence[int]) -> store.Made:
        failed: list[tuple[int, KitError]] = []

        def read(index: int) -> dict[int, np.ndarray]:
            return model.resized(images.read(rows[index]))

        def leave_out(index: int, error: KitError) -> None:
            failed.append((rows[index], error))

        for indices, batch in predict.batches(len(rows), read, model.batch_size, what, leave_out):
            for index, answers in zip(indices, model.answers(batch), strict=True):
                yield rows[index], [file.row(answers) for file in files]
        yield from failed

    done, errors = store.fill(arrays, make, team, images.skip_unreadable)
    dicom.report_bad(errors, images.skip_unreadable)
    return done
