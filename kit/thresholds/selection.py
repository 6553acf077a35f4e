"""Choosing decision rules on maps with known truth, and the files that hold what was chosen."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kit.core.arrays import save_arrays
from kit.core.errors import KitError
from kit.core.files import write_json
from kit.core.parallel import ordered
from kit.core.progress import progress
from kit.inference import rules
from kit.inference.maps import upsample
from kit.inference.rules import Rule
from kit.thresholds import cross_validation
from kit.thresholds.calibration import ExpectedSearch
from kit.thresholds.cleaned_search import CleanedSearch
from kit.thresholds.cleaning import cleaned_regions
from kit.thresholds.cross_validation import Carried
from kit.thresholds.draws import patient_draws, spread
from kit.thresholds.gate import GatedSearch
from kit.thresholds.search import ComponentSearch, ImageSearch, Search, Surface
from kit.thresholds.tables import Components, Histograms
from kit.thresholds.transfer import best_share
from kit.thresholds.triplet import TripletSearch

LONGEST = 9
"""Digits of an area: more than those of any image."""
KINDS = tuple(rules.RULES)
"""Names of the rules that can be searched."""


@dataclass(frozen=True)
class Result:
    """A rule with the thresholds that were best, and how good they are."""

    rule: Rule
    dice: float
    """Mean over the images that it was chosen on, positives and negatives weighted to the prevalence."""
    interval: list[float]
    """Bootstrap 95 % interval of `dice` over patients."""
    nested_dice: float | None
    """Mean where each fold's thresholds were chosen on the other folds; None with one patient."""
    nested_choice: float | None
    """As `nested_dice`, where the kind of rule was chosen on the other folds too; the same for all kinds."""
    share: float | None
    """Share of the images of a test set that get a mask; None: the rule's own cut says which do."""
    dice_positives: float | None
    """Mean over the positives; None without positives."""
    dice_all_empty: float
    """Mean of predicting nothing, weighted as `dice`."""
    negatives_empty: float | None
    """Share of the negatives whose mask is empty; None without negatives."""
    masked: float
    """Share of all images that get a mask, weighted as `dice`."""
    prevalence: float | None
    plateau: dict[str, list[float]]
    """The range of each threshold, the others held, that loses no more than 0.001."""
    spread: dict[str, list[float]] | None
    """The 2.5th, 50th and 97.5th percentile of each threshold over bootstrap draws; None: nothing was drawn."""
    surface: Surface | None = field(repr=False)
    images: np.ndarray = field(repr=False)
    """Dice of each image, (N,)."""
    nested_images: np.ndarray | None = field(repr=False)
    """Dice of each image in the nested estimate, (N,)."""


def choose(
    maps: Iterable[np.ndarray],
    truth: Iterable[np.ndarray],
    patients: Sequence[str],
    folds: Sequence[int] | None = None,
    kinds: Sequence[str] = ("image",),
    *,
    removal: Sequence[int] | None = None,
    prevalence: float | None = None,
    image_probability: np.ndarray | None = None,
    transfer: Literal["none", "share"] = "none",
    smallest_contour: int = 0,
    draws: int = 0,
) -> dict[str, Result]:
    """Finds the best thresholds of each rule. Reads every map once and keeps only tables of counts.

    Args:
        maps: Levels, uint8 (h, w) each; enlarged to the size of the truth where they are smaller.
        truth: Masks, bool (H, W) each, all of one size.
        patients: Of each image, (N,).
        folds: Of each image, (N,), for the nested estimate; without, patients are split into five groups.
        kinds: Names of rules.
        removal: Values to choose from, in pixels of a 1024×1024 image; None: all that make a difference.
        prevalence: Expected share of positives, if it is not that of these images.
        image_probability: P(the image has any pneumothorax) by a classifier, (N,): rules then have a `gate` too.
        transfer: How the choice is carried over to a test set (`kit.inference.share`); `dice` and `nested_dice` are
            what it scores on each fold taken for a test set.
        smallest_contour: Masks are cleaned of contours that enclose no more pixels of a 1024×1024 image, by the rules
            found and in all that is said of them (`CleanedRule`).
        draws: Bootstrap draws of patients, of which each rule's best thresholds are found too.

    Returns:
        A result for each of `kinds`.

    Raises:
        KitError: there are no images, or the prevalence makes no sense.
    """
    if not len(patients):
        raise KitError("there are no maps to choose thresholds on: predict some first")
    histograms = Histograms(len(patients), cleaned=smallest_contour > 0)
    components = Components(len(patients))
    tables: list[Histograms | Components] = [histograms, components] if "component" in kinds else [histograms]
    _fill(tables, maps, truth, len(patients), smallest_contour)
    positive = histograms.truth > 0
    weights = cross_validation.prevalence_weights(positive, prevalence)
    groups = cross_validation.leave_out(folds, patients)
    searches: dict[str, Search[Any]] = {kind: search_of(kind, histograms, components, removal) for kind in kinds}
    if smallest_contour:
        searches = {kind: CleanedSearch(search, smallest_contour) for kind, search in searches.items()}
    if image_probability is not None:
        probability = np.asarray(image_probability, np.float64)
        searches = {kind: GatedSearch(search, probability, histograms.empty) for kind, search in searches.items()}
    match = transfer == "share"
    carried = {kind: Carried(search, groups, weights, match) for kind, search in searches.items()}
    whole = cross_validation.nested_choice(list(carried.values()), groups, weights)
    drawn = patient_draws(weights, patients, draws) if draws else None
    results = {}
    for kind, search in progress(searches.items(), "searching", len(searches), unit="rule"):
        rule = search.best(weights)
        dice = carried[kind].dice(rule, weights)
        nested = carried[kind].nested()
        results[kind] = Result(
            rule=rule,
            dice=_mean(dice, weights),
            interval=cross_validation.interval(dice, weights, patients),
            nested_dice=None if nested is None else _mean(nested, weights),
            nested_choice=None if whole is None else _mean(whole, weights),
            share=best_share(search, rule, groups, weights) if match else None,
            dice_positives=float(dice[positive].mean()) if positive.any() else None,
            dice_all_empty=_mean(histograms.empty, weights),
            negatives_empty=float(dice[~positive].mean()) if not positive.all() else None,
            masked=_mean(carried[kind].masked(rule, weights), weights),
            prevalence=prevalence,
            plateau=(plateau := search.plateau(rule, weights)),
            spread=None if drawn is None else spread(search, list(plateau), drawn),
            surface=search.surface(rule, weights),
            images=dice,
            nested_images=nested,
        )
    return results


