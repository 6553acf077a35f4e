"""Figures of the paper's claims: a race of two trainings against time, and the gain in Dice behind each claim."""

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
    """Draws the claims whose runs exist, and returns the paths of the SVG files."""
    races = claims.races(scored)
    drawn = [race(scored, [one.name for one in races])] if races else []
    if len(rows := measured(scored)):
        drawn.append(overview(rows))
    return [figure.write(folder) for figure in drawn]


def measured(scored: RunScores) -> pd.DataFrame:
    """Measures each claim that has runs, on validation and on test images: claim, images, mean, low, high."""
    rows = [
        (claim, images, gain.mean, gain.low, gain.high)
        for claim, pairs in claims.pairs(scored).items()
        for images, test in IMAGES.items()
        if (gain := claims.difference(scored, pairs, test=test)) is not None
    ]
    return pd.DataFrame(rows, columns=["claim", "images", "mean", "low", "high"])


@figures.figure
def overview(axes: Axes, rows: pd.DataFrame) -> Drawn:
    """Draws the gain in Dice behind each claim with its interval; claims to the right of the line help.

    Args:
        rows: The table of `measured`.
    """
    names = list(rows.claim.unique())
    axes.axvline(0, color=figures.MUTED, linewidth=1, linestyle="--")
    for number, (images, part) in enumerate(rows.groupby("images", sort=False)):
        heights = [-names.index(claim) - 0.24 * number for claim in part.claim]
        axes.hlines(heights, part.low, part.high, color=figures.colour(number), linewidth=2.4, label=images)
        axes.plot(part["mean"], heights, "o", color=figures.colour(number), markersize=5)
    axes.set_yticks([-row - 0.12 for row in range(len(names))], names)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("difference of Dice, 95 % interval over patients")
    axes.legend(loc="lower left")
    decided = rows[(rows.low > 0) | (rows.high < 0)]
    alt = f"In {len(decided)} of {len(rows)} the interval excludes 0."
    size = 8.6, 1.0 + 0.36 * len(names)
    return Drawn("claims-overview", "What each claim is worth", alt, rows, size=size)


@figures.figure
def race(axes: Axes, scored: RunScores, names: list[str]) -> Drawn:
    """Draws validation Dice against seconds for two stages and for one: mean and range over the seeds.

    Args:
        scored: The runs of a data set.
        names: Names of the two-stage runs for which both trainings are finished.
    """
    parts = []
    for number, (title, arm) in enumerate((("two stages", TWO), ("one stage", ONE))):
        curves = {name: claims.curve(scored, name) for name in (two_stages.replace(TWO, arm) for two_stages in names)}
        seconds, low, mean, high = spread(list(curves.values()))
        axes.fill_between(seconds, low, high, step="post", color=figures.colour(number), alpha=0.18, linewidth=0)
        axes.step(seconds, mean, where="post", color=figures.colour(number), label=title)
        for name, curve in curves.items():
            axes.plot(curve.seconds, curve.dice, "o", color=figures.colour(number), markersize=2.5, alpha=0.7)
            parts.append(curve.assign(run=name, arm=title, epoch=np.arange(len(curve)) + 1))
    axes.set(xlabel="seconds of training", ylabel="validation Dice at the stage's size", xlim=(0, None))
    axes.legend(loc="lower right")
    title = f"Mean and spread of {len(names)} seeds" if len(names) > 1 else "One seed"
    data = pd.concat(parts, ignore_index=True)[["run", "arm", "epoch", "seconds", "dice"]]
    return Drawn("claims-convergence", title, "One point per epoch.", data, size=(6.4, 4.0))


def spread(curves: list[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Computes the lowest, mean and highest Dice of several trainings over time.

    Args:
        curves: Results of `claims.curve`.

    Returns:
        The seconds at which an epoch ends, once all trainings have finished an epoch, and the three Dice values at
        these times, (T,) each. A training counts with the Dice of its last finished epoch, also after its end.
    """
    seconds = np.unique(np.concatenate([curve.seconds for curve in curves]))
    seconds = seconds[seconds >= max(curve.seconds.iloc[0] for curve in curves)]
    at = [curve.dice.to_numpy()[np.searchsorted(curve.seconds, seconds, "right") - 1] for curve in curves]
    return seconds, np.min(at, axis=0), np.mean(at, axis=0), np.max(at, axis=0)
