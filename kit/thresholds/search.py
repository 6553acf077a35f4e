"""The search for the decision rule that turns probability maps into masks: exact, grouped by patient, honest."""

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
from kit.thresholds.cross_validation import Choices, Images, Outcome
from kit.thresholds.exact import LevelSearch, Search, Surface
from kit.thresholds.external import open_masks
from kit.thresholds.gate import GatedSearch
from kit.thresholds.tables import Components, Histograms
from kit.thresholds.triplet import TripletSearch

RULES = tuple(rules.RULES)
"""Names of the rules that can be searched."""
Stack = np.ndarray | Sequence[np.ndarray] | Path | str
"""N images: one array (N, H, W), an array (H, W) each, or a .npy file."""
ALL: frozenset[int] = frozenset()
"""No group is left out."""


class Found(Thresholds):
    """A rule with the thresholds that were best, and how good they are."""

    surface: InstanceOf[Surface] | None = Field(repr=False)
    images: InstanceOf[np.ndarray] = Field(repr=False)
    """Dice of each image by this rule, (N,)."""
    nested_images: InstanceOf[np.ndarray] | None = Field(repr=False)
    """Dice of each image in the nested estimate, (N,)."""

    def write(self, folder: Path | str, recipe: str | None, hashes: dict[str, str]) -> None:
        """Writes thresholds.json and, of a rule that has one, surface.npz.

        Args:
            recipe: Name of the recipe that made the maps; None for external maps.
            hashes: SHA-256 of what the rule was chosen on, by name.
        """
        folder = Path(folder)
        if self.surface is not None:
            axes: dict[str, Any] = {"levels": self.surface.levels, "removal": self.surface.removal}
            if self.surface.dice.ndim == 3:
                axes["top"] = self.surface.levels
            save_arrays(folder / "surface.npz", dice=self.surface.dice, **axes)
        else:
            (folder / "surface.npz").unlink(missing_ok=True)  # of a rule that was searched before
        document = self.model_copy(update={"recipe": recipe, "hashes": hashes})
        write_json(folder / "thresholds.json", document.content)


