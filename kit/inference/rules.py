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
from kit.inference import cleaning
from kit.inference.maps import PROBABILITIES
from kit.recipes.schema import Threshold

REMEDY = "remove it and run `kit thresholds` again"
"""What to do about a thresholds.json that is not one."""
_SOME = 1024
"""Images whose expected Dice is held at all levels at a time."""


@dataclass(frozen=True)
class Rule(ABC):
    """From the map of an image to its mask."""

    gate: Share | None = field(default=None, kw_only=True)
    """P(the image has any pneumothorax) by a classifier, from which on the rule decides; None: there is none."""
    smallest_contour: Count = field(default=0, kw_only=True)
    """Contours that enclose no more pixels of a 1024×1024 image go: regions are dropped, holes filled; 0: none."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the rule is called in thresholds.json."""

    @property
    def cut(self) -> float:
        """The evidence from which on an image gets its mask."""
        return self.removal  # type: ignore[attr-defined]

    @abstractmethod
    def propose(self, levels: np.ndarray) -> tuple[np.ndarray, float]:
        """The mask of an image if it gets any, before its cleaning; and the evidence for it, 0 for none.

        Args:
            levels: uint8 (H, W).

        Returns:
            bool (H, W), and a number to be compared with `cut`, or with other images'.
        """

    def passes(self, image_probability: Any) -> Any:
        """Whether the gate is open, for one P(the image has any pneumothorax) or an array of them."""
        if self.gate is None:
            return True
        if image_probability is None:
            raise ValueError("a gated rule needs the probability that the image has any pneumothorax")
        return image_probability >= self.gate

    def candidate(self, levels: np.ndarray, image_probability: float | None = None) -> tuple[np.ndarray, float]:
        """What is proposed, cleaned, which may leave nothing of it; and its evidence, 0 where the gate is shut."""
        mask, evidence = self.propose(levels)
        return self._cleaned(mask), evidence if self.passes(image_probability) else 0.0

    def mask(self, levels: np.ndarray, image_probability: float | None = None) -> np.ndarray:
        """The mask of an image, bool (H, W): its candidate where the gate is open and the evidence reaches the cut."""
        if not self.passes(image_probability):
            return np.zeros(levels.shape, bool)
        mask, evidence = self.propose(levels)
        return self._cleaned(mask) if evidence >= self.cut else np.zeros_like(mask)

    def _cleaned(self, mask: np.ndarray) -> np.ndarray:
        limit = contour_limit(self.smallest_contour, mask.size)
        return cleaning.clean(mask, limit) if self.smallest_contour else mask


def level_of(binarization: float) -> int:
    """The lowest level v with v / 255 ≥ binarization, 256 where there is none.

    >>> level_of(0.0), level_of(0.75), level_of(192 / 255), level_of(1.0)
    (0, 192, 192, 255)
    """
    return int(np.searchsorted(PROBABILITIES, binarization))


def size_of(count: Any, pixels: Any) -> Any:
    """An area as whole pixels of a 1024×1024 image, rounded down: exact against any whole `removal`.

    Args:
        count: Number of pixels, an integer or an array of them.
        pixels: Of the whole image (H · W), or of each.

    >>> size_of(3, 512 * 512)
    12
    """
    return count * FULL_AREA // pixels


