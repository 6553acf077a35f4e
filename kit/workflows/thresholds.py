"""The verb `thresholds`: from a run's OOF maps to the rule that turns its test maps into masks.

Searching and choosing are two things. The search fills `thresholds/NAME/` of the run, with and without TTA: NAME is a
rule, `searched` for the best of them, or `fixed` for the recipe's own thresholds. The recipe's `threshold.rule` says
which of these lies in thresholds.json, where `predict` finds it. Exploring with other options leaves all of that alone.
"""

import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.core import store
from kit.core.errors import KitError
from kit.core.files import copy, locked, read_bytes, sha256, write_json
from kit.core.store import keys_path
from kit.inference import maps, rules, thresholds_file
from kit.recipes.schema import Recipe
from kit.run import Run
from kit.thresholds.external import open_masks, read_folds
from kit.thresholds.search import RULES, ThresholdSearch
from kit.workflows.ensemble import columns
from kit.workflows.workspace import OpenRun, Workspace, check_maps, logged, open_run

log = logging.getLogger(__name__)

SEARCHED, FIXED = "searched", "fixed"
"""What a recipe calls the best rule of the search, and its own thresholds."""
STATISTICS = 2
"""Version of what a search measures: runs that were searched by an earlier one are searched again."""


def ensure(opened: OpenRun) -> bool:
    """Searches the thresholds of a run unless its maps, labels and prevalence are those that they were found on.

    Returns:
        Whether the search or the rule in use has changed.
    """
    with locked(opened.run.thresholds):
        searched = opened.run.folder / "thresholds" / "search.json"
        if not all((folder / "thresholds.json").is_file() for folder in _folders(opened.run).values()):
            searched.unlink(missing_ok=True)

        def run_search() -> None:
            search(opened, searched.parent, fixed=True)
            write_json(searched, {"rules": list(RULES)})

        done = store.File(searched, _made_from(opened)).build(run_search)
        opened.run.record(opened.recipe)
        return activate(opened.run, opened.recipe) or done


def put_recipes_rule_in_use(run: Run, recipe: Recipe) -> None:
    """Makes the rule that the recipe asks for the one that the run predicts with.

    Thresholds that were taken as `threshold.rule` says, on maps with TTA or without as `tta` says, stay as they are.
    Where they were searched with other settings than the recipe's, the log says so.

    Raises:
        KitError: it has not been searched or measured yet.
    """
    warn_if_searched_differently(run, recipe)
    found, wanted = thresholds_file.read(run.thresholds), run.rule(recipe.threshold.rule, recipe.tta)
    other = {run.oof(fold, not recipe.tta).name for fold in run.predicted_folds()}
    if found.asked != recipe.threshold.rule or other & found.hashes.keys():
        if not (wanted / "thresholds.json").is_file():
            asked = recipe.threshold.rule
            raise KitError(
                f"{wanted / 'thresholds.json'}: is missing: run `make train` to find the thresholds of {asked}"
            )
        with locked(run.thresholds):
            if activate(run, recipe):
                log.info("%s: rule %s is in use, %s", run.folder, *in_use(run))
    known, rule = run.read_recipe(), recipe.threshold.rule
    now = known.model_copy(update={"tta": recipe.tta, "threshold": known.threshold.model_copy(update={"rule": rule})})
    if now != known:  # verbs that are given the run alone go by its recipe
        run.record(now)


def warn_if_searched_differently(run: Run, recipe: Recipe) -> None:
    """Warns where a run's thresholds were searched for another prevalence or transfer than the recipe asks for now."""
    found = thresholds_file.read(run.thresholds)
    if not found.hashes:  # brought along by somebody
        return
    settings: dict[str, tuple[Any, Any]] = {"prevalence": (found.prevalence, recipe.prevalence)}
    if found.asked == FIXED:
        stored, fixed = asdict(found.rule), asdict(rules.fixed(recipe.threshold, gated=recipe.is_gated))
        settings |= {f"threshold.{key}": (stored.get(key), fixed.get(key)) for key in stored | fixed}
    else:
        settings["threshold.transfer"] = ("none" if found.share is None else "share", recipe.threshold.transfer)
        settings["threshold.smallest_contour"] = (found.rule.smallest_contour, recipe.threshold.smallest_contour)
    for key, (before, now) in settings.items():
        if before != now:
            log.warning(
                "%s: was searched with %s=%s, not %s: `make thresholds` with the same SET searches again",
                run.thresholds,
                key,
                *("null" if value is None else value for value in (before, now)),
            )


