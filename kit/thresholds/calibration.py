"""Fitting the `expected` rule: the probability of foreground by level, and of a non-empty ground truth by areas."""

from dataclasses import replace

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from kit.inference.rules import ExpectedRule, size_of
from kit.thresholds.tables import Histograms

LEVELS = [13, 51, 102, 153, 204, 242]
"""Levels whose areas predict whether the truth is empty: p = 0.05, 0.2, 0.4, 0.6, 0.8, 0.95."""
CERTAIN = 30.0
"""Logit of an outcome that all images share."""


class ExpectedSearch:
    """Fits the `expected` rule, which has no thresholds and therefore no surface and no plateau."""

    def __init__(self, tables: Histograms) -> None:
        self.tables, self.empty = tables, tables.empty

    def best(self, weights: np.ndarray) -> ExpectedRule:
        """Returns the rule calibrated on the images whose weight is not 0."""
        tables = self.tables
        positive = tables.truth > 0
        positive_weights = np.where(positive, weights, 0.0)
        foreground = _foreground(tables, positive_weights)
        logit_weights, bias = _nonempty_logit(tables, positive, weights)
        rule = ExpectedRule(foreground.tolist(), 1.0, LEVELS, logit_weights.tolist(), float(bias))
        cut, expected = rule.best(tables.area)  # (N,) each
        approximated, real = positive_weights @ expected, positive_weights @ tables.gain(cut, np.arange(len(cut)))
        return replace(rule, trust=float(real / approximated) if approximated > 0 else 0.0)

    def dice(self, rule: ExpectedRule) -> np.ndarray:
        """Dice of each image under a rule of this kind, (N,)."""
        cut = rule.decide(self.tables.area, self.tables.pixels)
        masked = np.flatnonzero(cut < 256)
        dice = self.empty.copy()
        dice[masked] += self.tables.gain(cut[masked], masked)
        return dice

    def masked(self, rule: ExpectedRule) -> np.ndarray:
        """Whether each image gets a mask, bool (N,)."""
        return self.tables.is_filled(rule.decide(self.tables.area, self.tables.pixels))

    def candidates(self, rule: ExpectedRule) -> tuple[np.ndarray, np.ndarray]:
        """Score of the best mask of each image, and its Dice, (N,) each."""
        cut, score = rule.score(self.tables.area, self.tables.pixels)
        return score, self.empty + self.tables.gain(cut, np.arange(len(cut)))

    def surface(self, rule: ExpectedRule, weights: np.ndarray) -> None:
        """Returns None: the rule has no thresholds."""

    def plateau(self, rule: ExpectedRule, weights: np.ndarray) -> dict[str, list[float]]:
        """Returns no ranges: the rule has no thresholds."""
        return {}


def _foreground(tables: Histograms, weights: np.ndarray) -> np.ndarray:
    """Share of foreground among the pixels of each level, made monotonic by isotonic regression, (256,)."""
    if not weights.any():
        return np.zeros(256)
    pixels, hits = (-np.diff(table @ weights, append=0) for table in (tables.area, tables.overlap))
    present = pixels > 0
    regression = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    regression.fit(np.flatnonzero(present), hits[present] / pixels[present], sample_weight=pixels[present])
    return regression.predict(np.arange(256))


def _nonempty_logit(tables: Histograms, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    """Fits the logit of "the truth is not empty": weights (len(LEVELS),) and bias."""
    used = weights > 0
    if len(set(positive[used])) == 1:
        return np.zeros(len(LEVELS)), CERTAIN if positive[used][0] else -CERTAIN
    areas = np.log1p(size_of(tables.area[LEVELS].astype(np.int64), tables.pixels)).T  # (N, levels)
    # Areas are not standardised: one that hardly varies here (a grey background) must not gain weight elsewhere.
    regression = LogisticRegression(max_iter=10_000)
    regression.fit(areas[used], positive[used], sample_weight=weights[used])
    return regression.coef_[0], regression.intercept_[0]