def contour_limit(smallest_contour: int, pixels: int) -> float:
    """The area, in pixels of an image of so many, that a contour has to exceed.

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
        """Its components, the largest kept even where it is smaller than `removal`; and the area of that one."""
        mask = levels >= level_of(self.binarization)
        if not mask.any():  # as most images, which need no labelling
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
        sure = int(np.count_nonzero(levels >= level_of(self.top)))
        return levels >= level_of(self.binarization), float(size_of(sure, levels.size))


@dataclass(frozen=True)
class ExpectedRule(Rule):
    """The mask of highest expected Dice for each image, or none where an empty mask is expected to be worth more.

    Given that the truth is not empty, the expected Dice of {v ≥ level} is taken for

        trust · 2 · (expected overlap) / (area + expected area of the truth),

    sums of `foreground` over the pixels of the mask and of the image; masks other than {v ≥ level} cannot be better,
    since `foreground` never falls. An empty mask is worth the probability that the truth is empty.
    """

    foreground: Annotated[list[Share], pydantic.Field(min_length=256, max_length=256)]
    """(256,) probability that a pixel of this level is foreground, in an image whose truth is not empty."""
    trust: Annotated[float, pydantic.Field(ge=0, le=1000)]
    """Real over approximated Dice, given that the truth is not empty."""
    levels: list[Annotated[int, pydantic.Field(ge=0, le=255)]]
    """Levels whose areas tell whether the truth is empty."""
    weights: list[Number]
    """Weights of log(1 + area in pixels of a 1024×1024 image) at these levels, in the logit of "not empty"."""
    bias: Number
    name = "expected"

    def __post_init__(self) -> None:
        if len(self.levels) != len(self.weights):
            raise ValueError(f"{len(self.levels)} levels and {len(self.weights)} weights: one weight a level is wanted")

    @property
    def cut(self) -> float:
        """From 1 on a mask wins."""
        return 1.0

    def propose(self, levels: np.ndarray) -> tuple[np.ndarray, float]:
        """The best mask, and what `score` says of it."""
        histogram = cv2.calcHist([levels], [0], None, [256], [0, 256])  # (256, 1)
        cut, worth = self.score(np.cumsum(histogram[::-1].astype(np.int64), axis=0)[::-1], levels.size)
        return levels >= cut[0], float(worth[0])

    def decide(self, area: np.ndarray, pixels: int | np.ndarray) -> np.ndarray:
        """The level at which each of N images is cut, (N,); 256 for an empty mask.

        Args:
            area: Pixels with v ≥ level, int (256, N).
            pixels: Of an image, or of each, (N,).
        """
        cut, worth = self.score(area, pixels)
        return np.where(worth >= 1, cut, 256)

    def score(self, area: np.ndarray, pixels: int | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The level of the best mask, and 1 + the Dice to expect of it − that of an empty mask: from 1 on it wins.

        Args:
            area: Pixels with v ≥ level, int (256, N).
            pixels: Of an image, or of each, (N,).

        Returns:
            (N,) and (N,).
        """
        cut, expected = self.best(area)
        return cut, self.p_nonempty(area, pixels) * (1 + self.trust * expected)

    def best(self, area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The level with the highest expected Dice, and that Dice before `trust`. (256, N) → (N,) and (N,)."""
        some = range(0, area.shape[1], _SOME)
        parts = [self.expected_dice(area[:, first : first + _SOME]) for first in some]  # (256, n)
        return np.concatenate([p.argmax(axis=0) for p in parts]), np.concatenate([p.max(axis=0) for p in parts])

    def expected_dice(self, area: np.ndarray) -> np.ndarray:
        """Dice of {v ≥ level} to expect before `trust`, given that the truth is not empty. (256, N) → (256, N)."""
        counts = area - np.vstack([area[1:], np.zeros_like(area[:1])])
        overlap = np.cumsum((counts * np.asarray(self.foreground)[:, None])[::-1], axis=0)[::-1]
        return 2 * overlap / np.maximum(area + overlap[:1], 1e-9)

    def p_nonempty(self, area: np.ndarray, pixels: int | np.ndarray) -> np.ndarray:
        """Probability that the truth is not empty. (256, N) → (N,); `pixels` of an image, or of each."""
        logit = self.bias
        for level, weight in zip(self.levels, self.weights, strict=True):
            logit = logit + weight * np.log1p(size_of(area[level].astype(np.int64), pixels))
        return 1 / (1 + np.exp(-logit))


RULES: dict[str, type[Any]] = {rule.name: rule for rule in (ImageRule, ComponentRule, TripletRule, ExpectedRule)}


def parameters(rule: Rule) -> dict[str, Any]:
    """The rule as thresholds.json holds it; cleaning and gate where there are such.

    >>> parameters(ImageRule(0.5, 2048, gate=0.4))
    {'rule': 'image', 'binarization': 0.5, 'removal': 2048, 'gate': 0.4}
    """
    own = asdict(rule)
    gate, smallest = own.pop("gate"), own.pop("smallest_contour")
    cleaned = {"smallest_contour": smallest} if smallest else {}
    return {"rule": rule.name, **own, **cleaned, **({} if gate is None else {"gate": gate})}


class _Named(Document):
    """The one key that says which rule the others are the parameters of."""

    rule: Literal["image", "component", "triplet", "expected"]


def parse(content: bytes, path: Path | str) -> Rule:
    """The rule in a JSON text, such as that of a thresholds.json; `path` names the text in errors.

    Raises:
        KitError: a value is not what it should be; names the key and what was expected.
    """
    named: _Named = parse_document(content, _Named, path, REMEDY)
    rule: Rule = parse_document(content, RULES[named.rule], path, REMEDY)
    return rule


def fixed(threshold: Threshold, gated: bool) -> Rule:
    """The rule that a recipe gives itself.

    >>> parameters(fixed(Threshold(binarization=0.75, removal=2048), gated=False))
    {'rule': 'image', 'binarization': 0.75, 'removal': 2048}
    """
    about: dict[str, Any] = {"smallest_contour": threshold.smallest_contour, "gate": threshold.gate if gated else None}
    if threshold.top is None:
        return ImageRule(threshold.binarization, threshold.removal, **about)
    return TripletRule(threshold.top, threshold.binarization, threshold.removal, **about)