@dataclass(frozen=True)
class Explored:
    """What a search found, beside the rule that the run predicts with."""

    folders: dict[str, Path]
    """Folder of each search, by what to call it."""
    in_use: Path
    """Folder of the search whose rule is in use."""
    rule: str
    """Which rule that is."""
    why: str
    """Why that one."""


def explore(
    workspace: Workspace,
    data: Path | str,
    recipe: Recipe,
    kinds: Sequence[str] = RULES,
    prevalence: float | None = None,
    draws: int = 0,
) -> Explored:
    """Searches the thresholds of some rules on a run's OOF maps; the rule in use is the one that the recipe asks for.

    Returns:
        What was found, and which rule is in use.

    Raises:
        KitError: the run is not trained to its end or no longer what it was trained as.
    """
    opened = open_run(workspace, data, recipe)
    check_maps(opened)
    run = opened.run
    with logged(run):
        ensure(opened)
        folders = _folders(run)
        if prevalence is not None or draws:
            folders = search(opened, run.folder / "explored", kinds, prevalence, draws)
    asked = thresholds_file.read(run.thresholds).asked
    wanted = {*kinds, SEARCHED} if len(kinds) > 1 else {*kinds}
    shown = {name: path for name, path in folders.items() if path.name.removesuffix("-plain") in wanted}
    return Explored(shown, run.rule(asked, recipe.tta), *in_use(run))


def explore_arrays(
    maps_path: Path | str | None,
    masks_path: Path | str | None,
    kinds: Sequence[str],
    out: Path | str | None,
    folds_path: Path | str | None = None,
    prevalence: float | None = None,
    draws: int = 0,
) -> dict[str, Path]:
    """Searches the thresholds of some rules on external maps.

    Args:
        maps_path: .npy (N, H, W), uint8 levels or float probabilities.
        masks_path: .npy (N, H, W), bool or uint8 of 0 and 1; of the maps' size, or larger in the same proportions.
        out: Folder for what is found, made when missing; of several rules a subfolder each, and `searched` for the
            best.
        folds_path: Fold file; without, images are split into five groups for the nested estimate.
        prevalence: Expected share of positives, if it is not that of these images.

    Returns:
        Folder of each search, by what to call it.

    Raises:
        KitError: a file is not what it should be, or is not given.
    """
    if maps_path is None or masks_path is None or out is None:
        raise KitError("thresholds of external maps: give --maps, --masks and --out together")
    opened, masks = maps.open_maps(maps_path), open_masks(masks_path)
    folds, patients = None, list(opened.ids)
    if folds_path is not None:
        folds, patients = read_folds(folds_path, opened.ids, named=opened.named)
    search = ThresholdSearch(kinds, folds=folds, patients=patients, prevalence=prevalence, draws=draws)
    found = search.fit(opened, masks)
    sources = {"maps": maps_path, "masks": masks_path} | ({"folds": folds_path} if folds_path else {})
    hashes = {name: sha256(path) for name, path in sources.items()}
    several = len(kinds) > 1
    results = {SEARCHED: found.best_, **found.results_} if several else found.results_
    folders = {name: Path(out) / name if several else Path(out) for name in results}
    for name, result in results.items():
        result.write(folders[name], None, hashes)
    return folders


