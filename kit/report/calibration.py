"""The `expected` rule drawn as what it is: a calibration of levels, and a decision for each image."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from kit.inference.maps import PROBABILITIES
from kit.inference.rules import ExpectedRule
from kit.report import figures
from kit.report.cases import Cases
from kit.report.figures import Drawn


@figures.figure
def foreground(axes: Axes, rule: ExpectedRule, prefix: str) -> Drawn:
    """How probable foreground is at each level, in a positive image."""
    axes.plot([0, 1], [0, 1], color=figures.MUTED, linewidth=1, linestyle="--", label="as the network says")
    axes.plot(PROBABILITIES, rule.foreground, color=figures.colour(0), drawstyle="steps-mid", label="as observed")
    axes.set(xlabel="probability in the map", ylabel="probability of foreground", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(loc="upper left")
    half = np.searchsorted(rule.foreground, 0.5)
    where = f"from {half / 255:.2f} on" if half < 256 else "at no level"
    alt = f"In positive images a pixel is more probably foreground than not {where}."
    data = pd.DataFrame({"probability": PROBABILITIES, "foreground": rule.foreground})
    return Drawn(f"{prefix}calibration", "Calibration of pixels", alt, data)


@figures.figure
def decisions(axes: Axes, rule: ExpectedRule, cases: Cases, prefix: str) -> Drawn:
    """Each image by P(not empty) and the Dice that its best mask promises; above the line it gets that mask."""
    area, pixels = cases.counts.area, cases.counts.pixels
    data = pd.DataFrame(
        {
            "positive": cases.positive,
            "probability_not_empty": rule.p_nonempty(area, pixels),
            "promised_dice": rule.trust * rule.best(area)[1],
            "masked": rule.decide(area, pixels) < 256,
        }
    )
    line = np.linspace(0.5, 1, 100)
    axes.fill_between(line, (1 - line) / line, 1.02, color=figures.colour(2), alpha=0.15, linewidth=0)
    axes.plot(line, (1 - line) / line, color=figures.MUTED, linewidth=1.2, linestyle="--")
    figures.scatter_cases(axes, data.probability_not_empty, data.promised_dice, cases.positive)
    axes.set(xlabel="probability that the truth is not empty", ylabel="Dice that its best mask promises")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower right")
    right = int((data.masked & data.positive).sum())
    alt = f"{data.masked.sum()} of {len(data)} images get a mask, {right} of them are positive."
    return Drawn(f"{prefix}decisions", "Decision by image: shaded gets a mask", alt, data, data.index)
