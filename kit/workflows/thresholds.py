"""The verb `thresholds`: from a run's out-of-fold maps to the rule that turns its test maps into masks.

Searching and choosing are separate. The search fills `thresholds/NAME/` of the run, with and without TTA: NAME is a
rule, `searched` for the best of them, or `fixed` for the recipe's own thresholds. The recipe's `threshold.rule` names
the one that is copied to thresholds.json, which `predict` reads. Exploring with other options changes none of that.

The search takes a second to import and is imported where it is needed, since `predict` does without.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kit.core import store
from kit.core.arrays import open_array
from kit.core.errors import KitError
from kit.core.files import copy, locked, read_bytes, sha256, write_json
from kit.core.store import keys_path
from kit.data.folds import Folds
from kit.inference import ensemble, maps, rules, thresholds_file
from kit.recipes.schema import Recipe
from kit.run import Run
from kit.workflows.workspace import OpenRun, Workspace, check_maps, logged, open_run

log = logging.getLogger(__name__)

RULES = tuple(rules.RULES)
SEARCHED, FIXED = "searched", "fixed"
"""Values of `threshold.rule`: the best rule of the search, or the recipe's own thresholds."""
STATISTICS = 2
"""Version of the search's measures; searches of an earlier version are stale."""


def ensure(opened: OpenRun) -> bool:
    """Searches the thresholds of a run if the search is missing or stale; returns whether anything has changed."""
    with locked(opened.run.thresholds):
        mark = opened.run.folder / "thresholds" / "search.json"
        if not all((folder / "thresholds.json").is_file() for folder in _folders(opened.run).values()):
            mark.unlink(missing_ok=True)

        def run_search() -> None:
            search(opened, mark.parent, with_fixed=True)
            write_json(mark, {"rules": list(RULES)})

        done = store.File(mark, _made_from(opened)).build(run_search)
        opened.run.write_recipe(opened.recipe)
        return activate(opened.run, opened.recipe) or done


def put_recipes_rule_in_use(run: Run, recipe: Recipe) -> None:
    """Makes the run predict with the rule of the recipe's `threshold.rule` and `tta`.

    A thresholds.json that answers this `threshold.rule` and `tta` stays as it is. The log warns if it was searched with
    settings that differ from the recipe's.

    Raises:
        KitError: the rule has not been searched or measured yet.
    """
    warn_if_searched_differently(run, recipe)
    chosen, rule = thresholds_file.read(run.thresholds), recipe.threshold.rule
    other_maps = {run.oof(fold, tta=not recipe.tta).name for fold in run.predicted_folds()}
    if chosen.asked != rule or other_maps & chosen.hashes.keys():
        source = run.rule(rule, tta=recipe.tta) / "thresholds.json"
        if not source.is_file():
            raise KitError(f"{source}: is missing: run `make train` to find the thresholds of {rule}")
        with locked(run.thresholds):
            if activate(run, recipe):
                log.info("%s: rule in use: %s", run.folder, in_use(run))
    old = run.read_recipe()
    new = old.model_copy(update={"tta": recipe.tta, "threshold": old.threshold.model_copy(update={"rule": rule})})
    if new != old:  # verbs that are given only the run read its recipe
        run.write_recipe(new)


def warn_if_searched_differently(run: Run, recipe: Recipe) -> None:
    """Warns if a run's thresholds were searched with settings that differ from the recipe's."""
    chosen = thresholds_file.read(run.thresholds)
    if not chosen.hashes:  # written by hand
        return
    settings: dict[str, tuple[Any, Any]] = {"prevalence": (chosen.prevalence, recipe.prevalence)}
    if chosen.asked == FIXED:
        stored, fixed = asdict(chosen.rule), asdict(rules.fixed(recipe.threshold, gated=recipe.is_gated))
        settings |= {f"threshold.{key}": (stored.get(key), fixed.get(key)) for key in stored | fixed}
    else:
        settings["threshold.transfer"] = ("none" if chosen.share is None else "share", recipe.threshold.transfer)
        settings["threshold.smallest_contour"] = (chosen.rule.smallest_contour, recipe.threshold.smallest_contour)
    for key, (old, new) in settings.items():
        if old != new:
            log.warning(
                "%s: was searched with %s=%s, not %s: `make thresholds` with the same SET searches again",
                run.thresholds,
                key,
                *("null" if value is None else value for value in (old, new)),
            )


@dataclass(frozen=True)
class Explored:
    """Results of a search, and the rule that the run predicts with."""

    folders: dict[str, Path]
    """Folder of each result, by title."""
    in_use: Path
    """Folder of the result that is in use."""
    reason: str
    """Name of the rule in use, and why it is used."""


