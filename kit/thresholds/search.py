"""The search for the decision rule that turns probability maps into masks, with a cross-validated score."""

from collections.abc import Callable, Iterable, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, InstanceOf
from sklearn.base import BaseEstimator

from kit.competition.scoring import FULL_AREA
from kit.core.arrays import save_arrays
from kit.core.errors import KitError, did_you_mean
from kit.core.files import write_json
from kit.core.parallel import map_in_order
from kit.core.progress import progress
from kit.inference import ensemble, rules
from kit.inference.maps import open_maps, to_levels, upsample
from kit.inference.rules import ComponentRule, ImageRule, Rule
from kit.inference.thresholds_file import Thresholds
from kit.thresholds import cross_validation
from kit.thresholds.calibration import ExpectedSearch
from kit.thresholds.cleaning import cleaned_regions
from kit.thresholds.cross_validation import NONE, Evaluation, ImageSet, RuleFitter
from kit.thresholds.exact import LevelSearch, Search, Surface
from kit.thresholds.external import open_masks
from kit.thresholds.gate import GatedSearch
from kit.thresholds.tables import Components, Histograms
from kit.thresholds.triplet import TripletSearch

RULES = tuple(rules.RULES)
"""Names of the rules that can be searched."""
Stack = np.ndarray | Sequence[np.ndarray] | Path | str
"""N images: one array (N, H, W), a sequence of arrays (H, W), or a .npy file."""


class SearchResult(Thresholds):
    """The best thresholds of a rule, and how good they are."""

    surface: InstanceOf[Surface] | None = Field(repr=False)
    images: InstanceOf[np.ndarray] = Field(repr=False)
    """Dice of each image by this rule, (N,)."""
    nested_images: InstanceOf[np.ndarray] | None = Field(repr=False)
    """Dice of each image in the nested estimate, (N,)."""

    def write(self, folder: Path | str, recipe: str | None, hashes: dict[str, str]) -> None:
        """Writes thresholds.json and, if the rule has a surface, surface.npz.

        Args:
            recipe: Name of the recipe that made the maps; None for external maps.
            hashes: SHA-256 of each file that the rule was chosen on, by name.
        """
        folder = Path(folder)
        if self.surface is not None:
            axes: dict[str, Any] = {"levels": self.surface.levels, "removal": self.surface.removal}
            if self.surface.dice.ndim == 3:
                axes["top"] = self.surface.levels
            save_arrays(folder / "surface.npz", dice=self.surface.dice, **axes)
        else:
            (folder / "surface.npz").unlink(missing_ok=True)  # an earlier search may have left it
        document = self.model_copy(update={"recipe": recipe, "hashes": hashes})
        write_json(folder / "thresholds.json", document.content)


