"""What `kit predict --save` leaves beside the submission: files of each image for other programs."""

import logging
from collections.abc import Sequence
from pathlib import Path

from kit.competition import pictures, rle, submission
from kit.core.progress import progress
from kit.inference import maps
from kit.recipes.schema import Recipe
from kit.report import saved
from kit.report.saved import Predicted
from kit.run import Run

log = logging.getLogger(__name__)


def save(target: Run, paths: dict[str, Path], recipe: Recipe, kinds: Sequence[str]) -> None:
    """Writes the predictions of a run's test images, or of any folder's, as files of these kinds.

    The masks are those of the submission, which may know the whole test set.

    Args:
        target: With maps and submission.
        paths: Files of the images.
        recipe: That predicted.
        kinds: Of `saved.KINDS`.

    Raises:
        KitError: a kind cannot be written of an image.
    """
    predicted, texts = maps.open_maps(target.test(recipe.tta)), submission.read(target.submission)
    there = [row for row, image in enumerate(predicted.ids) if image not in predicted.unreadable]

    def one(row: int) -> Predicted:
        image = predicted.ids[row]
        shape = pictures.shape_of(paths[image])
        return Predicted(
            image=image,
            path=paths[image],
            levels=maps.upsample(predicted[row], shape),
            mask=rle.decode(texts.get(image, rle.EMPTY), shape, image),
            recipe=recipe.name,
        )

    saved.save(kinds, map(one, progress(there, "saving", len(there))), target.folder)
    log.info("%s: %d images saved as %s", target.folder, len(there), ", ".join(kinds))
