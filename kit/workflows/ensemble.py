"""From the predictions of an ensemble's members to its own, out of fold and on any images."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from kit.core.arrays import open_array
from kit.core.distributed import Team
from kit.data.folds import Folds
from kit.inference import ensemble, maps
from kit.recipes.schema import Recipe
from kit.run import Run, Trained
from kit.thresholds import cross_validation


def average(run: Run, recipe: Recipe, place: Callable[..., Path], team: Team) -> bool:
    """Makes the mean of the segmenting members' maps, with and without TTA; whether any was missing.

    Args:
        run: The ensemble's.
        recipe: The ensemble's.
        place: Where a run keeps the maps: `Run.test`, or `Run.oof` of some fold.
        team: The processes that share the work.
    """
    runs = [run.part(part) for part in recipe.members_that("segment")]
    made = [
        ensemble.average([place(member, tta=tta) for member in runs], place(run, tta=tta), team, recipe.weights)
        for tta in (True, False)
    ]
    return any(made)


def stack_oof(run: Run, recipe: Recipe, split: Folds) -> None:
    """Stacks the classifying members on their OOF predictions.

    Writes the stack, and P(pneumothorax) of each image by a stack that has not seen its fold.
    """
    classifiers = recipe.members_that("classify")
    table = split.table.set_index("image_id")
    for tta in (True, False):
        ids = {fold: maps.read_ids(run.oof(fold, tta)) for fold in split.numbers}
        rows = table.loc[[image_id for some in ids.values() for image_id in some]]
        members = np.concatenate(
            [columns([run.part(part).oof(fold, tta, "classify") for part in classifiers]) for fold in ids]
        )
        positive = (rows.stratum != "negative").to_numpy()
        ensemble.fit_stack([part.label for part in classifiers], members, positive).write(run.stack(tta))
        groups = cross_validation.leave_out(list(rows.fold), list(rows.patient_id))
        nested = pd.Series(ensemble.nested_probability(members, positive, groups), rows.index)
        for fold, some in ids.items():
            maps.save(run.oof(fold, tta, "classify"), some, nested[list(some)].to_numpy())


def stack_test(trained: Trained, target: Run) -> None:
    """Writes P(pneumothorax) of the images that the members have predicted in `target`, by the trained stack."""
    classifiers = trained.recipe.members_that("classify")
    for tta in (True, False):
        stack = ensemble.read_stack(trained.stacks[tta], [part.label for part in classifiers])
        members = columns([target.part(part).test(tta, "classify") for part in classifiers])
        maps.save(target.test(tta, "classify"), maps.read_ids(target.test(tta)), stack.probability(members))


def columns(paths: list[Path]) -> np.ndarray:
    """The members' probabilities side by side, (N, M)."""
    return np.stack([open_array(path) for path in paths], axis=1)
