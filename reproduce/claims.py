"""Tests of the paper's claims on a data set's own runs: differences of Dice with intervals, and races to a score."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from kit.report import summary
from kit.thresholds.cross_validation import interval
from reproduce import paper
from reproduce.scores import RunScores, Variant
from reproduce.studies import DEEPER, HALF, LOW, ONE, TWO

EXPERIMENTS = tuple(paper.TABLE_6)


def pairs(scored: RunScores) -> dict[str, list[tuple[Variant, Variant]]]:
    """Lists the pairs to compare for each claim (paper section 6), the one that should be better first."""
    study = scored.studies()

    def against(groups: tuple[str, ...], others: tuple[str, ...]) -> list[tuple[Variant, Variant]]:
        first, second = study.get(groups, ""), study.get(others, "")
        return [
            (Variant(first, tta, reading), Variant(second, tta, reading))
            for tta in (False, True)
            for reading in ("none", "image")
        ]

    return {
        **{
            f"Two stages beat one: {name} against exp2": [(Variant(name), Variant("exp2"))]
            for name in ("exp3", "exp4", "exp5")
        },
        "Two stages beat one at the final size, same compute": seeds(scored, TWO, ONE),
        "Higher resolution helps: both sizes against the first alone, same compute": seeds(scored, TWO, LOW),
        "More data helps: all training images against half, same compute": seeds(scored, TWO, HALF),
        "TTA helps": [(Variant(name), Variant(name, tta=False)) for name in EXPERIMENTS],
        **{
            f"R-TH helps, by {reading}": [
                (Variant(name, reading=reading), Variant(name, reading="none")) for name in EXPERIMENTS
            ]
            for reading in ("image", "component")
        },
        "A deeper encoder helps, same epochs": seeds(scored, DEEPER, TWO),
        **{
            f"Augmentation by {' + '.join(groups)} helps": against(groups, ())
            for groups in paper.TABLE_10
            if groups not in ((), ("A2",))
        },
        "Augmentation by A2 alone is worse than none": against((), ("A2",)),
        "Augmentation by A1 + A2 beats A1": against(("A1", "A2"), ("A1",)),
    }


def seeds(scored: RunScores, first: str, second: str) -> list[tuple[Variant, Variant]]:
    """Pairs the runs of two arms of `make claims`, one pair per seed."""
    matches = [re.fullmatch(rf"claims-{first}-(\d+)", name) for name in scored.recipes()]
    return [(Variant(match[0]), Variant(f"claims-{second}-{match[1]}")) for match in matches if match]


class Difference(NamedTuple):
    """The gain in Dice by what a claim is about."""

    pairs: int
    """Number of pairs that were compared; the difference of an image is the mean over the pairs."""
    mean: float
    low: float
    high: float
    """Bounds of the 95 % bootstrap interval over patients."""
    least: float
    most: float
    """Smallest and largest mean of a single pair."""

    @property
    def verdict(self) -> str:
        """Whether the claim holds by the interval; undecided if a single pair contradicts it, by luck with a seed."""
        if self.low > 0 and self.least > 0:
            return "holds"
        return "does not hold" if self.high < 0 and self.most < 0 else "not decided"

    def __str__(self) -> str:
        each = f"; each {self.least:+.4f} to {self.most:+.4f}" if self.pairs > 1 else ""
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]{each}"


def difference(scored: RunScores, pairs: list[tuple[Variant, Variant]], *, test: bool) -> Difference | None:
    """Computes the mean difference over images and existing pairs; None if no pair exists.

    Args:
        scored: The runs of a data set.
        pairs: Pairs of a run that has what the claim is about and a run that lacks it.
        test: Compare test images, each of which counts as a patient, instead of validation images.
    """
    dice = [(scored.dice(first, test=test), scored.dice(second, test=test)) for first, second in pairs]
    gains = [one - other for one, other in dice if not isinstance(one, str) and not isinstance(other, str)]
    if not gains:
        return None
    # Runs may have different validation images; each image counts with the runs that have it.
    gain = pd.concat(gains, axis=1).mean(axis=1).dropna()
    if gain.empty:
        return None
    patients = gain.index if test else gain.index.map(scored.patients)
    low, high = interval(gain.to_numpy(), list(patients))
    means = [float(pair_gain.mean()) for pair_gain in gains]
    return Difference(len(gains), float(gain.mean()), low, high, min(means), max(means))


class Averaged(NamedTuple):
    """A stage's mean validation IoU over folds, after its last epoch and with its final weights."""

    run: str
    stage: int
    size: int
    last: float
    final: float | None
    """None if the stage does not average weights."""


