"""Learning-rate schedules and early stopping, as functions of a stage and the metrics of its epochs so far.

The schedules have no state of their own, so a killed training resumes with the same rates.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from kit.recipes.stage import Cosine, Linear, Measure, Plateau, Stage

Row = dict[str, Any]
"""A row of metrics.csv; `validation_loss` and `score` are None if the epoch was not validated."""


def learning_rate(stage: Stage, history: Sequence[Row], done: float = 1.0) -> float:
    """Returns the learning rate of the next epoch.

    Args:
        done: Share of the epoch at the end of the current step, in (0, 1]; during warm-up, the rate changes each step.

    >>> stage = Stage(size=64, epochs=4, batch_size=1, learning_rate=1.0, schedule={"cosine": {"to": 0.5}})
    >>> [learning_rate(stage, [{}] * epoch) for epoch in (0, 2)]
    [1.0, 0.75]
    """
    epoch, schedule = len(history) - stage.warm_up, stage.schedule.chosen
    if epoch < 0:
        return stage.learning_rate * (len(history) + done) / stage.warm_up
    if isinstance(schedule, Cosine):
        return _cosine(stage, schedule, epoch)
    if isinstance(schedule, Plateau):
        return _plateau(stage, schedule, monitored(history[stage.warm_up :], schedule.of))
    if isinstance(schedule, Linear):
        left = 1 - epoch / (stage.epochs - stage.warm_up)
        return schedule.to + (stage.learning_rate - schedule.to) * left
    return stage.learning_rate


def is_over(stage: Stage, history: Sequence[Row]) -> bool:
    """Whether the stage has had all its epochs, or as many without improvement as early stopping allows."""
    if len(history) >= stage.epochs:
        return True
    if stage.early_stopping is None or not history:
        return False
    values = monitored(history, stage.early_stopping.of)
    return len(values) - 1 - values.index(min(values)) >= stage.early_stopping.patience


def monitored(history: Sequence[Row], of: Measure) -> list[float]:
    """Returns the monitored value of each epoch, lowest is best; infinite if it is missing or not finite."""
    key, sign = ("validation_loss", 1) if of == "loss" else ("score", -1)
    values = [math.inf if row[key] is None else sign * row[key] for row in history]
    return [value if math.isfinite(value) else math.inf for value in values]


def _cosine(stage: Stage, cosine: Cosine, epoch: int) -> float:
    """Falls by half a cosine wave in each period; without restarts, it rises again after each fall, for as long."""
    length = stage.epochs - stage.warm_up - len(cosine.then)  # of all waves, in epochs
    if cosine.then and epoch >= length:
        return cosine.then[min(epoch - length, len(cosine.then) - 1)]
    periods = cosine.periods or (max(1, length),)
    for period in itertools.chain(periods, itertools.repeat(periods[-1])):
        span = period if cosine.restarts else 2 * period
        if epoch < span:
            break
        epoch -= span
    share = (1 + math.cos(math.pi * epoch / period)) / 2
    return cosine.to + (stage.learning_rate - cosine.to) * share


def _plateau(stage: Stage, plateau: Plateau, values: Sequence[float]) -> float:
    rate, best, waited = stage.learning_rate, math.inf, 0
    for value in values:
        if value < best - plateau.threshold:
            best, waited = value, 0
        else:
            waited += 1
        if waited == plateau.patience:
            rate, waited = max(rate * plateau.factor, plateau.to), 0
    return rate