def explore(
    workspace: Workspace,
    data: Path | str,
    recipe: Recipe,
    names: Sequence[str] = RULES,
    prevalence: float | None = None,
    draws: int = 0,
) -> Explored:
    """Searches the thresholds of some rules on a run's out-of-fold maps; the recipe's `threshold.rule` stays in use.

    Raises:
        KitError: the run is not finished, or its recipe or inputs have changed.
    """
    opened = open_run(workspace, data, recipe)
    check_maps(opened)
    run = opened.run
    with logged(run):
        ensure(opened)
        folders = _folders(run)
        if prevalence is not None or draws:
            folders = search(opened, run.folder / "explored", names, prevalence, draws)
    asked = thresholds_file.read(run.thresholds).asked
    listed = {*names, SEARCHED} if len(names) > 1 else {*names}
    shown = {title: path for title, path in folders.items() if path.name.removesuffix("-plain") in listed}
    return Explored(shown, run.rule(asked, tta=recipe.tta), in_use(run))


def explore_arrays(
    maps_path: Path | str | None,
    masks_path: Path | str | None,
    names: Sequence[str],
    out: Path | str | None,
    folds_path: Path | str | None = None,
    prevalence: float | None = None,
    draws: int = 0,
) -> dict[str, Path]:
    """Searches the thresholds of some rules on external maps.

    Args:
        maps_path: .npy (N, H, W), uint8 levels or float probabilities.
        masks_path: .npy (N, H, W), bool or uint8 of 0 and 1; of the maps' size, or larger in the same proportions.
        out: Output folder; several rules get a subfolder each, and `searched` for the best.
        folds_path: Fold file; by default, images are split into five groups for the nested estimate.
        prevalence: Expected share of positives; by default, the share among these images.

    Returns:
        Folder of each result, by title.

    Raises:
        KitError: a file is not given or is invalid.
    """
    from kit.thresholds.external import open_masks, read_folds
    from kit.thresholds.search import ThresholdSearch

    if maps_path is None or masks_path is None or out is None:
        raise KitError("thresholds of external maps: give --maps, --masks and --out together")
    stack, masks = maps.open_maps(maps_path), open_masks(masks_path)
    folds, patients = None, list(stack.ids)
    if folds_path is not None:
        folds, patients = read_folds(folds_path, stack.ids, named=stack.named)
    search = ThresholdSearch(names, folds=folds, patients=patients, prevalence=prevalence, draws=draws)
    search.fit(stack, masks)
    sources = {"maps": maps_path, "masks": masks_path} | ({"folds": folds_path} if folds_path else {})
    hashes = {name: sha256(path) for name, path in sources.items()}
    several = len(names) > 1
    results = {SEARCHED: search.best_, **search.results_} if several else search.results_
    folders = {name: Path(out) / name if several else Path(out) for name in results}
    for name, result in results.items():
        result.write(folders[name], None, hashes)
    return folders


def in_use(run: Run) -> str:
    """Describes the rule that a run predicts with, and why it is used."""
    chosen = thresholds_file.read(run.thresholds)
    if chosen.asked == SEARCHED:
        return f"{chosen.rule.name}, which has the best nested Dice"
    return f"{chosen.asked}, as threshold.rule says"


def activate(run: Run, recipe: Recipe) -> bool:
    """Copies the result for the recipe's `threshold.rule` and `tta` to thresholds.json; returns whether it changed."""
    folder = run.rule(recipe.threshold.rule, tta=recipe.tta)
    content = read_bytes(folder / run.thresholds.name)
    if run.thresholds.is_file() and read_bytes(run.thresholds) == content:
        return False
    surface = folder / run.surface.name
    if surface.is_file():
        copy(surface, run.surface)
    else:
        run.surface.unlink(missing_ok=True)
    copy(folder / run.thresholds.name, run.thresholds)
    return True