def in_use(run: Run) -> tuple[str, str]:
    """The rule that a run predicts with, and why that one."""
    found = thresholds_file.read(run.thresholds)
    if found.asked == SEARCHED:
        return found.rule.name, "which has the best nested Dice"
    return found.asked, "as threshold.rule says"


def activate(run: Run, recipe: Recipe) -> bool:
    """Makes the rule that the recipe asks for the one that the run predicts with; whether it was another before.

    Args:
        recipe: Of the run; its `tta` and `threshold.rule` count.
    """
    folder = run.rule(recipe.threshold.rule, recipe.tta)
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
    kinds: Sequence[str] = RULES,
    prevalence: float | None = None,
    draws: int = 0,
    fixed: bool = False,
) -> dict[str, Path]:
    """Searches the thresholds of each rule on the OOF maps, with and without TTA.

    Args:
        target: Folder to fill, a subfolder a search.

    Returns:
        Folder of each search, by what to call it.
    """
    target, run, recipe, competition = Path(target), opened.run, opened.recipe, opened.competition
    folders = {}
    for tta in (True, False):
        files = [run.oof(fold, tta) for fold in opened.split.numbers]
        stacks = [maps.open_maps(file) for file in files]
        rows = opened.split.table.set_index("image_id").loc[[i for stack in stacks for i in stack.ids]]
        classified = _classified(opened, tta)
        found = ThresholdSearch(
            kinds,
            folds=list(rows.fold),
            patients=list(rows.patient_id),
            prevalence=recipe.prevalence if prevalence is None else prevalence,
            match_positive_rate=recipe.threshold.transfer == "share",
            smallest_contour=recipe.threshold.smallest_contour,
            draws=draws,
        ).fit(
            (levels for stack in stacks for levels in stack),
            map(competition.truth, rows.index),
            np.concatenate([columns(parts) for parts in classified]) if classified else None,
        )
        sources = {file.name: file for file in files} | {"labels": competition.labels_path}
        for member in (file for parts in classified for file in parts):
            sources[member.relative_to(run.folder).as_posix()] = member
        hashes = {name: sha256(file) for name, file in sources.items()}
        results = {SEARCHED: found.best_, **found.results_}
        if fixed:
            results[FIXED] = found.measure(rules.fixed(recipe.threshold, gated=recipe.is_gated))
        for name, result in results.items():
            folder = target / run.rule(name, tta).name
            result.write(folder, recipe.name, hashes)
            folders[_title(name, tta)] = folder
    return folders


def _classified(opened: OpenRun, tta: bool) -> list[list[Path]]:
    """Files of the classifying members' OOF probabilities, by fold; none where there are no such members."""
    run, members = opened.run, opened.recipe.members_that("classify") if opened.recipe.is_gated else ()
    return [[run.part(part).oof(fold, tta, "classify") for part in members] for fold in opened.split.numbers if members]


def _made_from(opened: OpenRun) -> dict[str, Any]:
    """What the search depends on, by its content."""
    run, recipe = opened.run, opened.recipe
    numbers = opened.split.numbers
    made_from: dict[str, Any] = {
        "statistics": STATISTICS,
        "oof": [sha256(keys_path(run.oof(fold, tta))) for fold in numbers for tta in (True, False)],
        "labels": sha256(opened.competition.labels_path),
        "prevalence": recipe.prevalence,
        "rules": list(RULES),
        "transfer": recipe.threshold.transfer,
        "fixed": recipe.threshold.model_dump(mode="json", exclude={"rule", "candidates"}),
    }
    classified = [file for tta in (True, False) for parts in _classified(opened, tta) for file in parts]
    return made_from | {"image_probabilities": [sha256(file) for file in classified]}


def _folders(run: Run) -> dict[str, Path]:
    """Folder of each search, by what to call it."""
    kinds = (SEARCHED, *RULES, FIXED)
    return {_title(kind, tta): run.rule(kind, tta) for tta in (True, False) for kind in kinds}


def _title(kind: str, tta: bool) -> str:
    return f"{kind}, {'with' if tta else 'without'} TTA"
