"""The verb `predict`: maps and masks of the test images, or of any folder of DICOM files, and the submission."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from kit import lineage
from kit.competition import image_files, pictures, rle, submission
from kit.competition.shapes import Shape
from kit.core import store
from kit.core.distributed import ALONE
from kit.core.errors import KitError
from kit.core.files import copy, is_file_or_raise, locked, read_json, sha256, write_json
from kit.core.parallel import map_in_order
from kit.core.progress import progress
from kit.core.store import key_of
from kit.inference import maps, predictions, thresholds_file
from kit.inference.masks import MaskEncoder, stored_inputs
from kit.recipes.schema import Recipe
from kit.run import Run, Trained
from kit.thresholds import cross_validation
from kit.workflows import saving, thresholds
from kit.workflows.workspace import Workspace, check_maps, logged, open_run

log = logging.getLogger(__name__)


def predict(
    workspace: Workspace,
    data: Path | str,
    recipe: Recipe,
    *,
    images: Path | str | None = None,
    out: Path | str | None = None,
    skip_bad: bool = False,
    save: Sequence[str] = (),
    trained_on: str | None = None,
) -> tuple[Path, bool]:
    """Predicts the test images, or any folder of images, and writes the submission.

    Args:
        images: A folder of DICOM files or pictures instead of the test images.
        out: Where the maps (`test.npy`) and the submission of `images` go; None: `predictions/DATA-RECIPE/FOLDER`.
        save: Kinds of files to write of each image beside the submission, see `workflows.saving`.
        trained_on: Name of another data set whose run predicts these test images, as round 1's networks round 2's; into
            `runs/NAME/RECIPE@OTHER/`, where `tables` finds it.

    Returns:
        The submission, and whether anything was to do.

    Raises:
        KitError: there is no trained run, it is no longer what it was trained as, or a file cannot be read.
    """
    if trained_on is None:
        opened = open_run(workspace, data, recipe)
        run, competition = opened.run, opened.competition
        trained = run.trained(recipe)
        check_maps(opened)
    else:
        run, competition = Run(workspace.runs / trained_on / recipe.name), workspace.open_data(data)
        if not run.recipe_path.is_file():
            raise KitError(
                f"--trained-on {trained_on}: there is no run {run.folder}: train the recipe on that data first"
            )
        lineage.require_same_recipe(run, recipe)
        trained = run.trained(recipe)
    thresholds.put_recipes_rule_in_use(run, recipe)
    target, paths, order = run, competition.test, competition.sample_ids
    shape: Shape = competition.shapes
    if images is not None:
        if not Path(images).is_dir():
            raise KitError(f"--images {images}: there is no such folder: give one with DICOM files or pictures")
        paths, source = image_files.find(images), Path(images).resolve()
        place = workspace.predictions / f"{competition.name}-{recipe.name}" / source.name
        order, target, shape = tuple(paths), Run(Path(out) if out else place), pictures.shapes_of(paths)
        claim(target.folder, source)
    if not order:
        raise KitError(f"{competition.folder}: has no test images: nothing can be predicted")
    if trained_on is not None:
        target = workspace.run(competition, f"{recipe.name}@{trained_on}")
        copy(run.recipe_path, target.recipe_path)
        copy(run.thresholds, target.thresholds)
    done = predict_files(trained, paths, order, target, shape, skip_bad, whole=images is None)
    if save:
        saving.save(target, paths, recipe, save, competition.finding)
    return target.submission, done


def claim(folder: Path | str, images: Path | str) -> None:
    """Makes a folder the place of what is predicted of some images, so that those of others never mix with it.

    Raises:
        KitError: it holds something else, or predictions of other images.
    """
    folder = Path(folder)
    mark, remedy = folder / "images.json", "give another folder with --out, or remove it"
    if is_file_or_raise(mark):
        known = read_json(mark)
        if known != {"images": str(images)}:
            told = known.get("images") if isinstance(known, dict) else None
            raise KitError(f"{folder}: holds predictions of {told or 'other images'}: {remedy}")
    elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise KitError(f"{folder}: holds other files than predictions of {images}: {remedy}")
    write_json(mark, {"images": str(images)})


def predict_files(
    trained: Trained,
    paths: dict[str, Path],
    order: Sequence[str],
    target: Run,
    shape: Shape,
    skip_bad: bool,
    whole: bool,
) -> bool:
    """Makes the predictions and the submission of DICOM files; whether anything was missing.

    Args:
        order: Ids that the submission answers; an image without a file gets an empty mask.
        shape: (H, W) that all images must have, or of each.
        whole: They are a whole test set, of which a share that was chosen out of fold gets masks.

    Raises:
        KitError: files cannot be read and are not to be skipped; weights are broken.
    """
    with logged(target), locked(target.test()):
        images = predictions.images_of(paths, None if isinstance(shape, Mapping) else shape, skip_bad)
        files = predictions.files_of(trained, target.test, images)
        made_from = {
            "recipe": key_of(trained.recipe.dump()).hex(),
            "predictions": key_of(*(key for file in files for key in file.keys)).hex(),
            "thresholds": sha256(trained.thresholds),
            "ids": key_of(*order).hex(),
            "whole": str(whole),
        }
        # Begun before the maps are made, so that an old answer never stands beside new maps.
        answer = store.File(target.submission, made_from)
        answer.begin(keep_previous=True)
        if not answer.is_current():
            saving.discard(target.folder)
        predicted = predictions.predict(trained, files, images, ALONE, "predicting")
        written = answer.build(lambda: _write_submission(trained, target, order, shape, whole))
    return predicted or written


def _write_submission(trained: Trained, target: Run, order: Sequence[str], shape: Shape, whole: bool) -> None:
    """Writes the masks of predicted images, by the rule that is in use, as a submission."""
    tta, chosen = trained.recipe.tta, thresholds_file.read(trained.thresholds)
    if chosen.share is not None and not whole:
        log.info(
            "rate matching is off, since this is not a whole test set: the rule's own thresholds decide each image"
        )
    encoder = MaskEncoder(chosen.rule, chosen.share if whole else None)
    given = stored_inputs(chosen.rule, target.test(tta), target.test(tta, "classify"), shape)
    count = len(maps.read_ids(target.test(tta)))
    for _ in progress(map_in_order(lambda one: encoder.add(*one), given), "masks", count):
        pass
    masks = encoder.rle()
    submission.write(target.submission, [(image_id, masks.get(image_id, rle.EMPTY)) for image_id in order])
    masked = sum(text != rle.EMPTY for text in masks.values())
    told = f"{masked} of {len(masks)} images get a mask"
    if chosen.masked is None or not masks:
        log.info("%s", told)
        return
    log.info("%s, %.1f %% (out of fold %.1f %%)", told, 100 * masked / len(masks), 100 * chosen.masked)
    if cross_validation.is_unlikely(masked, len(masks), chosen.masked):
        log.warning(
            "mask rate %.1f %% against %.1f %% out of fold (p < 0.001): the images or the calibration have shifted, "
            "as that of a mean of networks may: compare with a recipe that has a hold-out",
            100 * masked / len(masks),
            100 * chosen.masked,
        )
