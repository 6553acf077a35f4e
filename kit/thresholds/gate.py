"""The gate as one more threshold: an image with a lower P(any pneumothorax) gets no mask, whatever its map."""

from dataclasses import replace
from typing import Any

import numpy as np

from kit.inference.rules import Rule
from kit.thresholds.curves import TIE, middle, run_around
from kit.thresholds.exact import FLAT, Search, Surface

GATES = np.arange(20) / 20
"""Gates to choose from. For each, the search for the inner rule is exact on the images that pass."""


class GatedSearch:
    """The search for a rule behind a gate; images that do not pass are scored with an empty mask.

    Args:
        search: Search for the inner rule, over the same images.
        image_probability: P(the image has any pneumothorax), (N,).
    """

    def __init__(self, search: Search[Any], image_probability: np.ndarray) -> None:
        self.search, self.image_probability, self.empty = search, image_probability, search.empty

    def best(self, weights: np.ndarray) -> Rule:
        """Returns the best gate with its best inner rule; of equal gates the middle of the longest run."""
        rules: list[Rule] = []
        previous: np.ndarray | None = None
        for gate in GATES:
            inner = self._inner(self.image_probability >= gate, weights)
            # If the same images pass as at the previous gate, the best inner rule is the same.
            if previous is None or not np.array_equal(inner, previous):
                rule = self.search.best(inner)
            rules.append(replace(rule, gate=float(gate)))
            previous = inner
        dice = np.array([weights @ self.dice(rule) for rule in rules]) / weights.sum()
        return rules[middle(dice >= dice.max() - TIE)]

    def dice(self, rule: Rule) -> np.ndarray:
        """Dice of each image, (N,)."""
        return np.where(rule.passes(self.image_probability), self.search.dice(rule), self.empty)

    def masked(self, rule: Rule) -> np.ndarray:
        """Whether each image gets a mask, bool (N,)."""
        return rule.passes(self.image_probability) & self.search.masked(rule)

    def candidates(self, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
        """Evidence and Dice by the inner rule; evidence 0 for images that do not pass."""
        evidence, dice = self.search.candidates(rule)
        return np.where(rule.passes(self.image_probability), evidence, 0.0), dice

    def surface(self, rule: Rule, weights: np.ndarray) -> Surface | None:
        """Mean Dice over the inner rule's thresholds, the gate fixed."""
        inner = self.search.surface(rule, self._inner(rule.passes(self.image_probability), weights))
        if inner is None:
            return None
        passing = weights * rule.passes(self.image_probability)
        shut_out = weights - passing
        return replace(inner, dice=(passing.sum() * inner.dice + shut_out @ self.empty) / weights.sum())

    def plateau(self, rule: Rule, weights: np.ndarray) -> dict[str, list[float]]:
        """Range of the gate and of each threshold, within which at most `FLAT` of the mean Dice is lost."""
        gates = np.union1d(GATES, rule.gate or 0.0)  # a given gate may lie between the gates to choose from
        dice = np.array([weights @ self.dice(replace(rule, gate=float(gate))) for gate in gates]) / weights.sum()
        index = int(np.searchsorted(gates, rule.gate or 0.0))
        start, stop = run_around(dice >= dice[index] - FLAT, index)
        inner = self.search.plateau(rule, self._inner(rule.passes(self.image_probability), weights))
        return {**inner, "gate": [float(gates[start]), float(gates[stop])]}

    def _inner(self, passes: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Weights for the inner search, (N,): 0 for images that do not pass; if none passes, the given weights."""
        passing = np.where(passes, weights, 0.0)
        return passing if passing.any() else weights
