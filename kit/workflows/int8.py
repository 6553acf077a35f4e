"""A run's networks in 8 bits, which are offered where that hardly moves the Dice: measured out of fold, never assumed.

Below `int8/` of the run lie their out-of-fold maps, as those of torch in `oof/`, and `dice.json`.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kit.competition import dicom, scoring, shapes
from kit.core import store
from kit.core.distributed import ALONE
from kit.core.documents import Count, Document, Number, read_document
from kit.core.errors import KitError
from kit.core.files import locked, sha256, write_json
from kit.core.store import keys_path
from kit.data.resize import resize_image
from kit.inference import backends, ensemble, int8, maps, masks, predictions, rules
from kit.inference.predictions import Images
from kit.recipes.schema import Recipe
from kit.run import Run, Trained
from kit.thresholds.cross_validation import interval, prevalence_weights
from kit.workflows import ensemble as members
from kit.workflows import thresholds
from kit.workflows.workspace import OpenRun, logged

log = logging.getLogger(__name__)

LIMIT = 0.001
"""By how much the mean Dice may move. More is refused, in either direction: 8 bits are to be faster, not another
network, and a choice that asks to look away would be made once and forgotten."""


class Measured(Document):
    """What the rule in use is worth on the out-of-fold maps of both, as dice.json holds it."""

    dice: Number
    """Mean Dice in 8 bits."""
    torch: Number
    moved: Number
    """The first less the second."""
    interval: tuple[Number, Number]
    """Bootstrap 95 % interval of that, drawing patients."""
    dice_all_empty: Number
    images: Count

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"OOF Dice {self.dice:.4f} in int8, {self.torch:.4f} in torch: moved by {self.moved:+.4f} "
            f"[{low:+.4f}, {high:+.4f}] ({self.images:,} images; all empty {self.dice_all_empty:.4f})"
        )


def ensure(opened: OpenRun) -> Trained:
    """All that a run predicts with, its networks in 8 bits; what is missing is made, and measured against torch.

    Args:
        opened: A trained run, whose out-of-fold maps are those of its weights.

    Raises:
        KitError: the packages are missing, or the out-of-fold Dice moves by more than `LIMIT`.
    """
    backends.check(backends.INT8)
    run = opened.run
    own = Run(run.folder / "int8")
    measured = own.folder / "dice.json"
    thresholds.put_recipes_rule_in_use(opened.run, opened.recipe)
    with logged(run), locked(measured):
        trained = _quantised(opened)
        _predict(opened, own)
        made_from = _made_from(opened, own)
        store.File(measured, made_from).build(lambda: write_json(measured, _measure(opened, own).model_dump()))
        found: Measured = read_document(measured, Measured, "remove it, and run the same command again")
        if abs(found.moved) > LIMIT:
            raise KitError(f"{run.folder}: int8 is refused: {found}; {LIMIT} is allowed: use --backend openvino")
        log.info("%s: %s", run.folder, found)
    return trained


def _quantised(opened: OpenRun) -> Trained:
    """Makes each network in 8 bits, calibrated on images that it was trained on."""
    trained = opened.run.trained(opened.recipe)
    for part in opened.recipe.parts():
        for fold in opened.split.numbers:
            ids = opened.split.table.image_id.iloc[int8.sample(opened.split.training(fold))].tolist()
            for weights in _weights(opened, part, fold):
                int8.ensure(weights, part, _images(opened, ids))
    return replace(trained, weights={label: list(map(int8.path_of, paths)) for label, paths in trained.weights.items()})


def _predict(opened: OpenRun, own: Run) -> None:
    """Makes the out-of-fold predictions of these networks, of the images that those of torch are of."""
    for part in opened.recipe.parts():
        for fold in opened.split.numbers:
            ids = maps.read_ids(opened.run.part(part).oof(fold, role=part.role))
            plain, averaged = (own.part(part).oof(fold, tta, part.role) for tta in (False, True))
            networks = list(map(int8.path_of, _weights(opened, part, fold)))
            what = f"fold {fold} OOF maps in int8"
            images = _images(opened, ids)
            predictions.predict_images(part, networks, (plain, averaged), images, ALONE, what, backends.INT8)
    if opened.recipe.members:
        for fold in opened.split.numbers:
            members.average(own, opened.recipe, partial(Run.oof, fold=fold), ALONE)


def _weights(opened: OpenRun, part: Recipe, fold: int) -> list[Path]:
    return opened.run.part(part).left(fold, len(part.stages) - 1)


def _images(opened: OpenRun, ids: Sequence[str]) -> Images:
    """Some of the training images, read as for their cache."""
    competition = opened.competition
    key_by_id = dict(zip(competition.train, opened.image_keys, strict=True))

    def read(index: int, size: int) -> np.ndarray:
        image = dicom.read(competition.train[ids[index]], shapes.of(competition.shapes, ids[index]))
        return resize_image(image.pixels, size)

    return Images(tuple(ids), tuple(key_by_id[image_id] for image_id in ids), read)


def _measure(opened: OpenRun, own: Run) -> Measured:
    torch, eight = (_dice(opened, run) for run in (opened.run, own))
    rows = opened.split.table.set_index("image_id").loc[list(torch)]
    positive = (rows.stratum != "negative").to_numpy()
    weights = prevalence_weights(positive, opened.recipe.prevalence)
    moved = np.array([eight[image_id] - dice for image_id, dice in torch.items()])
    low, high = interval(moved, weights, list(rows.patient_id))
    return Measured(
        dice=float(np.average(list(eight.values()), weights=weights)),
        torch=float(np.average(list(torch.values()), weights=weights)),
        moved=float(np.average(moved, weights=weights)),
        interval=(low, high),
        dice_all_empty=float(np.average(~positive, weights=weights)),
        images=len(rows),
    )


def _dice(opened: OpenRun, side: Run) -> dict[str, float]:
    """Dice of each image by the rule in use on out-of-fold predictions.

    Classifying members are put together by the run's own stack, as for new images, not by one a fold: here both sides
    are judged alike.
    """
    run, recipe, competition = opened.run, opened.recipe, opened.competition
    rule, found = rules.read(run.thresholds), {}
    for fold in opened.split.numbers:
        given = None
        if recipe.is_gated:
            classifiers = recipe.members_that("classify")
            stack = ensemble.read_stack(run.stack(recipe.tta), [part.label for part in classifiers])
            files = [side.part(part).oof(fold, recipe.tta, "classify") for part in classifiers]
            given = stack.probability(members.columns(files))
        stored = maps.open_maps(side.oof(fold, recipe.tta))
        for image_id, levels, probability in masks.inputs(stored, competition.shape, given):
            found[image_id] = scoring.dice(rule.mask(levels, probability), competition.truth(image_id))
    return found


def _made_from(opened: OpenRun, own: Run) -> dict[str, Any]:
    """What the measurement depends on, by its content."""
    run, recipe = opened.run, opened.recipe

    def predicted(side: Run) -> list[str]:
        pairs = ((part, fold) for part in recipe.parts() for fold in opened.split.numbers)
        return [sha256(keys_path(side.part(part).oof(fold, recipe.tta, part.role))) for part, fold in pairs]

    return {
        "int8": predicted(own),
        "torch": predicted(run),
        "thresholds": sha256(run.thresholds),
        "stack": sha256(run.stack(recipe.tta)) if recipe.is_gated else "",
        "labels": sha256(opened.competition.labels_path),
        "prevalence": recipe.prevalence,
        "tta": recipe.tta,
    }