class ThresholdSearch(BaseEstimator):  # type: ignore[misc]  # scikit-learn is not typed
    """Finds the best decision rule for probability maps with known ground truth.

    Every level and every `removal` that makes a difference is tried. Maps are read once; only counts are kept.

    Args:
        rules: Names of the rules to choose from: `image`, `component`, `triplet`, `expected`.
        folds: Fold of each image, for the nested estimate; if None, patients are split into five groups.
        patients: Patient of each image; if None, each image is its own patient.
        prevalence: Expected share of positives in (0, 1); if None, the share among these images.
        match_positive_rate: Also choose the share of a test set's images that get a mask, those with the most evidence
            (`kit.inference.masks`). The Dice then scores each group as a test set.
        removal: Values to choose from, in pixels of a 1024×1024 image; if None, all that make a difference.
        smallest_contour: Clean all masks of contours that enclose no more pixels of a 1024×1024 image.
        draws: Number of bootstrap samples of the patients for which each rule's best thresholds are found, too.

    Attributes:
        best_rule_: The rule with the best nested Dice.
        dice_: Nested Dice, including the choice among the rules; None if all images are of one group.
        interval_: Bootstrap 95 % interval of `dice_` over patients.
        apparent_dice_: Dice of `best_rule_` on the images that it was chosen on.
        results_: Result of each rule by itself, by name.
        best_: Result of choosing among the rules.
        surfaces_: Mean Dice over each rule's thresholds, by name; `expected` has no thresholds.

    >>> maps = np.zeros((10, 8, 8))
    >>> maps[::2, :4] = 0.8
    >>> maps[1::2, 0, 0] = 0.6
    >>> search = ThresholdSearch(rules=("image", "component")).fit(maps, maps > 0.7)
    >>> search.best_rule_.name, search.dice_, search.interval_
    ('image', 1.0, [1.0, 1.0])
    """

    def __init__(
        self,
        rules: Sequence[str] = RULES,
        *,
        folds: Sequence[int] | None = None,
        patients: Sequence[str] | None = None,
        prevalence: float | None = None,
        match_positive_rate: bool = False,
        removal: Sequence[int] | None = None,
        smallest_contour: int = 0,
        draws: int = 0,
    ) -> None:
        self.rules, self.folds, self.patients, self.prevalence = rules, folds, patients, prevalence
        self.match_positive_rate, self.removal = match_positive_rate, removal
        self.smallest_contour, self.draws = smallest_contour, draws

    def fit(
        self,
        maps: Iterable[np.ndarray],
        masks: Iterable[np.ndarray],
        image_probability: np.ndarray | None = None,
    ) -> "ThresholdSearch":
        """Chooses a rule.

        Args:
            maps: Map of each image, (h, w): uint8 levels v for p = v / 255, or probabilities in [0, 1].
            masks: Ground truth of each image, (H, W): bool, or numbers that are 0 outside the mask; of the map's size,
                or larger in the same proportions; the mask of a square map may have any proportions.
            image_probability: P(the image has any pneumothorax) by a classifier, (N,): rules then have a `gate`, too.
                With several classifiers, (N, M), a logistic regression stacks them, as part of the choice.

        Raises:
            KitError: there are no images, maps and masks do not fit together, or an option makes no sense.
        """
        self._check()
        probability = None if image_probability is None else np.asarray(image_probability, np.float64)
        if probability is not None and probability.ndim not in (1, 2):
            raise KitError(f"image_probability: has shape {probability.shape}: give (N,), or (N, M) of M classifiers")
        inputs = {"maps": maps, "masks": masks, "folds": self.folds, "patients": self.patients}
        inputs["image_probability"] = probability
        lengths = {name: len(values) for name, values in inputs.items() if isinstance(values, Sized)}
        count = next(iter(lengths.values()), 0)
        for name, length in lengths.items():
            if length != count:
                raise KitError(f"{name}: {length} for {count} {next(iter(lengths))}: give one a map, in the same order")
        if not count:
            raise KitError("there are no maps to choose thresholds on: predict some first")
        histograms, components = Histograms(count, cleaned=self.smallest_contour > 0), Components(count)

        def add(pair: tuple[int, tuple[np.ndarray, np.ndarray]]) -> None:
            index, (levels, mask) = pair
            levels, mask = _levels_and_mask(index, levels, mask)
            cleaned = cleaned_regions(levels, mask, self.smallest_contour) if self.smallest_contour else None
            histograms.add(index, levels, mask, cleaned)
            if "component" in self.rules:
                components.add(index, levels, mask, cleaned)

        for _ in progress(map_in_order(add, enumerate(zip(maps, masks, strict=True))), "preparing thresholds", count):
            pass
        patients = np.arange(count) if self.patients is None else np.asarray(self.patients)
        patients = np.unique(patients, return_inverse=True)[1]
        groups = cross_validation.group_numbers(self.folds, patients)
        self._images = ImageSet(histograms.empty, groups, patients, self.prevalence)
        self._searches: dict[str, Search[Any]] = {
            "image": LevelSearch(ImageRule, histograms, self.removal),
            "component": LevelSearch(ComponentRule, components, self.removal),
            "triplet": TripletSearch(histograms, self.removal),
            "expected": ExpectedSearch(histograms),
        }
        self._image_probability = probability
        self._stacked: dict[frozenset[int], np.ndarray] = {}
        fitters = {
            name: RuleFitter(self._search_without(name), self._images, match_positive_rate=self.match_positive_rate)
            for name in self.rules
        }
        with progress(self.rules, "searching", len(self.rules), unit="rule").by_the_second() as bar:
            self.results_ = {name: self._result(fitters[name]) for name in bar}
        every = list(fitters.values())
        self.best_ = self.results_[cross_validation.select(every).fit().rule.name]
        if len(every) > 1:
            changes = {"rules": tuple(fitters), **self._nested_scores(cross_validation.nested(every), every)}
            self.best_ = self.best_.model_copy(update=changes)
        self.best_rule_, self.apparent_dice_ = self.best_.rule, self.best_.apparent_dice
        self.dice_, self.interval_ = self.best_.nested_dice, self.best_.interval
        self.surfaces_ = {name: result.surface for name, result in self.results_.items() if result.surface is not None}
        return self

    def measure(self, rule: Rule) -> SearchResult:
        """Scores a given rule on the images; since nothing is chosen, nested and apparent Dice are the same."""
        fitter = RuleFitter(self._search_without(rule.name, gated=rule.gate is not None), self._images, rule=rule)
        result = self._result(fitter).model_copy(update={"rules": ()})
        if result.nested_dice is not None:
            return result
        return result.model_copy(update=self._nested_scores(fitter.apparent(), [fitter]))

    def _result(self, fitter: RuleFitter) -> SearchResult:
        """Fits a rule to all images and scores it."""
        search, images, fitted, apparent = fitter.search_without(NONE), self._images, fitter.fit(), fitter.apparent()
        plateau = search.plateau(fitted.rule, images.weights)
        return SearchResult(
            rule=replace(fitted.rule, smallest_contour=self.smallest_contour),
            rules=(fitted.rule.name,),
            **self._nested_scores(cross_validation.nested([fitter]), [fitter]),
            dice_all_empty=min(1.0, float(np.average(images.empty, weights=images.weights))),
            apparent_dice=apparent.mean_dice,
            masked=apparent.masked_share,
            share=fitted.share,
            prevalence=self.prevalence,
            plateau=plateau,
            spread=self._spread(search, list(plateau)) if self.draws else None,
            surface=search.surface(fitted.rule, images.weights),
            images=apparent.dice,
        )

    def _nested_scores(self, nested: Evaluation | None, fitters: Sequence[RuleFitter]) -> dict[str, Any]:
        """The nested scores of choosing among some rules, by the keys of a result."""
        positive = self._images.positive
        if nested is None:
            names = ("nested_dice", "interval", "dice_positives", "negatives_empty", "nested_images")
            return dict.fromkeys(names)
        return {
            "nested_dice": (estimate := nested.mean_dice),
            "interval": cross_validation.nested_interval(estimate, fitters),
            "dice_positives": float(nested.dice[positive].mean()) if positive.any() else None,
            "negatives_empty": float(nested.dice[~positive].mean()) if not positive.all() else None,
            "nested_images": nested.dice,
        }

    def _spread(self, search: Search[Any], names: Sequence[str]) -> dict[str, list[float]]:
        """Percentiles 2.5, 50 and 97.5 of these thresholds over the best rules of bootstrap samples."""
        images = self._images
        batches = cross_validation.bootstrap_counts(images.patients, self.draws)
        weights = (counts * images.weights for batch in batches for counts in batch)
        best = map_in_order(search.best, weights) if names else iter(())
        drawn = [rules.parameters(rule) for rule in progress(best, "draws", self.draws)]
        return {name: np.percentile([rule[name] for rule in drawn], [2.5, 50, 97.5]).tolist() for name in names}

    def _search_without(self, name: str, *, gated: bool = True) -> Callable[[frozenset[int]], Search[Any]]:
        """A function from excluded groups to the search of a rule, which depends on them if classifiers are stacked."""
        search = self._searches[name]
        if self._image_probability is None or not gated:
            return lambda _: search
        return lambda excluded: GatedSearch(search, self._gate_probability(excluded))

    def _gate_probability(self, excluded: frozenset[int]) -> np.ndarray:
        """P(the image has any pneumothorax), (N,); several classifiers are stacked without the excluded groups."""
        images, members = self._images, self._image_probability
        assert members is not None, "gated rules have it"
        if members.ndim == 1:
            return members
        if excluded not in self._stacked:
            stacked = ensemble.nested_probability(members, images.positive, images.groups, excluded)
            self._stacked[excluded] = stacked
        return self._stacked[excluded]

    def _check(self) -> None:
        if not len(self.rules):
            raise KitError(f"rules: there are none to choose from: give some of {', '.join(RULES)}")
        for name in self.rules:
            check_rule(name)
        if self.removal is not None:
            whole = all(float(value).is_integer() and 0 <= value <= FULL_AREA + 1 for value in self.removal)
            if not len(self.removal) or not whole:
                raise KitError(f"removal {list(self.removal)}: give whole pixels of a 1024×1024 image, such as 0, 512")