class ThresholdSearch(BaseEstimator):  # type: ignore[misc]  # scikit-learn is not typed
    """Finds the decision rule that is best for maps with known truth.

    Every level and every `removal` that makes a difference is tried. Maps are read once; only counts are kept.

    Args:
        rules: Names of the rules to choose from: `image`, `component`, `triplet`, `expected`.
        folds: Of each image, for the nested estimate; None: patients are split into five groups.
        patients: Of each image; None: each image is a patient of its own.
        prevalence: Expected share of positives in (0, 1), if it is not that of these images.
        match_positive_rate: Choose the share of a test set's images that get a mask, too, those with the most evidence
            (`kit.inference.masks`). The Dice is then what each group scores that is taken for a test set.
        removal: Values to choose from, in pixels of a 1024×1024 image; None: all that make a difference.
        smallest_contour: Masks are cleaned of contours that enclose no more pixels of a 1024×1024 image, by the rules
            found and in all that is said of them.
        draws: Bootstrap samples of patients, of which each rule's best thresholds are found too.

    Attributes:
        best_rule_: The rule with the best nested Dice.
        dice_: Nested Dice, the choice among the rules included; None where all images are of one group.
        interval_: Bootstrap 95 % interval of `dice_` over patients.
        apparent_dice_: Of `best_rule_` on the images that it was chosen on.
        results_: What was found for each rule by itself, by its name.
        best_: What was found by choosing among them.
        surfaces_: Mean Dice over each rule's thresholds, by its name; `expected` has none.

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
            maps: Of each image, (h, w): uint8 levels v for p = v / 255, or probabilities in [0, 1].
            masks: The truth of each, (H, W): bool, or numbers that are 0 outside the mask; of the map's size, or
                larger in the same proportions, or in any where the map is square, as networks make them.
            image_probability: P(the image has any pneumothorax) by a classifier, (N,): rules then have a `gate`, too.
                By several, (N, M): they are stacked by a logistic regression, which is part of the choice.

        Raises:
            KitError: there are no images, maps and masks do not fit together, or an option makes no sense.
        """
        self._check()
        sizes = {"maps": maps, "masks": masks, "folds": self.folds, "patients": self.patients}
        known = {name: len(given) for name, given in sizes.items() if isinstance(given, Sized)}
        count = next(iter(known.values()), 0)
        for name, length in known.items():
            if length != count:
                raise KitError(f"{name}: {length} for {count} {next(iter(known))}: give one a map, in the same order")
        if not count:
            raise KitError("there are no maps to choose thresholds on: predict some first")
        histograms, components = Histograms(count, self.smallest_contour > 0), Components(count)

        def add(pair: tuple[int, tuple[np.ndarray, np.ndarray]]) -> None:
            index, given = pair
            levels, mask = _fitted(index, *given)
            cleaned = cleaned_regions(levels, mask, self.smallest_contour) if self.smallest_contour else None
            histograms.add(index, levels, mask, cleaned)
            if "component" in self.rules:
                components.add(index, levels, mask, cleaned)

        for _ in progress(map_in_order(add, enumerate(zip(maps, masks, strict=True))), "preparing thresholds", count):
            pass
        patients = np.arange(count) if self.patients is None else np.asarray(self.patients)
        patients = np.unique(patients, return_inverse=True)[1]
        groups = cross_validation.group_numbers(self.folds, patients)
        self._images = Images(histograms.empty, groups, patients, self.prevalence)
        self._searches: dict[str, Search[Any]] = {
            "image": LevelSearch(ImageRule, histograms, self.removal),
            "component": LevelSearch(ComponentRule, components, self.removal),
            "triplet": TripletSearch(histograms, self.removal),
            "expected": ExpectedSearch(histograms),
        }
        self._image_probability = None if image_probability is None else np.asarray(image_probability, np.float64)
        self._stacked: dict[frozenset[int], np.ndarray] = {}
        with progress(self.rules, "searching", len(self.rules), unit="rule").by_the_second() as bar:
            kinds = {name: Choices(self._search(name), self._images, self.match_positive_rate) for name in bar}
        self.results_ = {name: self._found(kind) for name, kind in kinds.items()}
        chosen = cross_validation.best(list(kinds.values()))
        self.best_ = self.results_[next(name for name, kind in kinds.items() if kind is chosen)]
        if len(kinds) > 1:
            nested = cross_validation.nested(list(kinds.values()))
            changes = {"rules": tuple(kinds), **self._nested(nested, list(kinds.values()))}
            self.best_ = self.best_.model_copy(update=changes)
        self.best_rule_, self.apparent_dice_ = self.best_.rule, self.best_.apparent_dice
        self.dice_, self.interval_ = self.best_.nested_dice, self.best_.interval
        self.surfaces_ = {name: found.surface for name, found in self.results_.items() if found.surface is not None}
        return self

    def measure(self, rule: Rule) -> Found:
        """What a rule that somebody gives is worth on the images; since nothing is chosen, all its Dice are one."""
        given = Choices(self._search(rule.name, rule.gate is not None), self._images, rule=rule)
        found = self._found(given).model_copy(update={"rules": ()})
        if found.nested_dice is not None:
            return found
        return found.model_copy(update=self._nested(given.apparent(), [given]))

    def _found(self, kind: Choices) -> Found:
        """What a kind of rule is worth, its thresholds chosen on all images."""
        search, images, choice, apparent = kind.search(ALL), self._images, kind.without(), kind.apparent()
        plateau = search.plateau(choice.rule, images.weights)
        return Found(
            rule=replace(choice.rule, smallest_contour=self.smallest_contour),
            rules=(choice.rule.name,),
            **self._nested(cross_validation.nested([kind]), [kind]),
            dice_all_empty=min(1.0, float(np.average(images.empty, weights=images.weights))),
            apparent_dice=apparent.mean_dice,
            masked=apparent.masked_share,
            share=choice.share,
            prevalence=self.prevalence,
            plateau=plateau,
            spread=self._spread(search, list(plateau)) if self.draws else None,
            surface=search.surface(choice.rule, images.weights),
            images=apparent.dice,
        )

    def _nested(self, nested: Outcome | None, kinds: Sequence[Choices]) -> dict[str, Any]:
        """What the nested estimate of a choice from some kinds of rules says."""
        positive = self._images.positive
        if nested is None:
            names = ("nested_dice", "interval", "dice_positives", "negatives_empty", "nested_images")
            return dict.fromkeys(names)
        return {
            "nested_dice": (estimate := nested.mean_dice),
            "interval": cross_validation.nested_interval(estimate, kinds),
            "dice_positives": float(nested.dice[positive].mean()) if positive.any() else None,
            "negatives_empty": float(nested.dice[~positive].mean()) if not positive.all() else None,
            "nested_images": nested.dice,
        }

    def _spread(self, search: Search[Any], names: Sequence[str]) -> dict[str, list[float]]:
        """The 2.5th, 50th and 97.5th percentile of some thresholds over the best rules of bootstrap samples."""
        images = self._images
        samples = (counts for some in cross_validation.resampled(images.patients, self.draws) for counts in some)
        best = map_in_order(search.best, (counts * images.weights for counts in samples)) if names else iter(())
        found = [rules.parameters(rule) for rule in progress(best, "draws", self.draws)]
        return {name: np.percentile([rule[name] for rule in found], [2.5, 50, 97.5]).tolist() for name in names}

    def _search(self, name: str, gated: bool = True) -> Callable[[frozenset[int]], Search[Any]]:
        """The search of a rule, given the groups that are left out."""
        search, members = self._searches[name], self._image_probability
        if members is None or not gated:
            return lambda _: search

        def without(left_out: frozenset[int]) -> GatedSearch:
            if members.ndim == 1:
                return GatedSearch(search, members)
            if left_out not in self._stacked:
                images = self._images
                stacked = ensemble.nested_probability(members, images.positive, images.groups, left_out)
                self._stacked[left_out] = stacked
            return GatedSearch(search, self._stacked[left_out])

        return without

    def _check(self) -> None:
        for name in self.rules:
            check_rule(name)
        if self.removal is not None:
            whole = all(float(value) == int(value) and 0 <= value <= FULL_AREA + 1 for value in self.removal)
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
) -> Found:
    """Finds the best thresholds of a rule, exactly, on maps with known truth: `ThresholdSearch` for one rule.

    Args:
        maps: Probabilities in [0, 1], or uint8 levels v for p = v / 255.
        masks: The truth: bool, or numbers that are 0 outside the mask; of the size of the maps, or larger in the same
            proportions.
        rule: `image`, `component`, `triplet` or `expected`.
        folds: Of each image, for the nested estimate; without, patients are split into five groups.
        patients: Of each image; without, each image is a patient of its own.
        removal: Values to choose from, in pixels of a 1024×1024 image; None: all that make a difference.
        prevalence: Expected share of positives in (0, 1), if it is not that of these images.

    Returns:
        The rule, whose `mask` turns levels into a mask; its Dice where each group's thresholds are chosen on the other
        groups, with a bootstrap interval; and its Dice on the images that it was chosen on.

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


def _fitted(index: int, levels: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A map as levels, uint8, and its mask, bool, both at the mask's size (H, W)."""
    levels, mask = np.asarray(levels), np.asarray(mask)
    if levels.ndim != 2 or not levels.size or (levels.dtype != np.uint8 and levels.dtype.kind != "f"):
        found = f"{levels.dtype} {levels.shape}"
        raise KitError(f"maps: image {index} is {found}: give float probabilities or uint8 levels, (H, W)")
    if mask.ndim != 2 or mask.dtype.kind not in "biuf":
        raise KitError(f"masks: image {index} is {mask.dtype} {mask.shape}: give bool or numbers, (H, W)")
    (height, width), (full_height, full_width) = levels.shape, mask.shape
    proportional = height == width or full_height * width == full_width * height
    if full_height < height or full_width < width or not proportional:
        raise KitError(
            f"masks: image {index} has {full_height}×{full_width} pixels, its map {height}×{width}: give masks of the "
            "maps' size, or larger in the same proportions"
        )
    return upsample(to_levels(levels), mask.shape), mask != 0


def check_rule(name: str) -> None:
    """Raises a KitError where there is no such rule to search."""
    if name not in RULES:
        raise KitError(f"rule {name!r}: is not one of {', '.join(RULES)}{did_you_mean(name, RULES)}")


def parse_rules(text: str) -> tuple[str, ...]:
    """The rules that an option means: one, or `all`."""
    if text == "all":
        return RULES
    check_rule(text)
    return (text,)
