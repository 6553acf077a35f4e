"""The verb `predict`: maps, masks and submission for the test images or any folder of images."""

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
        images: Folder of DICOM files or pictures to predict instead of the test images.
        out: Folder for the maps (`test.npy`) and the submission of `images`; default `predictions/DATA-RECIPE/FOLDER`.
        save: Kinds of files to write for each image in addition, see `workflows.saving`.
        trained_on: Name of another data set whose run predicts these test images, such as round 1's networks for round
            2; the results go to `runs/NAME/RECIPE@OTHER/`, where `tables` finds them.

    Returns:
        Path to the submission, and whether there was anything to do.

    Raises:
        KitError: there is no trained run, its recipe or inputs have changed, or a file cannot be read.
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
        saving.check(save, paths.values())
        default = workspace.predictions / f"{competition.name}-{recipe.name}" / source.name
        order, target, shape = tuple(paths), Run(Path(out) if out else default), pictures.shapes_of(paths)
        claim(target.folder, source)
    if not order:
        raise KitError(f"{competition.folder}: has no test images: nothing can be predicted")
    if trained_on is not None:
        target = workspace.run(competition, f"{recipe.name}@{trained_on}")
        copy(run.recipe_path, target.recipe_path)
        copy(run.thresholds, target.thresholds)
    done = predict_files(trained, paths, order, target, shape, skip_bad=skip_bad, whole=images is None)
    if save:
        saving.save(target, paths, recipe, save, competition.finding)
    return target.submission, done


def claim(folder: Path | str, images: Path | str) -> None:
    """Marks a folder as the output for one folder of images, so that predictions of different images never mix.

    Raises:
        KitError: the folder holds other files, or predictions of other images.
    """
    folder = Path(folder)
    mark, remedy = folder / "images.json", "give another folder with --out, or remove it"
    if is_file_or_raise(mark):
        content = read_json(mark)
        if content != {"images": str(images)}:
            source = content.get("images") if isinstance(content, dict) else None
            raise KitError(f"{folder}: holds predictions of {source or 'other images'}: {remedy}")
    elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise KitError(f"{folder}: holds other files than predictions of {images}: {remedy}")
    write_json(mark, {"images": str(images)})


def predict_files(
    trained: Trained,
    paths: dict[str, Path],
    order: Sequence[str],
    target: Run,
    shape: Shape,
    *,
    skip_bad: bool,
    whole: bool,
) -> bool:
    """Makes the missing predictions of some files and the submission; returns whether anything was missing.

    Args:
        order: Ids of the submission, in order; an image without a file gets an empty mask.
        shape: (H, W) that all images must have, or the shape of each.
        skip_bad: Give unreadable images an empty mask instead of raising.
        whole: Whether the images are a whole test set, so that a share chosen out of fold applies.

    Raises:
        KitError: files cannot be read and are not to be skipped; weights are broken.
    """
    with logged(target), locked(target.test()):
        required = None if isinstance(shape, Mapping) else shape
        images = predictions.images_of(paths, required, skip_unreadable=skip_bad)
        files = predictions.files_of(trained, target.test, images)
        made_from = {
            "recipe": key_of(trained.recipe.dump()).hex(),
            "predictions": key_of(*(key for file in files for key in file.keys)).hex(),
            "thresholds": sha256(trained.thresholds),
            "ids": key_of(*order).hex(),
            "whole": str(whole),
        }
        # Begun before the maps are made, so that an old submission never lies beside new maps.
        output = store.File(target.submission, made_from)
        output.begin(keep_previous=True)
        if not output.is_current():
            saving.discard(target.folder)
        # With TTA, the maps without it take no further pass of a network, and the paper's tables compare both.
        needed = [file for file in files if trained.recipe.tta or not file.tta]
        predicted = predictions.predict(trained, needed, images, ALONE, "predicting")
        written = output.build(lambda: _write_submission(trained, target, order, shape, whole=whole))
    return predicted or written


def _write_submission(trained: Trained, target: Run, order: Sequence[str], shape: Shape, *, whole: bool) -> None:
    """Turns stored maps into masks by the rule in use, and writes the submission."""
    tta, chosen = trained.recipe.tta, thresholds_file.read(trained.thresholds)
    if chosen.share is not None and not whole:
        log.info(
            "rate matching is off, since this is not a whole test set: the rule's own thresholds decide each image"
        )
    encoder = MaskEncoder(chosen.rule, chosen.share if whole else None)
    inputs = stored_inputs(chosen.rule, target.test(tta=tta), target.test(tta=tta, role="classify"), shape)
    count = len(maps.read_ids(target.test(tta=tta)))
    for _ in progress(map_in_order(lambda image: encoder.add(*image), inputs), "masks", count):
        pass
    masks = encoder.rle()
    submission.write(target.submission, [(image_id, masks.get(image_id, rle.EMPTY)) for image_id in order])
    masked = sum(text != rle.EMPTY for text in masks.values())
    summary = f"{masked} of {len(masks)} images get a mask"
    if chosen.masked is None or not masks:
        log.info("%s", summary)
        return
    log.info("%s, %.1f %% (out of fold %.1f %%)", summary, 100 * masked / len(masks), 100 * chosen.masked)
    if _is_unlikely(masked, len(masks), chosen.masked):
        log.warning(
            "mask rate %.1f %% against %.1f %% out of fold (p < 0.001): the images differ, or the mean of the networks "
            "is calibrated differently: compare with a recipe that has a hold-out",
            100 * masked / len(masks),
            100 * chosen.masked,
        )


def _is_unlikely(count: int, images: int, share: float) -> bool:
    """Whether a binomial test rejects that a share of the images gives this count, at p < 0.001.

    >>> _is_unlikely(4, 450, 0.046), _is_unlikely(19, 450, 0.046)
    (True, False)
    """
    from scipy.stats import binomtest

    return bool(binomtest(count, images, min(max(share, 0.0), 1.0)).pvalue < 1e-3)