def choose_thresholds(
    maps: Stack,
    masks: Stack,
    rule: str = "image",
    folds: Sequence[int] | None = None,
    patients: Sequence[str] | None = None,
    removal: Sequence[int] | None = None,
    prevalence: float | None = None,
) -> SearchResult:
    """Finds the best thresholds of one rule, exactly, on maps with known ground truth; see `ThresholdSearch`.

    Args:
        maps: Probabilities in [0, 1], or uint8 levels v for p = v / 255.
        masks: Ground truth: bool, or numbers that are 0 outside the mask; of the size of the maps, or larger in the
            same proportions.
        rule: `image`, `component`, `triplet` or `expected`.
        folds: Fold of each image, for the nested estimate; if None, patients are split into five groups.
        patients: Patient of each image; if None, each image is its own patient.
        removal: Values to choose from, in pixels of a 1024×1024 image; if None, all that make a difference.
        prevalence: Expected share of positives in (0, 1); if None, the share among these images.

    Returns:
        The rule, whose `mask` turns levels into a mask; its nested Dice with a bootstrap interval; and its Dice on the
        images that it was chosen on.

    Raises:
        KitError: there is no such rule, an option makes no sense, or maps and masks do not fit together.

    >>> maps = np.zeros((10, 8, 8))
    >>> maps[::2, :4] = 0.8
    >>> maps[1::2, 0, 0] = 0.6
    >>> found = choose_thresholds(maps, maps > 0.7)
    >>> found.rule.name, found.nested_dice, int(found.rule.mask(np.full((8, 8), 255, np.uint8)).sum())
    ('image', 1.0, 64)
    """
    search = ThresholdSearch((rule,), folds=folds, patients=patients, prevalence=prevalence, removal=removal)
    levels = open_maps(maps) if isinstance(maps, Path | str) else maps
    truth = open_masks(masks) if isinstance(masks, Path | str) else masks
    return search.fit(levels, truth).best_