def search(
    opened: OpenRun,
    target: Path | str,
    names: Sequence[str] = RULES,
    prevalence: float | None = None,
    draws: int = 0,
    *,
    with_fixed: bool = False,
) -> dict[str, Path]:
    """Searches the thresholds of some rules on the out-of-fold maps, with and without TTA.

    Args:
        target: Output folder, with a subfolder for each result.
        with_fixed: Also measure the recipe's own thresholds.

    Returns:
        Folder of each result, by title.
    """
    from kit.thresholds.search import ThresholdSearch

    target, run, recipe, competition = Path(target), opened.run, opened.recipe, opened.competition
    folders = {}
    for tta in (True, False):
        files = [run.oof(fold, tta=tta) for fold in opened.split.numbers]
        stacks = [maps.open_maps(file) for file in files]
        rows = opened.split.table.set_index("image_id").loc[[i for stack in stacks for i in stack.ids]]
        classified = _classifier_files(opened, tta=tta)
        searched = ThresholdSearch(
            names,
            folds=list(rows.fold),
            patients=list(rows.patient_id),
            prevalence=recipe.prevalence if prevalence is None else prevalence,
            match_positive_rate=recipe.threshold.transfer == "share",
            smallest_contour=recipe.threshold.smallest_contour,
            draws=draws,
        ).fit(
            (levels for stack in stacks for levels in stack),
            map(competition.truth, rows.index),
            np.concatenate([_columns(paths) for paths in classified]) if classified else None,
        )
        sources = {file.name: file for file in files} | {"labels": competition.labels_path}
        sources |= {file.relative_to(run.folder).as_posix(): file for paths in classified for file in paths}
        hashes = {name: sha256(file) for name, file in sources.items()}
        results = {SEARCHED: searched.best_, **searched.results_}
        if with_fixed:
            results[FIXED] = searched.measure(rules.fixed(recipe.threshold, gated=recipe.is_gated))
        for name, result in results.items():
            folder = target / run.rule(name, tta=tta).name
            result.write(folder, recipe.name, hashes)
            folders[_title(name, tta=tta)] = folder
    return folders


def stack_oof(run: Run, recipe: Recipe, split: Folds) -> None:
    """Stacks an ensemble's classifying members on their out-of-fold probabilities.

    Writes the stack, and P(pneumothorax) of each image by a stack that is fitted without the image's fold.
    """
    from kit.thresholds.cross_validation import group_numbers

    classifiers = recipe.members_that("classify")
    table = split.table.set_index("image_id")
    for tta in (True, False):
        ids = {fold: maps.read_ids(run.oof(fold, tta=tta)) for fold in split.numbers}
        rows = table.loc[[image_id for fold_ids in ids.values() for image_id in fold_ids]]
        members = np.concatenate(
            [_columns([run.part(part).oof(fold, tta=tta, role="classify") for part in classifiers]) for fold in ids]
        )
        positive = (rows.stratum != "negative").to_numpy()
        ensemble.fit_stack([part.label for part in classifiers], members, positive).write(run.stack(tta=tta))
        groups = group_numbers(list(rows.fold), list(rows.patient_id))
        nested = pd.Series(ensemble.nested_probability(members, positive, groups), rows.index)
        for fold, fold_ids in ids.items():
            maps.save(run.oof(fold, tta=tta, role="classify"), fold_ids, nested[list(fold_ids)].to_numpy())


def _columns(paths: list[Path]) -> np.ndarray:
    """Reads the members' probabilities side by side, (N, M)."""
    return np.stack([open_array(path) for path in paths], axis=1)


def _classifier_files(opened: OpenRun, *, tta: bool) -> list[list[Path]]:
    """Files of the classifying members' out-of-fold probabilities, by fold; empty without such members."""
    run, members = opened.run, opened.recipe.members_that("classify") if opened.recipe.is_gated else ()
    return [
        [run.part(part).oof(fold, tta=tta, role="classify") for part in members]
        for fold in opened.split.numbers
        if members
    ]


def _made_from(opened: OpenRun) -> dict[str, Any]:
    """The inputs of the search: hashes of its files, and its settings."""
    run, recipe = opened.run, opened.recipe
    numbers = opened.split.numbers
    made_from: dict[str, Any] = {
        "statistics": STATISTICS,
        "oof": [sha256(keys_path(run.oof(fold, tta=tta))) for fold in numbers for tta in (True, False)],
        "labels": sha256(opened.competition.labels_path),
        "prevalence": recipe.prevalence,
        "rules": list(RULES),
        "transfer": recipe.threshold.transfer,
        "fixed": recipe.threshold.model_dump(mode="json", exclude={"rule", "candidates"}),
    }
    classified = [file for tta in (True, False) for paths in _classifier_files(opened, tta=tta) for file in paths]
    return made_from | {"image_probabilities": [sha256(file) for file in classified]}


def _folders(run: Run) -> dict[str, Path]:
    """Folder of each result of a run's search, by title."""
    names = (SEARCHED, *RULES, FIXED)
    return {_title(name, tta=tta): run.rule(name, tta=tta) for tta in (True, False) for name in names}


def _title(name: str, *, tta: bool) -> str:
    return f"{name}, {'with' if tta else 'without'} TTA"
