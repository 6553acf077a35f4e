"""From trained weights to maps and masks on the disk: out of fold, or of any DICOM files. What is there is kept."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from kit.competition import dicom, layout
from kit.core.distributed import Team
from kit.core.files import sha256
from kit.core.resumable import Rows, is_complete, key_of
from kit.data import cache, folds
from kit.data.resize import resize_image
from kit.recipes.schema import Recipe
from kit.run import Run

log = logging.getLogger(__name__)


def predict_oof(
    run: Run,
    recipe: Recipe,
    split: folds.Folds,
    cached: cache.Cache,
    competition: layout.Competition,
    fold: int,
    team: Team,
) -> bool:
    """Makes the maps of a fold's validation part by the network that has not seen it; whether any was missing."""
    rows = split.validation(fold)
    rows = rows[~cached.bad[rows]]
    ids = np.array(list(competition.train))[rows]
    return predict_maps(
        recipe,
        [run.weights(fold, len(recipe.stages) - 1)],
        (run.oof(fold, False, recipe.role), run.oof(fold, True, recipe.role)),
        list(ids),
        [cached.keys[row] for row in rows],
        lambda index: np.array(cached.images[rows[index]]),
        team,
        f"fold {fold} OOF maps",
    )


def predict_folder(
    run: Run,
    recipe: Recipe,
    paths: dict[str, Path],
    target: Run,
    shape: tuple[int, int] | None,
    team: Team,
) -> bool:
    """Makes the predictions of DICOM files by the mean of the folds' networks in `target`; whether any was missing."""
    size = recipe.stages[-1].size
    files = list(paths.values())
    return predict_maps(
        recipe,
        run.final_weights(recipe),
        (target.test(False, recipe.role), target.test(True, recipe.role)),
        list(paths),
        [key_of(sha256(path)) for path in files],
        lambda index: resize_image(dicom.read(files[index], shape).pixels, size),
        team,
        "predicting",
    )


def predict_maps(
    recipe: Recipe,
    weights: Sequence[Path],
    targets: tuple[Path, Path],
    ids: list[str],
    keys: list[bytes],
    read: Callable[[int], np.ndarray],
    team: Team,
    what: str,
) -> bool:
    """Makes what is missing of the maps, or of a classifier's probabilities, without and with TTA.

    Args:
        recipe: Of the networks.
        weights: Files of weights, averaged in the mean of their probabilities.
        targets: Files to make without and with TTA.
        ids: Of the images.
        keys: What each image was made from.
        read: The i-th image, uint8 (size, size).
        team: The processes that share the work.
        what: Title of the progress bar.

    Returns:
        Whether any map was missing.
    """
    stage = recipe.stages[-1]
    shape, dtype = ((), np.float32) if recipe.role == "classify" else ((stage.size, stage.size), np.uint8)
    made_from = b"".join(key_of(sha256(path)) for path in weights)
    row_keys = [key_of(made_from, key) for key in keys]
    if all(is_complete(target, ids, row_keys, shape, dtype) for target in targets):
        return False
    from kit.inference import predict

    models = predict.load(recipe.network, weights)  # before anything is changed: they may be broken
    plain, averaged = (Rows(target, ids, row_keys, shape, team, dtype) for target in targets)
    todo = sorted({*plain.missing().tolist(), *averaged.missing().tolist()})
    team.barrier()
    mine = team.share(todo)
    for i, without, with_tta in predict.maps(models, len(mine), lambda i: read(mine[i]), recipe, what):
        plain.put(mine[i], without)
        averaged.put(mine[i], with_tta)
    plain.finish(), averaged.finish()
    return bool(todo)


def readable(paths: dict[str, Path], shape: tuple[int, int], skip_bad: bool) -> dict[str, Path]:
    """The files that can be read; the others are an error, or are said to be left out."""
    bad = dicom.check(paths, shape, skip_bad)
    return {image_id: path for image_id, path in paths.items() if image_id not in bad}
