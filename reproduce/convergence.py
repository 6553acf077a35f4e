"""Whether two stages converge faster: what `make claims` spent until two trainings of a seed were equally good."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from kit.report import summary
from reproduce.claims import seeds
from reproduce.scores import RunScores
from reproduce.studies import ONE, TWO


class Spent(NamedTuple):
    """What a training had spent at the end of the first epoch with the score."""

    epochs: int
    compute: float
    """Epochs at the final size; one of half the pixels a side counts a quarter."""
    seconds: float


class Race(NamedTuple):
    """The two trainings of a seed."""

    name: str
    """Of the run in two stages."""
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
