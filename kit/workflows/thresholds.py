"""The flow of the threshold search: from a run's OOF maps to the rule that turns its test maps into masks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kit.competition import rle
from kit.competition.layout import Competition
from kit.core.errors import KitError
from kit.core.files import copy, is_current, mark, read_json, sha256, write_json
from kit.core.resumable import keys_path
from kit.data import folds
from kit.data.folds import Folds
from kit.inference import maps
from kit.recipes.schema import Recipe
from kit.run import Run
from kit.thresholds import selection
from kit.workflows.workspace import fold_file, open_data, run_of


def ensure(run: Run, recipe: Recipe, competition: Competition, split: Folds) -> bool:
    """Chooses the run's thresholds unless its OOF maps, labels and prevalence are those that they were chosen on.

    Returns:
        Whether they were chosen now.
    """
    made_from = {
        "oof": [sha256(keys_path(run.oof(fold, tta))) for fold in split.numbers for tta in (True, False)],
        "labels": sha256(competition.labels_path),
        "prevalence": recipe.prevalence,
        "tta": recipe.tta,
        "rules": list(selection.KINDS),
        "transfer": recipe.threshold.transfer,
    }
    if recipe.is_gated:
        made_from["presence"] = [sha256(run.oof(fold, recipe.tta, "classify")) for fold in split.numbers]
    if is_current(run.thresholds, made_from):
        return False
    search(run, recipe, competition, split, selection.KINDS, None, recipe.prevalence)
    mark(run.thresholds, made_from)
    return True


def fits(run: Run, recipe: Recipe) -> bool:
    """Whether the run's thresholds were chosen on maps with TTA, or without, as the recipe predicts."""
    chosen_on = read_json(run.thresholds).get("hashes", {})
    other = {run.oof(fold, not recipe.tta).name for fold in run.predicted_folds()}
    return not other & chosen_on.keys()


def search(
    run: Run,
    recipe: Recipe,
    competition: Competition,
    split: Folds,
    kinds: Sequence[str],
    removal: Sequence[int] | None,
    prevalence: float | None,
) -> dict[str, Path]:
    """Searches the thresholds of each rule on the OOF maps, with and without TTA, and keeps the best for `predict`.

    The run's thresholds.json becomes the rule with the best nested Dice on the maps that the recipe predicts with;
    its nested Dice there covers the choice among the rules, too.

    Args:
        run: With the OOF maps of every fold.
        recipe: Of the run.
        competition: The data set.
        split: Its folds.
        kinds: Names of rules.
        removal: Values to choose from, in pixels of a 1024×1024 image; None: all that make a difference.
        prevalence: Share of positives to expect; None: as in the training images.

    Returns:
        Where each search was written, by what to call it.

    Raises:
        KitError: a fold has no OOF maps yet.
    """
    folders, nested = {}, {}
    for tta in (True, False):
        files = [run.oof(fold, tta) for fold in split.numbers]
        lacking = [file for file in files if not file.is_file()]
        if lacking:
            raise KitError(f"{lacking[0]}: there are no out-of-fold maps of every fold yet: run `make train` first")
        stacks = [maps.open_maps(file) for file in files]
        rows = split.table.set_index("image_id").loc[[image_id for stack in stacks for image_id in stack.ids]]
        presence = [run.oof(fold, tta, "classify") for fold in split.numbers] if recipe.is_gated else []
        results = selection.choose(
            (levels for stack in stacks for levels in stack),
            (rle.union(competition.labels[image_id], competition.shape, image_id) for image_id in rows.index),
            list(rows.patient_id),
            list(rows.fold),
            kinds,
            removal,
            prevalence,
            np.concatenate([np.load(file) for file in presence]) if presence else None,
            recipe.threshold.transfer,
        )
        hashes = {file.name: sha256(file) for file in files + presence} | {"labels": sha256(competition.labels_path)}
        for kind, result in results.items():
            folder = run.rule(kind, tta)
            folders[f"{kind}, {'with' if tta else 'without'} TTA"] = folder
            selection.write(result, folder, recipe.name, hashes)
            if tta == recipe.tta:
                # One patient alone leaves nothing to estimate on: then the Dice itself has to do.
                nested[folder] = result.dice if result.nested_dice is None else result.nested_dice
    best = max(nested, key=nested.__getitem__)
    if (best / run.surface.name).is_file():
        copy(best / run.surface.name, run.surface)
    else:
        run.surface.unlink(missing_ok=True)
    found = read_json(best / run.thresholds.name)
    write_json(run.thresholds, found | {"nested_dice": found["nested_choice"]})
    return folders


def search_thresholds(
    data: Path, recipe: Recipe, kinds: Sequence[str], removal: Sequence[int] | None, prevalence: float | None
) -> dict[str, Path]:
    """Searches the thresholds of some rules on the run's OOF maps; where each search was written, by its name."""
    competition = open_data(data)
    run, split = run_of(competition, recipe), folds.read(fold_file(competition), competition)
    run.agree(recipe)
    return search(run, recipe, competition, split, kinds, removal, prevalence)
