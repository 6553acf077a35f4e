"""The search of a rule that ends with cleaning: it finds what is best for the masks that are written."""

from typing import Any

import numpy as np

from kit.inference.rules import CleanedRule
from kit.thresholds.search import Search, Surface


class CleanedSearch:
    """The search of a rule whose masks are cleaned; the inner search's tables know what the cleaned ones are worth.

    Args:
        search: Of the inner rule.
        smallest_contour: As of `CleanedRule`.
    """

    def __init__(self, search: Search[Any], smallest_contour: int) -> None:
        self.search, self.empty, self.smallest_contour = search, search.empty, smallest_contour

    def best(self, weights: np.ndarray) -> CleanedRule:
        """The rule whose cleaned masks are the best on these images."""
        return CleanedRule(self.search.best(weights), self.smallest_contour)

    def dice(self, rule: CleanedRule) -> np.ndarray:
        """Dice of each image's cleaned mask, (N,)."""
        return self.search.dice(rule.rule)

    def masked(self, rule: CleanedRule) -> np.ndarray:
        """Whether each image gets a mask, bool (N,); of `component`, before it is cleaned."""
        return self.search.masked(rule.rule)

    def candidates(self, rule: CleanedRule) -> tuple[np.ndarray, np.ndarray]:
        """Evidence before cleaning, and Dice after it, (N,) each."""
        return self.search.candidates(rule.rule)

    def surface(self, rule: CleanedRule, weights: np.ndarray) -> Surface | None:
        """Mean Dice of cleaned masks over the inner rule's thresholds."""
        return self.search.surface(rule.rule, weights)

    def plateau(self, rule: CleanedRule, weights: np.ndarray) -> dict[str, list[float]]:
        """How far each threshold can move."""
        return self.search.plateau(rule.rule, weights)
