"""Stored predictions of a trained model, out of fold or for any files; only missing or stale rows are computed."""

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
from kit.inference.maps import QUANTISER, mean_keys
from kit.run import Trained

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from kit.inference.model import Map


@dataclass(frozen=True)
class Images:
    """Images to predict, read one at a time."""

    ids: tuple[str, ...]
    keys: tuple[bytes, ...]
    """Store key of each image's content."""
    read: Callable[[int], np.ndarray]
    """Reads the i-th image, uint8 (H, W); raises a KitError if the image cannot be read."""
    skip_unreadable: bool = False
    """Whether to record images that cannot be read instead of raising."""


@dataclass(frozen=True)
class File:
    """A file of stored predictions, one row per image."""

    path: Path
    keys: Sequence[bytes]
    """Store key of each row."""
    tta: bool
    """Whether predictions are averaged with those of the mirror images."""
    role: str
    """`segment` for maps, `classify` for probabilities that the image has any pneumothorax."""

    def row(self, predicted: tuple["Map", ...]) -> npt.ArrayLike:
        """The row of an image, from its predictions without and with TTA."""
        prediction = predicted[self.tta]
        if self.role == "segment":
            return prediction.levels
        assert prediction.image_probability is not None, "a recipe with classifiers predicts it"
        return prediction.image_probability


def images_of(paths: dict[str, Path], shape: tuple[int, int] | None, *, skip_unreadable: bool) -> Images:
    """Makes `Images` of DICOM files or pictures.

    Args:
        shape: (H, W) that all images must have, optional.
        skip_unreadable: Record files that cannot be read instead of raising.
    """
    files = list(paths.values())

    def read(index: int) -> np.ndarray:
        return pictures.read_image(files[index], shape).pixels

    return Images(
        tuple(paths), tuple(key_of(content) for content in map_in_order(content_of, files)), read, skip_unreadable
    )


def row_keys(weights: Sequence[Path], keys: Sequence[bytes]) -> list[bytes]:
    """Returns each prediction's store key: of weights, image, and versions of reader, resizer and quantiser."""
    made_from = b"".join(key_of(sha256(path)) for path in weights)
    return [key_of(levels.READER, resize.RESIZER, QUANTISER, made_from, key) for key in keys]


def files_of(trained: Trained, place: Callable[..., Path], images: Images) -> list[File]:
    """Returns the files of a model's predictions, without TTA and with: maps, and probabilities by classifiers.

    Args:
        place: Function from TTA and role to the path of a file, such as `run.test`.
    """
    recipe, keys_by_role = trained.recipe, dict[str, list[list[bytes]]]()
    for part in recipe.parts():
        keys_by_role.setdefault(part.role, []).append(row_keys(trained.weights[part.label], images.keys))
    files = []
    for role, members in keys_by_role.items():
        for tta in (False, True):
            if not recipe.members:
                keys = members[0]
            elif role == "segment":
                keys = mean_keys(members, recipe.weights)
            else:
                stack = sha256(trained.stacks[tta])
                keys = [key_of(stack, *row) for row in zip(*members, strict=True)]
            files.append(File(place(tta=tta, role=role), keys, tta, role))
    return files


def predict(trained: Trained, files: Sequence[File], images: Images, team: Team, what: str) -> bool:
    """Computes the missing and stale rows of some files; returns whether there were any.

    Mirror images are predicted only if one of the files is with TTA.

    Args:
        what: Title of the progress bar.

    Raises:
        KitError: images cannot be read, each with its reason, and are not to be skipped; a file of weights is broken.
    """
    recipe = trained.recipe
    size = max((part.stages[-1].size for part in recipe.parts() if part.role == "segment"), default=0)
    probability = np.float32 if recipe.role == "classify" else np.float64  # by a network, or by a stack
    arrays = [
        store.Array(file.path, images.ids, file.keys, (size, size), np.uint8)
        if file.role == "segment"
        else store.Array(file.path, images.ids, file.keys, (), probability)
        for file in files
    ]
    if all(array.is_current(skip_unreadable=images.skip_unreadable) for array in arrays):
        return False
    from kit.inference.model import Model

    model = Model.load(trained, maps_only=True)  # before any file is changed, since weights may be broken

    def make(rows: Sequence[int]) -> store.Made:
        failed: list[tuple[int, KitError]] = []

        def read(index: int) -> dict[int, np.ndarray]:
            return model.resized(images.read(rows[index]))

        def skip(index: int, error: KitError) -> None:
            failed.append((rows[index], error))

        for indices, batch in batches(len(rows), read, model.batch_size, what, skip):
            answers = model.answers(batch, mirrored=any(file.tta for file in files))
            for index, predicted in zip(indices, answers, strict=True):
                yield rows[index], [file.row(predicted) for file in files]
        yield from failed

    done, errors = store.fill(arrays, make, team, skip_unreadable=images.skip_unreadable)
    dicom.report_bad(errors, skip_bad=images.skip_unreadable)
    return done