def _levels_and_mask(index: int, levels: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Converts a map to uint8 levels and its mask to bool, both at the mask's size (H, W)."""
    levels, mask = np.asarray(levels), np.asarray(mask)
    if levels.ndim != 2 or not levels.size or (levels.dtype != np.uint8 and levels.dtype.kind != "f"):
        raise KitError(
            f"maps: image {index} is {levels.dtype} {levels.shape}: give float probabilities or uint8 levels, (H, W)"
        )
    if mask.ndim != 2 or mask.dtype.kind not in "biuf":
        raise KitError(f"masks: image {index} is {mask.dtype} {mask.shape}: give bool or numbers, (H, W)")
    if mask.dtype.kind == "f" and np.isnan(mask).any():
        raise KitError(f"masks: image {index} has NaN: give 0 outside the mask")
    (height, width), (full_height, full_width) = levels.shape, mask.shape
    proportional = height == width or full_height * width == full_width * height
    if full_height < height or full_width < width or not proportional:
        raise KitError(
            f"masks: image {index} has {full_height}×{full_width} pixels, its map {height}×{width}: give masks of the "
            "maps' size, or larger in the same proportions"
        )
    try:
        return upsample(to_levels(levels), mask.shape), mask != 0
    except KitError as error:
        raise KitError(f"maps: image {index}: {error}") from None


def check_rule(name: str) -> None:
    """Raises a KitError if there is no such rule to search."""
    if name not in RULES:
        raise KitError(f"rule {name!r}: is not one of {', '.join(RULES)}{did_you_mean(name, RULES)}")


def parse_rules(text: str) -> tuple[str, ...]:
    """Returns the rules that the option `--rule` names: one of them, or `all`."""
    if text == "all":
        return RULES
    check_rule(text)
    return (text,)
