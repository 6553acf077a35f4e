"""Bias of the nested Dice and coverage of its interval, on simulated data sets with many fresh images."""

import numpy as np

from kit.inference.masks import rank_quantiles
from kit.inference.rules import ImageRule
from kit.thresholds.cross_validation import ImageSet, RuleFitter, nested, nested_interval
from kit.thresholds.exact import LevelSearch
from kit.thresholds.tables import Histograms

PIXELS, PREVALENCE, IMAGES, FOLDS, SETS = 1024 * 1024, 0.22, 600, 5, 200
LEVELS = np.arange(256)[:, None]


def simulate(rng, count):
    """Counts of simulated images, for a network that misses some positives and flags some negatives."""
    positive = rng.random(count) < PREVALENCE
    truth = np.where(positive, np.exp(rng.normal(9.2, 1.2, count)), 0).astype(np.int64).clip(max=PIXELS // 4)
    peak = 255 / (1 + np.exp(-np.where(positive, rng.normal(0.8, 1.6, count), rng.normal(-2.2, 1.6, count))))
    size = np.where(positive, truth * np.exp(rng.normal(0.1, 0.5, count)), np.exp(rng.normal(8.2, 1.2, count)))
    left = np.clip(1 - LEVELS / np.maximum(peak, 1), 0, 1) ** rng.uniform(0.4, 1.2, count)
    area = (2 * size * left).astype(np.int64).clip(max=PIXELS // 2)
    hit = truth * (1 - np.exp(-area * rng.beta(6, 2, count) / np.maximum(truth, 1)))
    overlap = np.minimum(np.minimum(hit, area), truth).astype(np.int64)
    area[0], overlap[0] = PIXELS, truth
    tables = Histograms(count)
    tables.area[:], tables.overlap[:], tables.pixels[:] = area, overlap, PIXELS
    return tables


def stratified(positive, rng):
    """Folds with the same share of positives."""
    folds = np.empty(len(positive), int)
    for kind in (True, False):
        of_kind = rng.permutation(np.flatnonzero(positive == kind))
        folds[of_kind] = np.arange(len(of_kind)) % FOLDS
    return folds


def real_dice(fitted, fresh, rng):
    """Mean Dice of a fitted rule on fresh images; with a share, on test sets of the size of a fold."""
    if fitted.share is None:
        dice, positive = fresh.dice(fitted.rule), fresh.empty == 0
        return PREVALENCE * dice[positive].mean() + (1 - PREVALENCE) * dice[~positive].mean()
    evidence, dice = fresh.candidates(fitted.rule)
    sets = rng.integers(len(dice), size=(60, IMAGES // FOLDS))
    masked = np.stack([rank_quantiles(evidence[some]) <= fitted.share for some in sets])
    return np.where(masked, dice[sets], fresh.empty[sets]).mean()


def test_the_nested_dice_is_unbiased_and_its_interval_covers_the_real_one():
    """Checks thresholds alone, and thresholds with a share."""
    fresh = LevelSearch(ImageRule, simulate(np.random.default_rng(99), 20_000))
    off, held = np.empty((2, SETS)), np.empty((2, SETS))
    for seed in range(SETS):
        rng = np.random.default_rng(seed)
        tables = simulate(rng, IMAGES)
        folds, search = stratified(tables.truth > 0, rng), LevelSearch(ImageRule, tables)
        images = ImageSet(tables.empty, folds, np.arange(IMAGES), PREVALENCE)
        for match in (0, 1):
            fitter = RuleFitter(lambda _, search=search: search, images, match_positive_rate=bool(match))
            real = real_dice(fitter.fit(), fresh, rng)
            estimate = nested([fitter]).mean_dice
            low, high = nested_interval(estimate, [fitter])
            assert low <= estimate <= high
            off[match, seed], held[match, seed] = estimate - real, low <= real <= high
    assert np.abs(off.mean(axis=1)).max() < 0.003
    assert held.mean(axis=1).min() >= 0.9
