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
from kit.core.parallel import batches, map_in_order
from kit.core.store import content_of, key_of
from kit.data import resize
from kit.inference import ensemble
from kit.inference.maps import QUANTISER
from kit.run import Trained

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from kit.inference.model import Map


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
    """A file of what a model answers, one row per image."""

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


def images_of(paths: dict[str, Path], shape: tuple[int, int] | None, *, skip_unreadable: bool) -> Images:
    """DICOM files or pictures as images to predict.

    Args:
        shape: (H, W) that each must have; None: any.
        skip_unreadable: Record files that cannot be read instead of raising.
    """
    files = list(paths.values())

    def read(index: int) -> np.ndarray:
        return pictures.read_image(files[index], shape).pixels

    return Images(
        tuple(paths), tuple(key_of(content) for content in map_in_order(content_of, files)), read, skip_unreadable
    )


def row_keys(weights: Sequence[Path], keys: Sequence[bytes]) -> list[bytes]:
    """What each image's stored prediction is made from: weights, image, versions of reader, resizer and quantiser."""
    made_from = b"".join(key_of(sha256(path)) for path in weights)
    return [key_of(levels.READER, resize.RESIZER, QUANTISER, made_from, key) for key in keys]


def files_of(trained: Trained, place: Callable[[bool, str], Path], images: Images) -> list[File]:
    """What is kept of a model's answers, without TTA and with: maps, and of classifiers probabilities.

    Args:
        place: Where the file of an answer lies, by TTA and role, such as `run.test`.
    """
    recipe, keys = trained.recipe, dict[str, list[list[bytes]]]()
    for part in recipe.parts():
        keys.setdefault(part.role, []).append(row_keys(trained.weights[part.label], images.keys))
    files = []
    for role, members in keys.items():
        for tta in (False, True):
            if not recipe.members:
                joined = members[0]
            elif role == "segment":
                joined = ensemble.mean_keys(members, recipe.weights)
            else:
                stack = sha256(trained.stacks[tta])
                joined = [key_of(stack, *row) for row in zip(*members, strict=True)]
            files.append(File(place(tta, role), joined, tta, role))
    return files


def predict(trained: Trained, files: Sequence[File], images: Images, team: Team, what: str) -> bool:
    """Makes what is missing of what a model answers to some images; whether any prediction was missing.

    Raises:
        KitError: images cannot be read, each with its reason, and are not to be skipped; a file of weights is broken.
    """
    recipe = trained.recipe
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
    from kit.inference.model import Model

    model = Model.load(trained, maps_only=True)  # before anything is changed: its files may be broken

    def make(rows: Sequence[int]) -> store.Made:
        failed: list[tuple[int, KitError]] = []

        def read(index: int) -> dict[int, np.ndarray]:
            return model.resized(images.read(rows[index]))

        def leave_out(index: int, error: KitError) -> None:
            failed.append((rows[index], error))

        for indices, batch in batches(len(rows), read, model.batch_size, what, leave_out):
            for index, answers in zip(indices, model.answers(batch), strict=True):
                yield rows[index], [file.row(answers) for file in files]
        yield from failed

    done, errors = store.fill(arrays, make, team, images.skip_unreadable)
    dicom.report_bad(errors, images.skip_unreadable)
    return done
