"""The verb `view`: pictures of images with their truth and the masks of a run."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kit.competition import dicom, image_files, rle, scoring, submission
from kit.core.errors import KitError, did_you_mean
from kit.inference import maps, thresholds_file
from kit.inference.masks import stored_masks
from kit.recipes.schema import Recipe
from kit.report import gallery
from kit.report.gallery import FOUND, TRUTH
from kit.run import Run
from kit.workflows.workspace import Workspace


def view(
    workspace: Workspace, data: Path | str, recipe: Recipe, images: Sequence[str], out: Path | str | None = None
) -> list[Path]:
    """Draws training images with their out-of-fold masks, and test images with the masks of the submission.

    Args:
        recipe: Recipe of the run; images that the run has not predicted are drawn with their truth alone.
        images: Ids, or paths of DICOM files named by their id.
        out: Folder of the pictures; default: view/ of the run.

    Returns:
        Path of the picture of each image.
    """
    competition = workspace.open_data(data)
    run = workspace.run(competition, recipe)
    solution = scoring.read_solution(competition.solution_path) if competition.solution_path else None
    truths = {**(solution.masks if solution else {}), **competition.labels}
    written, files = [], {**competition.train, **competition.test}
    for image in (image_files.without_ending(Path(name).name) for name in images):
        if image not in files:
            tables = " and ".join(path.name for path in (competition.labels_path, competition.sample_path) if path)
            how = f"give an id of {tables}, or the path of its DICOM file"
            raise KitError(f"{image}: is not an image of {competition.folder}: {how}{did_you_mean(image, files)}")
        pixels = dicom.read(files[image]).pixels
        truth = rle.union(truths[image], pixels.shape, image) if image in truths else None
        mask = predicted(run, image, pixels.shape)
        layers = [] if truth is None else [(truth, TRUTH, "truth")]
        layers += [] if mask is None else [(mask, FOUND, "mask")]
        dice = "" if truth is None or mask is None else f"Dice {scoring.dice(mask, truth):.3f} · "
        target = (Path(out) if out else run.folder / "view") / f"{image}.png"
        gallery.write(target, gallery.picture(pixels, layers, f"{dice}{image}"))
        written.append(target)
    return written


def predicted(run: Run, image: str, shape: tuple[int, int]) -> np.ndarray | None:
    """Returns the run's mask of an image, bool (H, W); None if there is none.

    The mask of a test image is read from the submission, since the number of masks may depend on all images. The mask
    of a training image comes from its out-of-fold map by the rule's own thresholds.
    """
    if not run.thresholds.is_file():
        return None
    if run.submission.is_file() and image in (rows := submission.read(run.submission)):
        return rle.decode(rows[image], shape, image)
    recipe, rule = run.read_recipe(), thresholds_file.read(run.thresholds).rule
    for fold in run.predicted_folds():
        path, classified = run.oof(fold, tta=recipe.tta), run.oof(fold, tta=recipe.tta, role="classify")
        if image in maps.read_ids(path):
            return dict(stored_masks(rule, path, classified, shape, [image])).get(image)
    return None
