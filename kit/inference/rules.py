"""Decision rules: from a probability map to a mask, the same functions in the search, `predict` and the kernel.

`removal` is always counted in whole pixels of a 1024×1024 image, whatever size the map has.
"""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import pydantic

from kit.competition.scoring import FULL_AREA
from kit.core.documents import Count, Document, Number, Share, parse_document
from kit.core.errors import KitError
from kit.inference import cleaning
from kit.inference.maps import PROBABILITIES
from kit.recipes.schema import Threshold

REMEDY = "remove it and run `kit thresholds` again"
"""What to do about an invalid thresholds.json."""
_BATCH = 1024
"""Number of images whose expected Dice at all levels is in memory at a time."""


@dataclass(frozen=True)
class Rule(ABC):
    """Turns the map of an image into its mask."""

    gate: Share | None = field(default=None, kw_only=True)
    """Images with a lower P(any pneumothorax) by a classifier get no mask; optional."""
    smallest_contour: Count = field(default=0, kw_only=True)
    """Contours of at most this many pixels of a 1024×1024 image are cleaned away (`cleaning`); 0 for no cleaning."""

    @property
    @abstractmethod
    def name(self) -> str:
        """Name of the rule in thresholds.json."""

    @property
    def cut(self) -> float:
        """Evidence that an image needs to get a mask."""
        return self.removal  # type: ignore[attr-defined]

    @abstractmethod
    def propose(self, levels: np.ndarray) -> tuple[np.ndarray, float]:
        """Computes the mask that an image has if it gets any, before cleaning; and the evidence for it, 0 for none.

        Args:
            levels: uint8 (H, W).

        Returns:
            bool (H, W), and a number to compare with `cut`, or with the evidence of other images.
        """

    def passes(self, image_probability: Any) -> Any:
        """Whether an image passes the gate, for one P(the image has any pneumothorax) or an array of them."""
        if self.gate is None:
            return True
        if image_probability is None:
            raise ValueError("a gated rule needs the probability that the image has any pneumothorax")
        return image_probability >= self.gate

    def candidate(self, levels: np.ndarray, image_probability: float | None = None) -> tuple[np.ndarray, float]:
        """The cleaned proposed mask, which may be empty; and its evidence, 0 if the image does not pass the gate."""
        mask, evidence = self.propose(levels)
        return self._cleaned(mask), evidence if self.passes(image_probability) else 0.0

    def mask(self, levels: np.ndarray, image_probability: float | None = None) -> np.ndarray:
        """The mask of an image, bool (H, W): its candidate if the gate is passed and the evidence reaches the cut.

        Raises:
            KitError: the levels are not uint8, such as probabilities, all of which lie below a threshold in levels.
        """
        if levels.dtype != np.uint8:
            raise KitError(f"mask: levels are {levels.dtype}: give uint8, as np.uint8(np.rint(255 * probability))")
        if not self.passes(image_probability):
            return np.zeros(levels.shape, bool)
        mask, evidence = self.propose(levels)
        return self._cleaned(mask) if evidence >= self.cut else np.zeros_like(mask)

    def _cleaned(self, mask: np.ndarray) -> np.ndarray:
        limit = contour_limit(self.smallest_contour, mask.size)
        return cleaning.clean(mask, limit) if self.smallest_contour else mask


def level_of(binarization: float) -> int:
    """Returns the lowest level v with v / 255 ≥ binarization; 256 if there is none.

    >>> level_of(0.0), level_of(0.75), level_of(192 / 255), level_of(1.0)
    (0, 192, 192, 255)
    """
    return int(np.searchsorted(PROBABILITIES, binarization))


def size_of(count: Any, pixels: Any) -> Any:
    """Converts an area to whole pixels of a 1024×1024 image, rounded down, which changes no comparison with `removal`.

    Args:
        count: Number of pixels, an integer or an array.
        pixels: Number of pixels of the whole image (H · W), an integer or an array.

    >>> size_of(3, 512 * 512)
    12
    """
    return count * FULL_AREA // pixels


