"""The gate of classifiers as one more threshold: an image below it is empty whatever its map says."""

from dataclasses import replace
from typing import Any

import numpy as np

from kit.inference.rules import Rule
from kit.thresholds.curves import TIE, middle, run_around
from kit.thresholds.exact import FLAT, Search, Surface

GATES = np.arange(20) / 20
"""The gates to choose from. For each the inner rule's search is exact on the images that it lets through."""


class GatedSearch:
    """The search of a rule behind a gate: for each gate, the images that it shuts count with an empty mask.

    Args:
        search: Of the inner rule, over the same images.
        image_probability: P(the image has any pneumothorax), (N,).
    """

    def __init__(self, search: Search[Any], image_probability: np.ndarray) -> None:
        self.search, self.image_probability, self.empty = search, image_probability, search.empty

    def best(self, weights: np.ndarray) -> Rule:
        """The best gate with its best inner rule; of equal gates the middle of the longest run."""
        rules: list[Rule] = []
        before: np.ndarray | None = None
        for gate in GATES:
            inner = self._inner(self.image_probability >= gate, weights)
            # A gate that shuts no more images than the one before it has the same best inner rule.
            if before is None or not np.array_equal(inner, before):
                rule = self.search.best(inner)
            rules.append(replace(rule, gate=float(gate)))
            before = inner
        heights = np.array([weights @ self.dice(rule) for rule in rules]) / weights.sum()
        return rules[middle(heights >= heights.max() - TIE)]

    def dice(self, rule: Rule) -> np.ndarray:
        """Dice of each image, (N,)."""
        return np.where(rule.passes(self.image_probability), self.search.dice(rule), self.empty)

    def masked(self, rule: Rule) -> np.ndarray:
        """Whether each image gets a mask, bool (N,)."""
        return rule.passes(self.image_probability) & self.search.masked(rule)

    def candidates(self, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
        """The inner rule's candidates, without evidence where the gate is shut."""
        evidence, dice = self.search.candidates(rule)
        return np.where(rule.passes(self.image_probability), evidence, 0.0), dice

    def surface(self, rule: Rule, weights: np.ndarray) -> Surface | None:
        """Mean Dice over the inner rule's thresholds, the gate held."""
        inner = self.search.surface(rule, self._inner(rule.passes(self.image_probability), weights))
        if inner is None:
            return None
        opened = weights * rule.passes(self.image_probability)
        shut = weights - opened
        return replace(inner, dice=(opened.sum() * inner.dice + shut @ self.empty) / weights.sum())

    def plateau(self, rule: Rule, weights: np.ndarray) -> dict[str, list[float]]:
        """How far each threshold, and the gate, can move before more than `FLAT` of the mean Dice is lost."""
        heights = np.array([weights @ self.dice(replace(rule, gate=float(gate))) for gate in GATES]) / weights.sum()
        here = int(np.searchsorted(GATES, rule.gate or 0.0))
        start, stop = run_around(heights >= heights[here] - FLAT, here)
        inner = self.search.plateau(rule, self._inner(rule.passes(self.image_probability), weights))
        return {**inner, "gate": [float(GATES[start]), float(GATES[stop])]}

    def _inner(self, passes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Weights for the inner search: 0 where the gate is shut, unless it is shut for all, (N,)."""
        opened = np.where(passes, weights, 0.0)
        return opened if opened.any() else weights