def _fill(
    tables: Sequence[Histograms | Components],
    maps: Iterable[np.ndarray],
    truth: Iterable[np.ndarray],
    count: int,
    smallest_contour: int,
) -> None:
    """Takes each pair of map and truth into the tables, a few at a time side by side."""

    def add(pair: tuple[int, tuple[np.ndarray, np.ndarray]]) -> None:
        index, (levels, mask) = pair
        full = upsample(levels, mask.shape)
        cleaned = cleaned_regions(full, mask, smallest_contour) if smallest_contour else None
        for table in tables:
            table.add(index, full, mask, cleaned)

    pairs = enumerate(zip(maps, truth, strict=True))
    for _ in progress(ordered(add, pairs), "tables", count):
        pass


def search_of(kind: str, histograms: Histograms, components: Components, removal: Sequence[int] | None) -> Search[Any]:
    """The search of a kind of rule on filled tables; `removal` are the values to choose from, None: all."""
    if kind == "expected":
        return ExpectedSearch(histograms)
    if kind == "component":
        return ComponentSearch(components, removal)
    return TripletSearch(histograms, removal) if kind == "triplet" else ImageSearch(histograms, removal)


def kinds_of(rule: str) -> tuple[str, ...]:
    """The rules that an option means: one, or `all`.

    Raises:
        KitError: there is no such rule.
    """
    if rule not in (*KINDS, "all"):
        raise KitError(f"--rule {rule}: is not known: give one of {', '.join(KINDS)}, all")
    return KINDS if rule == "all" else (rule,)


def removals_of(text: str | None) -> list[int] | None:
    """The values that an option lists.

    Raises:
        KitError: one is not a whole number from 0 up.

    >>> removals_of("0,512,1024")
    [0, 512, 1024]
    """
    if text is None:
        return None
    values = [value.strip() for value in text.split(",")]
    if not all(value.isdecimal() and len(value) <= LONGEST for value in values):
        raise KitError(f"--removal {text[:80]}: give whole pixels of a 1024×1024 image, such as 0,512,1024")
    return [int(value) for value in values]


def write(result: Result, folder: Path | str, recipe: str | None, hashes: dict[str, str]) -> None:
    """Writes surface.npz and thresholds.json into `folder`.

    Args:
        result: Of `choose`.
        folder: Made when missing.
        recipe: Name of the recipe that made the maps; None for external maps.
        hashes: SHA-256 of what the rule was chosen on, by name.
    """
    folder = Path(folder)
    if result.surface is not None:
        axes: dict[str, Any] = {"levels": result.surface.levels, "removal": result.surface.removal}
        if result.surface.dice.ndim == 3:
            axes["top"] = result.surface.levels
        save_arrays(folder / "surface.npz", dice=result.surface.dice, **axes)
    else:
        (folder / "surface.npz").unlink(missing_ok=True)  # of a rule that was searched before
    write_json(
        folder / "thresholds.json",
        {
            **rules.parameters(result.rule),
            "dice": result.dice,
            "interval": result.interval,
            "nested_dice": result.nested_dice,
            "nested_choice": result.nested_choice,
            "share": result.share,
            "dice_positives": result.dice_positives,
            "dice_all_empty": result.dice_all_empty,
            "negatives_empty": result.negatives_empty,
            "masked": result.masked,
            "plateau": result.plateau,
            **({} if result.spread is None else {"spread": result.spread}),
            "prevalence": result.prevalence,
            "recipe": recipe,
            "hashes": hashes,
        },
    )


def _mean(dice: np.ndarray, weights: np.ndarray) -> float:
    return min(1.0, float(weights @ dice / weights.sum()))  # sums of weights are rounded
