"""The claims of `make claims` as pictures: a race against time, and the Dice that each claimed thing is worth."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kit.report import figures
from kit.report.figures import Drawn
from reproduce import claims
from reproduce.scores import RunScores
from reproduce.studies import ONE, TWO

IMAGES = {"validation images": False, "test images": True}


def write(scored: RunScores, folder: Path) -> list[Path]:
    """Draws the claims whose runs exist as SVG files, and returns these."""
    races = claims.races(scored)
    drawn = [race(scored, [found.name for found in races])] if races else []
    if len(rows := measured(scored)):
        drawn.append(overview(rows))
    return [figure.write(folder) for figure in drawn]


def measured(scored: RunScores) -> pd.DataFrame:
    """Each claim that has runs, by validation and by test images: claim, images, mean, low, high."""
    found = [
        (claim, images, claims.difference(scored, pairs, test))
        for claim, pairs in claims.pairs(scored).items()
        for images, test in IMAGES.items()
    ]
    rows = [(claim, images, one.mean, one.low, one.high) for claim, images, one in found if one is not None]
    return pd.DataFrame(rows, columns=["claim", "images", "mean", "low", "high"])


@figures.figure
def overview(axes: Axes, rows: pd.DataFrame) -> Drawn:
    """The Dice that each claimed thing is worth, with its interval: to the right of the line it helps.

    Args:
        rows: Of `measured`.
    """
    names = list(rows.claim.unique())
    axes.axvline(0, color=figures.MUTED, linewidth=1, linestyle="--")
    for number, (images, part) in enumerate(rows.groupby("images", sort=False)):
        places = [-names.index(claim) - 0.24 * number for claim in part.claim]
        axes.hlines(places, part.low, part.high, color=figures.colour(number), linewidth=2.4, label=images)
        axes.plot(part["mean"], places, "o", color=figures.colour(number), markersize=5)
    axes.set_yticks([-place - 0.12 for place in range(len(names))], names)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("difference of Dice, 95 % interval over patients")
    axes.legend(loc="lower left")
    sure = rows[(rows.low > 0) | (rows.high < 0)]
    alt = f"In {len(sure)} of {len(rows)} the interval leaves 0 out."
    size = 8.6, 1.0 + 0.36 * len(names)
    return Drawn("claims-overview", "What each claim is worth", alt, rows, size=size)


@figures.figure
def race(axes: Axes, scored: RunScores, names: list[str]) -> Drawn:
    """Validation Dice against seconds of two stages and of one: mean of the seeds, and from the lowest to the highest.

    Args:
        scored: The runs of a data set.
        names: Of the runs in two stages, of which both trainings are finished.
    """
    parts = []
    for place, (arm, variant) in enumerate((("two stages", TWO), ("one stage", ONE))):
        curves = {name: claims.curve(scored, name) for name in (one.replace(TWO, variant) for one in names)}
        seconds, low, mean, high = spread(list(curves.values()))
        axes.fill_between(seconds, low, high, step="post", color=figures.colour(place), alpha=0.18, linewidth=0)
        axes.step(seconds, mean, where="post", color=figures.colour(place), label=arm)
        for name, curve in curves.items():
            axes.plot(curve.seconds, curve.dice, "o", color=figures.colour(place), markersize=2.5, alpha=0.7)
            parts.append(curve.assign(run=name, arm=arm, epoch=np.arange(len(curve)) + 1))
    axes.set(xlabel="seconds of training", ylabel="validation Dice at the stage's size", xlim=(0, None))
    axes.legend(loc="lower right")
    title = f"Mean and spread of {len(names)} seeds" if len(names) > 1 else "One seed"
    data = pd.concat(parts, ignore_index=True)[["run", "arm", "epoch", "seconds", "dice"]]
    return Drawn("claims-convergence", title, "A point an epoch.", data, size=(6.4, 4.0))


def spread(curves: list[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lowest, mean and highest Dice of several trainings, each standing at that of its last finished epoch.

    Args:
        curves: Of `claims.curve`.

    Returns:
        Seconds at which any of them changes, from where all have an epoch to where the last one ends, then the three
        Dice there, (T,) each. A training that has ended stands at its last Dice.
    """
    seconds = np.unique(np.concatenate([curve.seconds for curve in curves]))
    seconds = seconds[seconds >= max(curve.seconds.iloc[0] for curve in curves)]
    at = [curve.dice.to_numpy()[np.searchsorted(curve.seconds, seconds, "right") - 1] for curve in curves]
    return seconds, np.min(at, axis=0), np.mean(at, axis=0), np.max(at, axis=0)
