"""From the out-of-fold verdicts of an ensemble's classifying members to its own."""

from pathlib import Path

import numpy as np
import pandas as pd

from kit.core.arrays import open_array
from kit.data.folds import Folds
from kit.inference import ensemble, maps
from kit.recipes.schema import Recipe
from kit.run import Run
from kit.thresholds import cross_validation


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
        groups = cross_validation.group_numbers(list(rows.fold), list(rows.patient_id))
        nested = pd.Series(ensemble.nested_probability(members, positive, groups), rows.index)
        for fold, some in ids.items():
            maps.save(run.oof(fold, tta, "classify"), some, nested[list(some)].to_numpy())


def columns(paths: list[Path]) -> np.ndarray:
    """The members' probabilities side by side, (N, M)."""
    return np.stack([open_array(path) for path in paths], axis=1)