def contour_limit(smallest_contour: int, pixels: int) -> float:
    """Converts `smallest_contour` to pixels of an image that has `pixels` pixels.

    >>> contour_limit(100, 512 * 512)
    25.0
    """
    return smallest_contour * pixels / FULL_AREA


@dataclass(frozen=True)
class ImageRule(Rule):
    """{p ≥ binarization}; empty when its area is below `removal`."""

    binarization: Share
    removal: Count
    name = "image"

    def propose(self, levels: np.ndarray) -> tuple[np.ndarray, float]:
        """{p ≥ binarization}, and its area."""
        mask = levels >= level_of(self.binarization)
        return mask, float(size_of(int(np.count_nonzero(mask)), levels.size))


@dataclass(frozen=True)
class ComponentRule(Rule):
    """{p ≥ binarization} without its 8-connected components smaller than `removal` (R-TH of the paper)."""

    binarization: Share
    removal: Count
    name = "component"

    def propose(self, levels: np.ndarray) -> tuple[np.ndarray, float]:
        """The components of at least `removal`, or else the largest one; and the area of the largest."""
        mask = levels >= level_of(self.binarization)
        if not mask.any():  # most images, which need no labelling
            return mask, 0.0
        _, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(
            mask.view(np.uint8), 8, cv2.CV_32S, cv2.CCL_BBDT
        )
        sizes = size_of(stats[:, cv2.CC_STAT_AREA].astype(np.int64), levels.size)
        sizes[0] = -1  # the background
        largest = int(sizes.max())
        return (sizes >= min(self.removal, largest))[labels], float(largest)


@dataclass(frozen=True)
class TripletRule(Rule):
    """Empty when the area of {p ≥ top} is below `removal`, else {p ≥ binarization} (the winner's rule)."""

    top: Share
    binarization: Share
    removal: Count
    name = "triplet"

    def propose(self, levels: np.ndarray) -> tuple[np.ndarray, float]:
        """{p ≥ binarization}, and the area of {p ≥ top}."""
        area = int(np.count_nonzero(levels >= level_of(self.top)))
        return levels >= level_of(self.binarization), float(size_of(area, levels.size))


