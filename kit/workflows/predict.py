"""The verb `predict`: maps and masks of the test images, or of any folder of DICOM files, and the submission."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kit import lineage
from kit.competition import image_files, pictures, rle, submission
from kit.competition.shapes import Shape
from kit.core import store
from kit.core.distributed import ALONE
from kit.core.errors import KitError
from kit.core.files import copy, locked, present, read_json, sha256, write_json
from kit.core.parallel import ordered
from kit.core.progress import progress
from kit.core.store import key_of
from kit.inference import backends, ensemble, maps, predictions, rules, thresholds_file
from kit.inference.masks import stored_inputs
from kit.inference.share import MaskTexts
from kit.recipes.schema import Recipe
from kit.run import Run, Trained
from kit.thresholds import cross_validation
from kit.workflows import saving, thresholds
from kit.workflows.workspace import Workspace, check_maps, logged, open_run

if TYPE_CHECKING:  # it imports torch, which takes seconds
    from kit.inference.model import Model

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
    backend: str = "torch",
) -> tuple[Path, bool]:
    """Predicts the test images, or any folder of images, and writes the submission.

    Args:
        workspace: Where things lie.
        data: The competition's folder, whose run of the recipe is used.
        recipe: The run's recipe.
        images: A folder of DICOM files or pictures instead of the test images.
        out: Where the maps (`test.npy`) and the submission of `images` go; None: `predictions/DATA-RECIPE/FOLDER`.
        skip_bad: Files that cannot be read get an empty mask instead of an error.
        save: Kinds of files to write of each image beside the submission, see `workflows.saving`.
        backend: What the networks run on, see `inference.backends`; thresholds stay those chosen on torch's maps.

    Returns:
        The submission, and whether anything was to do.

    Raises:
        KitError: there is no trained run, it is no longer what it was trained as, or a file cannot be read.
    """
    backends.check(backend)
    opened = open_run(workspace, data, recipe)
    trained, competition = opened.run.trained(recipe), opened.competition
    check_maps(opened)
    thresholds.put_recipes_rule_in_use(opened.run, recipe)
    if images is None:
        paths, order, target = competition.test, competition.sample_ids, opened.run
        shape: Shape = competition.shapes
    else:
        paths, source = find_images(images), Path(images).resolve()
        place = workspace.predictions / f"{competition.name}-{recipe.name}" / source.name
        order, target = tuple(paths), Run(Path(out) if out else place)
        claim(target.folder, source)
        shape = shapes_of(paths)
    if not order:
        raise KitError(f"{images or competition.folder}: has no test images: nothing can be predicted")
    done = predict_files(trained, paths, order, target, shape, skip_bad, whole=images is None, backend=backend)
    if save:
        saving.save(target, paths, recipe, save)
    return target.submission, done


def predict_by(
    workspace: Workspace,
    data: Path | str,
    recipe: Recipe,
    trained_on: str,
    *,
    skip_bad: bool = False,
    save: Sequence[str] = (),
) -> tuple[Path, bool]:
    """Predicts the test images with the recipe's run on another data set, as round 1's networks on round 2's images.

    What it makes lies in `runs/NAME/RECIPE@OTHER/`, where `tables` finds it.

    Args:
        workspace: Where things lie.
        data: The competition's folder with the test images.
        recipe: The run's recipe.
        trained_on: Name of the other data set.
        skip_bad: Files that cannot be read get an empty mask instead of an error.
        save: Kinds of files to write of each image beside the submission, see `workflows.saving`.

    Returns:
        The submission, and whether anything was to do.

    Raises:
        KitError: there is no such run, it was trained as another recipe, or there are no test images.
    """
    competition = workspace.open_data(data)
    source = Run(workspace.runs / trained_on / recipe.name)
    lineage.agree(source, recipe)
    trained = source.trained(recipe)
    thresholds.put_recipes_rule_in_use(source, recipe)
    if not competition.sample_ids:
        raise KitError(f"{competition.folder}: has no test images: nothing can be predicted")
    target = Run(workspace.runs / competition.name / f"{recipe.name}@{trained_on}")
    copy(source.recipe_path, target.recipe_path)
    copy(source.thresholds, target.thresholds)
    test, ids = competition.test, competition.sample_ids
    done = predict_files(trained, test, ids, target, competition.shapes, skip_bad, whole=True)
    if save:
        saving.save(target, test, recipe, save)
    return target.submission, done


def claim(folder: Path | str, images: Path | str) -> None:
    """Makes a folder the place of what is predicted of some images, so that those of others never mix with it.

    Args:
        folder: Of predictions.
        images: Folder of the images.

    Raises:
        KitError: it holds something else, or predictions of other images.
    """
    folder = Path(folder)
    mark, remedy = folder / "images.json", "give another folder with --out, or remove it"
    if present(mark):
        known = read_json(mark)
        if known != {"images": str(images)}:
            told = known.get("images") if isinstance(known, dict) else None
            raise KitError(f"{folder}: holds predictions of {told or 'other images'}: {remedy}")
    elif folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise KitError(f"{folder}: holds other files than predictions of {images}: {remedy}")
    write_json(mark, {"images": str(images)})


def find_images(folder: Path | str) -> dict[str, Path]:
    """The DICOM, PNG and JPEG files of any folder, by id.

    Raises:
        KitError: there is no such folder, or two of its images have one id.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise KitError(f"--images {folder}: there is no such folder: give one with DICOM files or pictures")
    return image_files.find(folder)


