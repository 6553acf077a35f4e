"""The verb `predict`: maps and masks of the test images, or of any folder of DICOM files, and the submission."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kit.competition import layout, submission
from kit.core.distributed import ALONE
from kit.core.errors import KitError
from kit.core.files import is_current, locked, mark, read_json, sha256
from kit.core.progress import progress
from kit.core.resumable import key_of, keys_path
from kit.inference import maps, predictions, rules
from kit.inference.share import MaskTexts
from kit.recipes.schema import Recipe
from kit.run import Run
from kit.thresholds import cross_validation
from kit.workflows import ensemble, thresholds
from kit.workflows.workspace import logged, open_data, run_of

log = logging.getLogger(__name__)


def predict(
    data: Path, recipe: Recipe, images: Path | None = None, out: Path | None = None, skip_bad: bool = False
) -> tuple[Path, bool]:
    """Predicts the test images, or any folder of DICOM files, and writes the submission.

    Args:
        data: The competition's folder, whose run of the recipe is used.
        recipe: Of the run.
        images: A folder of DICOM files instead of the test images.
        out: Where the maps (`test.npy`) and the submission of `images` go.
        skip_bad: Files that cannot be read get an empty mask instead of an error.

    Returns:
        The submission, and whether anything was to do.

    Raises:
        KitError: there is no trained run, or a file cannot be read.
    """
    competition = open_data(data)
    run = run_of(competition, recipe)
    run.agree(recipe)
    if images is None:
        paths, order = competition.test, competition.sample_ids
        target = run
    else:
        if not images.is_dir():
            raise KitError(f"--images {images}: there is no such folder: give one with DICOM files")
        paths = layout.find_dicoms(images)
        order, target = tuple(paths), Run(out or Path("predictions") / images.name)
    if not order:
        raise KitError(f"{images or competition.folder}: has no test images: nothing can be predicted")
    if not run.thresholds.is_file():
        raise KitError(f"{run.folder}: is not trained to its thresholds: run `make train` first")
    if not thresholds.fits(run, recipe):
        kind = "without" if recipe.tta else "with"
        raise KitError(f"{run.thresholds}: was chosen on maps {kind} TTA: run `make train` with this setting of tta")
    with logged(run), locked(target.test()):
        paths = predictions.readable(paths, competition.shape, skip_bad)
        made = [
            predictions.predict_folder(run.member(name), part, paths, target.member(name), competition.shape, ALONE)
            for name, part in recipe.parts().items()
        ]
        if recipe.members:
            made.append(ensemble.average(target, recipe, Run.test, ALONE))
        if recipe.is_gated:
            ensemble.stack_test(run, recipe, target)
        made.append(write_submission(target, recipe, run.thresholds, order, competition.shape, images is None))
    return target.submission, any(made)


def write_submission(
    target: Run, recipe: Recipe, thresholds: Path, order: Sequence[str], shape: tuple[int, int], whole: bool
) -> bool:
    """Writes the masks of predicted images as a submission, unless it is there; whether it was to do.

    Args:
        target: With the maps of the images.
        recipe: That made them.
        thresholds: The rule from map to mask.
        order: Ids that the submission answers; an image without a map counts as healthy.
        shape: (H, W) of the images.
        whole: They are a whole test set, of which a share that was chosen out of fold gets masks.
    """
    source, presence = target.test(recipe.tta), target.test(recipe.tta, "classify")
    made_from = {
        "maps": [source.name, sha256(keys_path(source))],
        "presence": sha256(presence) if recipe.is_gated else None,
        "thresholds": sha256(thresholds),
        "ids": key_of(*order).hex(),
        "whole": whole,
    }

    def with_content() -> dict:
        return made_from | {"content": sha256(target.submission)}

    if target.submission.is_file() and is_current(target.submission, with_content()):
        return False
    stack, share = maps.open_maps(source), read_json(thresholds).get("share")
    found = MaskTexts(rules.read(thresholds), share if whole else None)
    if share is not None and not whole:
        log.info("each image's mask depends on itself alone: a share of masks is only for a whole test set")
    given = [(maps.upsample(levels, shape) for levels in stack)]
    if recipe.is_gated:
        given.append(np.load(presence))
    for image_id, *inputs in progress(zip(stack.ids, *given, strict=True), "masks", len(stack)):
        found.add(image_id, *inputs)
    masks = found.decided()
    submission.write(target.submission, [(image_id, masks.get(image_id, "-1")) for image_id in order])
    mark(target.submission, with_content())
    _compare_share(sum(text != "-1" for text in masks.values()), len(masks), read_json(thresholds).get("masked"))
    return True


def _compare_share(masked: int, images: int, expected: float | None) -> None:
    """Says how many images got a mask, and whether that is far from what the thresholds promise."""
    if expected is None:
        log.info("%d of %d images get a mask", masked, images)
        return
    log.info(
        "%d of %d images get a mask, %.1f %% (out of fold %.1f %%)",
        masked,
        images,
        100 * masked / images,
        100 * expected,
    )
    if cross_validation.is_unlikely(masked, images, expected):
        log.warning(
            "that is far from what the thresholds were chosen on: these images are of another kind, or the mean of "
            "several networks is surer or less sure than each of them: see what a recipe with a hold-out gives"
        )
