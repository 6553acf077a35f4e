"""The claims of `make claims` as pictures: a race against time, and the Dice that each claimed thing is worth."""

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from kit.core.files import replacing, write_text
from kit.report import figures
from reproduce import claims, convergence
from reproduce.scores import RunScores
from reproduce.studies import HALF, LOW, ONE, TWO

RACE = "claims-convergence"
WORTH = {
    "claims-two-stages": (ONE, "Two stages less one at the final size"),
    "claims-resolution": (LOW, "Both sizes less the first alone"),
    "claims-data": (HALF, "All training images less half of them"),
}
"""Of each figure of bars: what two stages are held against, and its title."""
DPI = 160


class Picture(NamedTuple):
    """A drawing with the numbers behind it."""

    name: str
    """Of its files, without an ending."""
    png: bytes
    data: pd.DataFrame


def write(scored: RunScores, folder: Path) -> list[Path]:
    """Draws the claims whose runs exist.

    Args:
        scored: The runs of a data set.
        folder: For NAME.png and NAME.csv.

    Returns:
        The pictures.
    """
    drawn = [race(scored), *(worth(scored, name) for name in WORTH)]
    for picture in filter(None, drawn):
        with replacing(folder / f"{picture.name}.png") as temporary:
            temporary.write_bytes(picture.png)
        table = picture.data.to_csv(index=False, lineterminator="\n", float_format="%.6g")
        write_text(folder / f"{picture.name}.csv", table)
    return [folder / f"{picture.name}.png" for picture in drawn if picture]


@figures.styled
def race(scored: RunScores) -> Picture | None:
    """Validation Dice against seconds of two stages and of one: mean of the seeds, and from the lowest to the highest.

    Returns:
        With columns run, arm, epoch, seconds, dice; None without a seed of which both are trained.
    """
    pairs = [(race.name, race.name.replace(TWO, ONE)) for race in convergence.races(scored)]
    if not pairs:
        return None
    canvas, axes = figures.draw(6.4, 4.0)
    parts = []
    for place, (arm, names) in enumerate(zip(("two stages", "one stage"), zip(*pairs, strict=True), strict=True)):
        curves = [convergence.curve(scored, name) for name in names]
        seconds, low, mean, high = spread(curves)
        axes.fill_between(seconds, low, high, step="post", color=figures.colour(place), alpha=0.18, linewidth=0)
        axes.step(seconds, mean, where="post", color=figures.colour(place), label=arm)
        for curve in curves:
            axes.plot(curve.seconds, curve.dice, "o", color=figures.colour(place), markersize=2.5, alpha=0.7)
        parts += [
            curve.assign(run=name, arm=arm, epoch=np.arange(len(curve)) + 1)
            for name, curve in zip(names, curves, strict=True)
        ]
    axes.set(xlabel="seconds of training", ylabel="validation Dice at the stage's size", xlim=(0, None))
    axes.set_title(f"Mean and spread of {len(pairs)} seeds" if len(pairs) > 1 else "One seed")
    axes.legend(loc="lower right")
    return _picture(canvas, RACE, pd.concat(parts, ignore_index=True)[["run", "arm", "epoch", "seconds", "dice"]])


def spread(curves: list[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lowest, mean and highest Dice of several trainings, each standing at that of its last finished epoch.

    Args:
        curves: Of `convergence.curve`.

    Returns:
        Seconds at which any of them changes, from where all have an epoch to where the last one ends, then the three
        Dice there, (T,) each. A training that has ended stands at its last Dice.
    """
    seconds = np.unique(np.concatenate([curve.seconds for curve in curves]))
    seconds = seconds[seconds >= max(curve.seconds.iloc[0] for curve in curves)]
    at = [curve.dice.to_numpy()[np.searchsorted(curve.seconds, seconds, "right") - 1] for curve in curves]
    return seconds, np.min(at, axis=0), np.mean(at, axis=0), np.max(at, axis=0)


@figures.styled
def worth(scored: RunScores, name: str) -> Picture | None:
    """What a claimed thing is worth, seed by seed and in the mean, as bars with their 95 % intervals.

    Args:
        scored: The runs of a data set.
        name: Of `WORTH`.

    Returns:
        With columns images, runs, mean, low, high, verdict; None without a pair that is trained.
    """
    other, title = WORTH[name]
    pairs = claims.seeds(scored, TWO, other)
    compared = [(first.name.removeprefix(f"claims-{TWO}-"), [(first, second)]) for first, second in pairs]
    groups = {f"seed {seed}": pair for seed, pair in compared} | {"all seeds": pairs}
    canvas, axes = figures.draw(6.4, 4.0)
    rows, verdicts = [], []
    for place, (images, test) in enumerate((("validation images", False), ("test images", True))):
        for at, (label, chosen) in enumerate(groups.items()):
            found = claims.difference(scored, chosen, test)
            if found is not None:
                _bar(axes, at + 0.38 * place - 0.19, found, place, images)
                rows.append([images, label, found.mean, found.low, found.high, found.verdict])
                if label == "all seeds":
                    verdicts.append(f"{images}: {found.verdict}")
    if not rows:
        return None
    axes.axhline(0, color=figures.INK, linewidth=0.9)
    axes.set_xticks(range(len(groups)), list(groups))
    axes.grid(visible=False, axis="x")
    axes.set(ylabel="difference of Dice", title=f"{title}\n{', '.join(verdicts)}")
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(list(unique.values()), list(unique), loc="best")
    return _picture(canvas, name, pd.DataFrame(rows, columns=["images", "runs", "mean", "low", "high", "verdict"]))


def _bar(axes: Axes, x: float, found: claims.Difference, place: int, label: str) -> None:
    """A bar with its interval, which need not lie evenly around it."""
    reach = [[found.mean - found.low], [found.high - found.mean]]
    axes.bar(x, found.mean, 0.36, color=figures.colour(place), alpha=0.85, label=label)
    axes.errorbar(x, found.mean, reach, fmt="none", ecolor=figures.INK, elinewidth=1.2, capsize=4)


def _picture(canvas: Canvas, name: str, data: pd.DataFrame) -> Picture:
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=DPI, facecolor=figures.PAPER, metadata={"Software": None})
    return Picture(name, buffer.getvalue(), data)
