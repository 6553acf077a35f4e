"""Whether the paper's claims hold on runs of one's own: differences of Dice with intervals, and races to a score."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from kit.report import summary
from kit.thresholds.cross_validation import interval
from reproduce import paper
from reproduce.scores import RunScores
from reproduce.studies import DEEPER, HALF, LOW, ONE, TWO

EXPERIMENTS = tuple(paper.TABLE_6)


class Variant(NamedTuple):
    """A run and how its maps become masks."""

    name: str
    tta: bool = True
    reading: str = "image"


def pairs(scored: RunScores) -> dict[str, list[tuple[Variant, Variant]]]:
    """What is compared with what, by the claim (paper section 6)."""
    study = scored.studies()

    def against(groups: tuple[str, ...], others: tuple[str, ...]) -> list[tuple[Variant, Variant]]:
        one, other = study.get(groups, ""), study.get(others, "")
        return [
            (Variant(one, tta, reading), Variant(other, tta, reading))
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


def seeds(scored: RunScores, one: str, other: str) -> list[tuple[Variant, Variant]]:
    """Two of the trainings of `make claims` against each other, a pair a seed."""
    found = [re.fullmatch(rf"claims-{one}-(\d+)", name) for name in scored.recipes()]
    return [(Variant(match[0]), Variant(f"claims-{other}-{match[1]}")) for match in found if match]


class Difference(NamedTuple):
    """A difference of Dice: with the claimed thing less without it."""

    pairs: int
    """How many were compared; an image's difference is their mean."""
    mean: float
    low: float
    high: float
    """Bounds of the 95 % bootstrap interval, patients drawn with all their images."""
    least: float
    most: float
    """The means of the single pairs lie between these two."""

    @property
    def verdict(self) -> str:
        """What the interval says of the claim where no pair says the contrary, which would be luck with a seed."""
        if self.low > 0 and self.least > 0:
            return "holds"
        return "does not hold" if self.high < 0 and self.most < 0 else "not decided"

    def __str__(self) -> str:
        each = f"; each {self.least:+.4f} to {self.most:+.4f}" if self.pairs > 1 else ""
        return f"{self.mean:+.4f} [{self.low:+.4f}, {self.high:+.4f}]{each}"


def difference(scored: RunScores, pairs: list[tuple[Variant, Variant]], test: bool) -> Difference | None:
    """The mean difference over the images and the pairs that exist; None where no pair does.

    Args:
        scored: The runs of a data set.
        pairs: With the claimed thing, and without.
        test: On the test images, each a patient of its own, instead of the validation images.
    """
    found = [(scored.dice(*one, test=test), scored.dice(*other, test=test)) for one, other in pairs]
    gains = [one - other for one, other in found if not isinstance(one, str) and not isinstance(other, str)]
    if not gains:
        return None
    # Runs may have been validated on other folds; an image counts with the runs that it is in.
    gain = pd.concat(gains, axis=1).mean(axis=1).dropna()
    if gain.empty:
        return None
    patients = gain.index if test else gain.index.map(scored.patients)
    low, high = interval(gain.to_numpy(), list(patients))
    each = [float(one.mean()) for one in gains]
    return Difference(len(gains), float(gain.mean()), low, high, min(each), max(each))


class Averaged(NamedTuple):
    """A stage's validation IoU at the end of its last epoch, and of the weights that it was left with."""

    run: str
    stage: int
    size: int
    last: float
    final: float | None
    """None where weights are not averaged."""


def averaged(scored: RunScores) -> list[Averaged]:
    """Every trained stage of every run, means over its folds."""
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
    """What a training had spent at the end of the first epoch with the score."""

    epochs: int
    compute: float
    """Epochs at the final size; one of half the pixels a side counts a quarter."""
    seconds: float


class Race(NamedTuple):
    """The two trainings of a seed."""

    name: str
    """Name of the run in two stages."""
    score: float
    """Validation Dice that both reach: the lower one of their two best."""
    two: Spent
    one: Spent


def races(scored: RunScores) -> list[Race]:
    """The seeds of which both trainings are finished."""
    found = []
    for first, second in seeds(scored, TWO, ONE):
        curves = [curve(scored, variant.name) for variant in (first, second)]
        if all(len(table) for table in curves):
            score = min(table.dice.max() for table in curves)
            found.append(Race(first.name, float(score), *(spent(table, score) for table in curves)))
    return found


def curve(scored: RunScores, name: str) -> pd.DataFrame:
    """Every epoch of a run's first fold: columns `dice`, and `compute` and `seconds` up to its end.

    Empty where a stage is missing. Each Dice is taken at the size of its stage.
    """
    run, recipe = scored.run(name), scored.recipes().get(name)
    if recipe is None:
        return pd.DataFrame()
    done = run.finished_stages()
    fold = min((fold for fold, _ in done), default=0)
    if any((fold, number) not in done for number in range(len(recipe.stages))):
        return pd.DataFrame()
    parts = []
    for number, stage in enumerate(recipe.stages):
        table = summary.metrics(run, fold, number)
        table = table[table.weights == "epoch"][["dice", "seconds"]]
        parts.append(table.assign(compute=(stage.size / recipe.stages[-1].size) ** 2))
    whole = pd.concat(parts, ignore_index=True)
    return whole.assign(compute=whole.compute.cumsum(), seconds=whole.seconds.cumsum())


def spent(table: pd.DataFrame, score: float) -> Spent:
    """What a training had spent when it first had a score."""
    at = int(np.argmax(table.dice.to_numpy() >= score))
    return Spent(at + 1, float(table.compute[at]), float(table.seconds[at]))


def ratio(values: Sequence[float]) -> tuple[float, float, float]:
    """The geometric mean of some ratios with its 95 % interval, Student's over their logarithms.

    The bounds of a single one are 0 and infinity.

    >>> [round(bound, 2) for bound in ratio([0.5, 1.0, 2.0])]
    [1.0, 0.18, 5.59]
    """
    logs = np.log(values)
    if len(logs) < 2:
        return float(np.exp(logs[0])), 0.0, float("inf")
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    mean, low, high = np.exp([logs.mean(), logs.mean() - half, logs.mean() + half]).tolist()
    return mean, low, high