@dataclass(frozen=True)
class ExpectedRule(Rule):
    """The mask of highest expected Dice for each image, or no mask if an empty mask has a higher expected Dice.

    If the truth is not empty, the expected Dice of {v ≥ level} is approximated by

        trust · 2 · (expected overlap) / (area + expected area of the truth),

    sums of `foreground` over the pixels of the mask and of the image; masks other than {v ≥ level} cannot be better,
    since `foreground` never falls. The expected Dice of an empty mask is the probability that the truth is empty.
    """

    foreground: Annotated[list[Share], pydantic.Field(min_length=256, max_length=256)]
    """(256,) probability that a pixel of each level is foreground, in an image whose truth is not empty."""
    trust: Annotated[float, pydantic.Field(ge=0, le=1000)]
    """Ratio of real to approximated Dice of images whose truth is not empty."""
    levels: list[Annotated[int, pydantic.Field(ge=0, le=255)]]
    """Levels whose areas predict whether the truth is empty."""
    weights: list[Number]
    """Weights of log(1 + area in pixels of a 1024×1024 image) at these levels, in the logit of "not empty"."""
    bias: Number
    name = "expected"

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.weights):
            raise ValueError(f"{len(self.levels)} levels and {len(self.weights)} weights: one weight a level is wanted")

    @property
    def cut(self) -> float:
        """A mask needs a score of 1."""
        return 1.0

    def propose(self, levels: np.ndarray) -> tuple[np.ndarray, float]:
        """The best mask, and its `score`."""
        histogram = cv2.calcHist([levels], [0], None, [256], [0, 256])  # (256, 1)
        cut, score = self.score(np.cumsum(histogram[::-1].astype(np.int64), axis=0)[::-1], levels.size)
        return levels >= cut[0], float(score[0])

    def decide(self, area: np.ndarray, pixels: int | np.ndarray) -> np.ndarray:
        """Returns the level of each of N images' masks, (N,); 256 for an empty mask.

        Args:
            area: Number of pixels with v ≥ level, int (256, N).
            pixels: Number of pixels of an image, one for all or (N,).
        """
        cut, score = self.score(area, pixels)
        return np.where(score >= 1, cut, 256)

    def score(self, area: np.ndarray, pixels: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Level and score of the best mask, (N,) each; the score is 1 + its expected Dice − that of an empty mask.

        Args:
            area: Number of pixels with v ≥ level, int (256, N).
            pixels: Number of pixels of an image, one for all or (N,).
        """
        cut, expected = self.best(area)
        return cut, self.p_nonempty(area, pixels) * (1 + self.trust * expected)

    def best(self, area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The level with the highest expected Dice, and that Dice before `trust`. (256, N) → (N,) and (N,)."""
        starts = range(0, area.shape[1], _BATCH)
        parts = [self.expected_dice(area[:, start : start + _BATCH]) for start in starts]  # (256, n)
        return np.concatenate([p.argmax(axis=0) for p in parts]), np.concatenate([p.max(axis=0) for p in parts])

    def expected_dice(self, area: np.ndarray) -> np.ndarray:
        """Expected Dice of {v ≥ level} before `trust`, if the truth is not empty. (256, N) → (256, N)."""
        counts = area - np.vstack([area[1:], np.zeros_like(area[:1])])
        overlap = np.cumsum((counts * np.asarray(self.foreground)[:, None])[::-1], axis=0)[::-1]
        return 2 * overlap / np.maximum(area + overlap[:1], 1e-9)

    def p_nonempty(self, area: np.ndarray, pixels: int | np.ndarray) -> np.ndarray:
        """Probability that the truth is not empty. (256, N) → (N,); `pixels` as for `score`."""
        logit = self.bias
        for level, weight in zip(self.levels, self.weights, strict=True):
            logit = logit + weight * np.log1p(size_of(area[level].astype(np.int64), pixels))
        return 1 / (1 + np.exp(-logit))


RULES: dict[str, type[Any]] = {rule.name: rule for rule in (ImageRule, ComponentRule, TripletRule, ExpectedRule)}


def parameters(rule: Rule) -> dict[str, Any]:
    """Returns a rule as JSON values, as in thresholds.json; cleaning and gate only if the rule has them.

    >>> parameters(ImageRule(0.5, 2048, gate=0.4))
    {'rule': 'image', 'binarization': 0.5, 'removal': 2048, 'gate': 0.4}
    """
    values = asdict(rule)
    gate, smallest = values.pop("gate"), values.pop("smallest_contour")
    cleaned = {"smallest_contour": smallest} if smallest else {}
    return {"rule": rule.name, **values, **cleaned, **({} if gate is None else {"gate": gate})}


class _Named(Document):
    """The key that names the rule; all other keys are its parameters."""

    rule: Literal[tuple(RULES)]  # type: ignore[valid-type]  # known when this runs


def parse(content: bytes, path: Path | str) -> Rule:
    """The rule in a JSON text, such as that of a thresholds.json; `path` names the text in errors.

    Raises:
        KitError: a value is not what it should be; names the key and what was expected.
    """
    named: _Named = parse_document(content, _Named, path, REMEDY)
    rule: Rule = parse_document(content, RULES[named.rule], path, REMEDY)
    return rule


def fixed(threshold: Threshold, *, gated: bool) -> Rule:
    """Returns the rule by a recipe's own thresholds.

    >>> parameters(fixed(Threshold(binarization=0.75, removal=2048), gated=False))
    {'rule': 'image', 'binarization': 0.75, 'removal': 2048}
    """
    gate, smallest = threshold.gate if gated else None, threshold.smallest_contour
    if threshold.top is None:
        return ImageRule(threshold.binarization, threshold.removal, gate=gate, smallest_contour=smallest)
    return TripletRule(threshold.top, threshold.binarization, threshold.removal, gate=gate, smallest_contour=smallest)
