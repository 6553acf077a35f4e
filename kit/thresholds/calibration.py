"""Fitting the `expected` rule: what levels and areas say about the truth."""

from dataclasses import replace

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from kit.inference.rules import ExpectedRule, size_of
from kit.thresholds.tables import Histograms

LEVELS = [13, 51, 102, 153, 204, 242]
"""Levels whose areas tell whether the truth is empty: p = 0.05, 0.2, 0.4, 0.6, 0.8, 0.95."""
CERTAIN = 30.0
"""Logit of a thing that was so in every image."""


class ExpectedSearch:
    """Fits the `expected` rule; it has no thresholds, so it has no surface and no plateau."""

    def __init__(self, tables: Histograms) -> None:
        self.tables, self.empty = tables, tables.empty

    def best(self, weights: np.ndarray) -> ExpectedRule:
        """The rule calibrated on the images with a weight."""
        tables = self.tables
        filled = tables.truth > 0
        on_filled = np.where(filled, weights, 0.0)
        foreground = _foreground(tables, on_filled)
        logit_weights, bias = _emptiness(tables, filled, weights)
        rule = ExpectedRule(foreground.tolist(), 1.0, LEVELS, logit_weights.tolist(), float(bias))
        cut, expected = rule.best(tables.area)  # (N,) each
        promised, real = on_filled @ expected, on_filled @ tables.gain(cut, np.arange(len(cut)))
        return replace(rule, trust=float(real / promised) if promised > 0 else 0.0)

    def dice(self, rule: ExpectedRule) -> np.ndarray:
        """Dice of each image under a rule of this kind, (N,)."""
        cut = rule.decide(self.tables.area, self.tables.pixels)
        stands = np.flatnonzero(cut < 256)
        dice = self.empty.copy()
        dice[stands] += self.tables.gain(cut[stands], stands)
        return dice

    def masked(self, rule: ExpectedRule) -> np.ndarray:
        """Whether each image gets a mask, bool (N,)."""
        return self.tables.is_filled(rule.decide(self.tables.area, self.tables.pixels))

    def candidates(self, rule: ExpectedRule) -> tuple[np.ndarray, np.ndarray]:
        """What the best mask of each image is worth, and its Dice, (N,) each."""
        cut, worth = rule.score(self.tables.area, self.tables.pixels)
        return worth, self.empty + self.tables.gain(cut, np.arange(len(cut)))

    def surface(self, rule: ExpectedRule, weights: np.ndarray) -> None:
        """There is none."""

    def plateau(self, rule: ExpectedRule, weights: np.ndarray) -> dict[str, list[float]]:
        """There is none."""
        return {}


def _foreground(tables: Histograms, weights: np.ndarray) -> np.ndarray:
    """Share of foreground among the pixels of each level, never falling with the level, (256,)."""
    if not weights.any():
        return np.zeros(256)
    pixels, hits = (-np.diff(table @ weights, append=0) for table in (tables.area, tables.overlap))
    seen = pixels > 0
    regression = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    regression.fit(np.flatnonzero(seen), hits[seen] / pixels[seen], sample_weight=pixels[seen])
    return regression.predict(np.arange(256))


def _emptiness(tables: Histograms, filled: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (len(LEVELS),) and bias of the logit of "the truth is not empty"."""
    counts = weights > 0
    if len(set(filled[counts])) == 1:
        return np.zeros(len(LEVELS)), CERTAIN if filled[counts][0] else -CERTAIN
    areas = np.log1p(size_of(tables.area[LEVELS].astype(np.int64), tables.pixels)).T  # (N, levels)
    # Not standardised: an area that hardly varies here (a grey background) must not matter much elsewhere.
    regression = LogisticRegression(max_iter=10_000)
    regression.fit(areas[counts], filled[counts], sample_weight=weights[counts])
    return regression.coef_[0], regression.intercept_[0]
