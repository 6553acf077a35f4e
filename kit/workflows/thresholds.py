"""The verb `thresholds`: from a run's OOF maps to the rule that turns its test maps into masks.

Searching and choosing are two things. The search fills `thresholds/RULE/` of the run, with and without TTA. One of the
rules is in use: the one with the best nested Dice, or the one that the user has chosen with `--use`. It alone lies in
thresholds.json, where `predict` finds it. Exploring with other options leaves all of that as it is.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kit.core import store
from kit.core.errors import KitError
from kit.core.files import copy, locked, read_json, sha256, write_json
from kit.core.store import keys_path
from kit.inference import maps, rules, thresholds_file
from kit.inference.masks import read_image_probabilities
from kit.recipes.schema import Recipe
from kit.run import Run
from kit.thresholds import selection
from kit.workflows import fixed_rule
from kit.workflows.workspace import OpenRun, Workspace, check_maps, logged, open_run

log = logging.getLogger(__name__)

BEST = "best"
"""What `--use` calls the rule with the best nested Dice."""


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
            search(opened, searched.parent)
            fixed_rule.measure(opened)
            write_json(searched, {"rules": list(selection.KINDS)})

        done = store.File(searched, _made_from(opened)).build(run_search)
        opened.run.record(opened.recipe)
        return put_in_use(opened.run, opened.recipe, chosen_by_hand(opened.run)) or done


def put_recipes_rule_in_use(run: Run, recipe: Recipe) -> None:
    """Makes the rule that the recipe asks for the one that the run predicts with.

    Thresholds that were taken as `threshold.rule` says, on maps with TTA or without as `tta` says, stay as they are.
    Where they were searched with other settings than the recipe's, the log says so.

    Raises:
        KitError: it has not been searched or measured yet.
    """
    tell_of_other_settings(run, recipe)
    rule = recipe.threshold.rule
    if asked_for(run) != rule or not _fits(run, recipe):
        wanted = run.rule(rule, recipe.tta) / "thresholds.json"
        if rule != "searched" and not wanted.is_file():
            raise KitError(f"{wanted}: is missing: run `make train` to find the thresholds of {rule}")
        with locked(run.thresholds):
            if put_in_use(run, recipe, chosen_by_hand(run)):
                log.info("%s: rule %s is in use, %s", run.folder, *in_use(run))
    known = run.read_recipe()
    now = known.model_copy(update={"tta": recipe.tta, "threshold": known.threshold.model_copy(update={"rule": rule})})
    if now != known:  # verbs that are given the run alone go by its recipe
        run.record(now)


def tell_of_other_settings(run: Run, recipe: Recipe) -> None:
    """Warns where a run's thresholds were searched for another prevalence or transfer than the recipe asks for now."""
    found = thresholds_file.read(run.thresholds)
    if not found.hashes:  # brought along by somebody
        return
    settings: dict[str, tuple[Any, Any]] = {"prevalence": (found.prevalence, recipe.prevalence)}
    if found.asked == fixed_rule.FIXED:
        own = rules.parameters(rules.fixed(recipe.threshold, recipe.is_gated))
        settings |= {f"threshold.{key}": (getattr(found, key, None), value) for key, value in own.items()}
    else:
        settings["threshold.transfer"] = ("none" if found.share is None else "share", recipe.threshold.transfer)
        settings["threshold.smallest_contour"] = (found.smallest_contour, recipe.threshold.smallest_contour)
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
    why: str
    """Why that one."""


def explore(
    workspace: Workspace,
    data: Path | str,
    recipe: Recipe,
    kinds: Sequence[str] = selection.KINDS,
    removal: Sequence[int] | None = None,
    prevalence: float | None = None,
    draws: int = 0,
    use: str | None = None,
) -> Explored:
    """Searches the thresholds of some rules on a run's OOF maps; which rule is in use changes only where it is said.

    Args:
        workspace: Where things lie.
        data: The competition's folder.
        recipe: Of the run.
        kinds: Names of rules.
        removal: Values to choose from, in pixels of a 1024×1024 image; None: all that make a difference.
        prevalence: Share of positives to expect; None: as the recipe says.
        draws: Bootstrap draws that tell how far the best thresholds move; 0: none.
        use: The rule to use from now on, or `best`; None: as it was.

    Returns:
        What was found, and which rule is in use.

    Raises:
        KitError: the run is not trained to its end or no longer what it was trained as, or `use` is no rule.
    """
    if use is not None and use not in (*selection.KINDS, BEST):
        raise KitError(f"--use {use}: is not known: give one of {', '.join(selection.KINDS)}, or {BEST}")
    own = removal is None and prevalence is None and not draws
    if use is not None and not own:
        raise KitError(f"--use {use}: takes the thresholds of the recipe's own search: leave out the other options")
    opened = open_run(workspace, data, recipe)
    check_maps(opened)
    run = opened.run
    with logged(run):
        ensure(opened)
        if use is not None:
            with locked(run.thresholds):
                put_in_use(run, recipe, None if use == BEST else use)
            log.info("%s: rule %s is in use, %s", run.folder, *in_use(run))
        folders = _folders(run)
        if not own:
            folders = search(opened, run.folder / "explored", kinds, removal, prevalence, draws)
    rule, why = in_use(run)
    shown = {name: path for name, path in folders.items() if path.name.removesuffix("-plain") in kinds}
    return Explored(shown, run.rule(rule, recipe.tta), why)


def in_use(run: Run) -> tuple[str, str]:
    """The rule that a run predicts with, and why that one."""
    found = thresholds_file.read(run.thresholds)
    if found.asked != "searched":
        return found.asked, "as threshold.rule of the recipe says"
    by_hand = found.use is not None
    return found.rule, f"chosen by hand (--use {BEST} goes back)" if by_hand else "it has the best nested Dice"


