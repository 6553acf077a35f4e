"""What the learning rate is and when a stage is over: functions of the stage and of what was watched so far.

Nothing is remembered from epoch to epoch but the history itself, so that a training that was killed goes on alike.
"""

import itertools
import math
from collections.abc import Sequence

from kit.recipes.stage import Stage


def learning_rate(stage: Stage, watched: Sequence[float]) -> float:
    """The rate of the next epoch.

    Args:
        stage: Of the recipe.
        watched: Of each finished epoch, the lower the better: as `watch` says, a loss or a negative score.

    >>> stage = Stage(size=64, epochs=4, batch_size=1, learning_rate=1.0, final_learning_rate=0.5)
    >>> [learning_rate(stage, [0.0] * epoch) for epoch in (0, 2)]
    [1.0, 0.75]
    """
    watched = _comparable(watched)
    epoch = len(watched)
    last = epoch - (stage.epochs - len(stage.last_learning_rates))
    if last >= 0 and stage.last_learning_rates:
        return stage.last_learning_rates[min(last, len(stage.last_learning_rates) - 1)]
    if stage.schedule == "plateau":
        return _plateau(stage, watched)
    return _cosine(stage, epoch) if stage.schedule == "cosine" else stage.learning_rate


def is_over(stage: Stage, watched: Sequence[float]) -> bool:
    """Whether the stage has had its epochs, or as many without a better one as early stopping allows."""
    if len(watched) >= stage.epochs:
        return True
    if stage.early_stopping is None or not watched:
        return False
    watched = _comparable(watched)
    return len(watched) - 1 - watched.index(min(watched)) >= stage.early_stopping


def _comparable(watched: Sequence[float]) -> list[float]:
    """Values of which the lowest is the best; one that is not finite is never that."""
    return [value if math.isfinite(value) else math.inf for value in watched]


def _cosine(stage: Stage, epoch: int) -> float:
    """Half a wave from the full rate down to the lowest in each period; without restarts every other one upward."""
    periods = stage.periods or (max(1, stage.epochs - len(stage.last_learning_rates)),)
    for period in itertools.chain(periods, itertools.repeat(periods[-1])):
        span = period if stage.restarts else 2 * period
        if epoch < span:
            break
        epoch -= span
    share = (1 + math.cos(math.pi * epoch / period)) / 2
    return stage.final_learning_rate + (stage.learning_rate - stage.final_learning_rate) * share


def _plateau(stage: Stage, watched: Sequence[float]) -> float:
    rate, best, waited = stage.learning_rate, math.inf, 0
    for value in watched:
        if value < best - stage.plateau.threshold:
            best, waited = value, 0
        else:
            waited += 1
        if waited == stage.plateau.patience:
            rate, waited = max(rate * stage.plateau.factor, stage.final_learning_rate), 0
    return rate