def averaged(scored: RunScores) -> list[Averaged]:
    """Measures every trained stage of every run."""
    rows = []
    for name, recipe in scored.recipes().items():
        for part in recipe.parts():
            run = scored.run(name).part(part)
            for number, stage in enumerate(part.stages):
                curves = [
                    summary.metrics(run, fold, at).iloc[-2:].iou for fold, at in run.finished_stages() if at == number
                ]
                if curves:
                    last, final = np.mean(curves, axis=0)
                    rows.append(Averaged(part.name, number + 1, stage.size, last, final if stage.averages else None))
    return rows


class Spent(NamedTuple):
    """What a training had spent when an epoch first reached a score."""

    epochs: int
    compute: float
    """Epochs at the final size; an epoch at half the height and width counts a quarter."""
    seconds: float


class Race(NamedTuple):
    """The race of a seed's two-stage training against its one-stage training."""

    name: str
    """Name of the two-stage run."""
    score: float
    """Validation Dice that both reach: the lower one of their best scores."""
    two: Spent
    one: Spent


def races(scored: RunScores) -> list[Race]:
    """Returns the race of each seed whose two trainings are finished."""
    finished = []
    for first, second in seeds(scored, TWO, ONE):
        curves = [curve(scored, variant.name) for variant in (first, second)]
        if all(len(table) for table in curves):
            score = min(table.dice.max() for table in curves)
            finished.append(Race(first.name, float(score), *(spent(table, score) for table in curves)))
    return finished


def curve(scored: RunScores, name: str) -> pd.DataFrame:
    """Returns the epochs of a run's first fold: Dice at the stage's size, and cumulative `compute` and `seconds`.

    The table is empty if a stage is missing.
    """
    run, recipe = scored.run(name), scored.recipes().get(name)
    if recipe is None:
        return pd.DataFrame()
    finished = run.finished_stages()
    fold = min((fold for fold, _ in finished), default=0)
    if any((fold, number) not in finished for number in range(len(recipe.stages))):
        return pd.DataFrame()
    parts = []
    for number, stage in enumerate(recipe.stages):
        table = summary.metrics(run, fold, number)
        table = table[table.weights == "epoch"][["dice", "seconds"]]
        parts.append(table.assign(compute=(stage.size / recipe.stages[-1].size) ** 2))
    whole = pd.concat(parts, ignore_index=True)
    return whole.assign(compute=whole.compute.cumsum(), seconds=whole.seconds.cumsum())


def spent(table: pd.DataFrame, score: float) -> Spent:
    """Returns what a training had spent when it first reached a score."""
    at = int(np.argmax(table.dice.to_numpy() >= score))
    return Spent(at + 1, float(table.compute[at]), float(table.seconds[at]))


def ratio(values: Sequence[float]) -> tuple[float, float, float]:
    """Returns the geometric mean of ratios with its 95 % interval by Student's t of the logarithms.

    The bounds for a single ratio are 0 and infinity.

    >>> [round(bound, 2) for bound in ratio([0.5, 1.0, 2.0])]
    [1.0, 0.18, 5.59]
    """
    logs = np.log(values)
    if len(logs) < 2:
        return float(np.exp(logs[0])), 0.0, float("inf")
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    mean, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half]).tolist()
    return mean, low, high