def asked_for(run: Run) -> str:
    """The `threshold.rule` by which the rule in use was taken."""
    return thresholds_file.read(run.thresholds).asked


def chosen_by_hand(run: Run) -> str | None:
    """The rule that the user has chosen for a run; None where the nested Dice decides."""
    return thresholds_file.read(run.thresholds).use if run.thresholds.is_file() else None


def put_in_use(run: Run, recipe: Recipe, chosen: str | None) -> bool:
    """Makes a searched rule the one that the run predicts with; whether it was another before.

    Args:
        run: With a finished search.
        recipe: Of the run; its `tta` and `threshold.rule` count.
        chosen: A rule; None: the one with the best nested Dice.
    """
    tta, asked = recipe.tta, recipe.threshold.rule
    read = thresholds_file.read_measured
    rule: str = asked
    if asked == "searched":
        rule = chosen or max(selection.KINDS, key=lambda kind: _merit(read(run.rule(kind, tta) / "thresholds.json")))
    folder = run.rule(rule, tta)
    content = read(folder / "thresholds.json") | {"use": chosen, "asked": asked}
    if chosen is None and asked == "searched":  # the estimate covers the choice among the rules, too
        content["nested_dice"] = content.get("nested_choice")
    if run.thresholds.is_file() and read_json(run.thresholds) == content:
        return False
    surface = folder / run.surface.name
    if surface.is_file():
        copy(surface, run.surface)
    else:
        run.surface.unlink(missing_ok=True)
    write_json(run.thresholds, content)
    return True


def search(
    opened: OpenRun,
    target: Path | str,
    kinds: Sequence[str] = selection.KINDS,
    removal: Sequence[int] | None = None,
    prevalence: float | None = None,
    draws: int = 0,
) -> dict[str, Path]:
    """Searches the thresholds of each rule on the OOF maps, with and without TTA.

    Args:
        opened: The run with its data.
        target: Folder to fill, a subfolder a search.
        kinds: Names of rules.
        removal: Values to choose from, in pixels of a 1024×1024 image; None: all that make a difference.
        prevalence: Share of positives to expect; None: as the recipe says.
        draws: As of `explore`.

    Returns:
        Folder of each search, by what to call it.
    """
    target, run, recipe, competition = Path(target), opened.run, opened.recipe, opened.competition
    folders = {}
    for tta in (True, False):
        files = [run.oof(fold, tta) for fold in opened.split.numbers]
        stacks = [maps.open_maps(file) for file in files]
        rows = opened.split.table.set_index("image_id").loc[[i for stack in stacks for i in stack.ids]]
        gates = [run.oof(fold, tta, "classify") for fold in opened.split.numbers] if recipe.is_gated else []
        given = [read_image_probabilities(file, len(stack)) for file, stack in zip(gates, stacks, strict=bool(gates))]
        results = selection.choose(
            (levels for stack in stacks for levels in stack),
            map(competition.truth, rows.index),
            list(rows.patient_id),
            list(rows.fold),
            kinds,
            removal=removal,
            prevalence=recipe.prevalence if prevalence is None else prevalence,
            image_probability=np.concatenate(given) if given else None,
            transfer=recipe.threshold.transfer,
            smallest_contour=recipe.threshold.smallest_contour,
            draws=draws,
        )
        hashes = {file.name: sha256(file) for file in files + gates} | {"labels": sha256(competition.labels_path)}
        for kind, result in results.items():
            folder = target / run.rule(kind, tta).name
            selection.write(result, folder, recipe.name, hashes)
            folders[_title(kind, tta)] = folder
    return folders


def _made_from(opened: OpenRun) -> dict[str, Any]:
    """What the search depends on, by its content."""
    run, recipe = opened.run, opened.recipe
    numbers = opened.split.numbers
    made_from: dict[str, Any] = {
        "oof": [sha256(keys_path(run.oof(fold, tta))) for fold in numbers for tta in (True, False)],
        "labels": sha256(opened.competition.labels_path),
        "prevalence": recipe.prevalence,
        "rules": list(selection.KINDS),
        "transfer": recipe.threshold.transfer,
        "fixed": recipe.threshold.model_dump(mode="json", exclude={"rule", "candidates"}),
        **({"cleaned": True} if recipe.threshold.smallest_contour else {}),  # searches once did without
    }
    if recipe.is_gated:
        files = [run.oof(fold, tta, "classify") for fold in numbers for tta in (True, False)]
        made_from["image_probabilities"] = [sha256(file) for file in files]
    return made_from


def _fits(run: Run, recipe: Recipe) -> bool:
    """Whether the run's thresholds were chosen on maps with TTA, or without, as the recipe predicts."""
    chosen_on = thresholds_file.read(run.thresholds).hashes
    other = {run.oof(fold, not recipe.tta).name for fold in run.predicted_folds()}
    return not other & chosen_on.keys()


def _folders(run: Run) -> dict[str, Path]:
    """Folder of each rule's search, by what to call it."""
    kinds = (*selection.KINDS, fixed_rule.FIXED)
    return {_title(kind, tta): run.rule(kind, tta) for tta in (True, False) for kind in kinds}


def _title(kind: str, tta: bool) -> str:
    return f"{kind}, {'with' if tta else 'without'} TTA"


def _merit(found: dict[str, Any]) -> float:
    """Nested Dice; one patient alone leaves nothing to estimate it on, and then the Dice itself has to do."""
    return found["dice"] if found["nested_dice"] is None else found["nested_dice"]