def shapes_of(paths: dict[str, Path]) -> dict[str, tuple[int, int]]:
    """(H, W) of each image by its header; unreadable ones are left out here and reported when they are decoded."""
    shapes = {}
    for image_id, path in paths.items():
        with suppress(KitError):
            shapes[image_id] = pictures.shape_of(path)
    return shapes


def predict_files(
    trained: Trained,
    paths: dict[str, Path],
    order: Sequence[str],
    target: Run,
    shape: Shape,
    skip_bad: bool,
    whole: bool,
    backend: str = "torch",
) -> bool:
    """Makes the predictions and the submission of DICOM files; whether anything was missing.

    Args:
        trained: What predicts.
        paths: The files, by id.
        order: Ids that the submission answers; an image without a file gets an empty mask.
        target: Where maps and submission go.
        shape: (H, W) that all images must have, or of each.
        skip_bad: Files that cannot be read get an empty mask instead of an error.
        whole: They are a whole test set, of which a share that was chosen out of fold gets masks.
        backend: What the networks run on.

    Raises:
        KitError: files cannot be read and are not to be skipped; weights are broken.
    """
    with logged(target), locked(target.test()):
        images = predictions.images_of(paths, None if isinstance(shape, Mapping) else shape, skip_bad)
        made_from = _made_from(trained, images, order, backend) | {"whole": str(whole)}
        # Begun before the maps are made, so that an old answer never stands beside new maps.
        answer = store.File(target.submission, made_from)
        answer.begin(keep_previous=True)
        if not answer.is_current():
            saving.discard(target.folder)

        def load() -> "Model":
            from kit.inference.model import Model

            return Model.load(trained, backend=backend)

        files = _files(trained, target, images, backend)
        predicted = predictions.predict_images(trained.recipe, load, files, images, ALONE, "predicting")
        written = answer.build(lambda: write_submission(trained, target, order, shape, whole))
    return predicted or written


def _files(trained: Trained, target: Run, images: predictions.Images, backend: str) -> list[predictions.File]:
    """What is kept of the answers, without TTA and with: maps, and where there is a gate probabilities."""
    recipe = trained.recipe
    parts = {
        part.label: predictions.row_keys(trained.weights[part.label], images.keys, backend) for part in recipe.parts()
    }
    segmenting = [parts[part.label] for part in recipe.parts() if part.role == "segment"]
    maps_keys = ensemble.mean_keys(segmenting, recipe.weights) if recipe.members else segmenting[0]
    files = [predictions.File(target.test(tta), maps_keys, tta, "segment") for tta in (False, True)]
    if recipe.is_gated:
        classifying = list(zip(*(parts[part.label] for part in recipe.members_that("classify")), strict=True))
        for tta in (False, True):
            stack = sha256(trained.stacks[tta])
            keys = [key_of(stack, *row) for row in classifying]
            files.append(predictions.File(target.test(tta, "classify"), keys, tta, "classify"))
    return files


def write_submission(trained: Trained, target: Run, order: Sequence[str], shape: Shape, whole: bool) -> None:
    """Writes the masks of predicted images as a submission.

    Args:
        trained: Whose rule turns maps into masks.
        target: With the predictions of the images.
        order: Ids that the submission answers; an image without a map gets an empty mask.
        shape: (H, W) of all masks, or of each image's.
        whole: They are a whole test set, of which a share that was chosen out of fold gets masks.
    """
    tta, share = trained.recipe.tta, thresholds_file.read(trained.thresholds).share
    if share is not None and not whole:
        log.info(
            "rate matching is off, since this is not a whole test set: the rule's own thresholds decide each image"
        )
    rule, count = rules.read(trained.thresholds), len(maps.read_ids(target.test(tta)))
    texts = MaskTexts(rule, share if whole else None)
    given = stored_inputs(rule, target.test(tta), target.test(tta, "classify"), shape)
    for _ in progress(ordered(lambda one: texts.add(*one), given), "masks", count):
        pass
    masks = texts.decided()
    submission.write(target.submission, [(image_id, masks.get(image_id, rle.EMPTY)) for image_id in order])
    masked = sum(text != rle.EMPTY for text in masks.values())
    _compare_share(masked, len(masks), thresholds_file.read(trained.thresholds).masked)


def _made_from(trained: Trained, images: predictions.Images, order: Sequence[str], backend: str) -> dict[str, str]:
    """What a submission depends on, by its content."""
    keys = [predictions.row_keys(trained.weights[part.label], images.keys, backend) for part in trained.recipe.parts()]
    return {
        "recipe": key_of(trained.recipe.dump()).hex(),
        "predictions": key_of(*(key for part in keys for key in part)).hex(),
        "thresholds": sha256(trained.thresholds),
        "stack": sha256(trained.stacks[trained.recipe.tta]) if trained.recipe.is_gated else "",
        "ids": key_of(*order).hex(),
    }


def _compare_share(masked: int, images: int, expected: float | None) -> None:
    """Says how many images got a mask, and whether that is far from what the thresholds promise."""
    if expected is None or not images:
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
            "mask rate %.1f %% against %.1f %% out of fold (p < 0.001): the images or the calibration have shifted, "
            "as that of a mean of networks may: compare with a recipe that has a hold-out",
            100 * masked / images,
            100 * expected,
        )
