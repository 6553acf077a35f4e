"""The verb `view`: images with their truth and what a run makes of them, as pictures."""

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
    """Draws training images with their out-of-fold masks, test images with the masks of the submission.

    Args:
        recipe: Of the run; where it has no map of an image, the truth is drawn alone.
        images: Ids, or paths of DICOM files that are named so.
        out: Folder of the pictures; None: view/ of the run.

    Returns:
        The pictures, one an image.
    """
    competition = workspace.open_data(data)
    run = workspace.run(competition, recipe)
    solution = scoring.read_solution(competition.solution_path) if competition.solution_path else None
    truths = {**(solution.masks if solution else {}), **competition.labels}
    written, files = [], {**competition.train, **competition.test}
    for image in (image_files.without_ending(Path(given).name) for given in images):
        if image not in files:
            tables = " and ".join(path.name for path in (competition.labels_path, competition.sample_path) if path)
            how = f"give an id of {tables}, or the path of its DICOM file"
            raise KitError(f"{image}: is no image of {competition.folder}: {how}{did_you_mean(image, files)}")
        radiograph = dicom.read(files[image])
        known = image in truths
        truth = rle.union(truths.get(image, ()), radiograph.pixels.shape, image)
        found = predicted(run, image, radiograph.pixels.shape)
        layers = [
            (mask, *style)
            for mask, style in ((truth if known else None, (TRUTH, "truth")), (found, (FOUND, "mask")))
            if mask is not None
        ]
        caption = image
        if known and found is not None:
            caption = f"Dice {scoring.dice(found, truth):.3f} · {image}"
        target = (Path(out) if out else run.folder / "view") / f"{image}.png"
        gallery.write(target, gallery.picture(radiograph.pixels, layers, caption))
        written.append(target)
    return written


def predicted(run: Run, image: str, shape: tuple[int, int]) -> np.ndarray | None:
    """The run's mask of an image, bool (H, W); None where it has none.

    That of a test image is the submission's, where how many images get one may depend on all of them; that of a
    training image is made of its out-of-fold map by the rule's own thresholds.
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
