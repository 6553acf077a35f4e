"""The `expected` rule drawn as what it is: a calibration of levels, and a decision for each image."""

import numpy as np
import pandas as pd

from kit.inference.maps import PROBABILITIES
from kit.inference.rules import ExpectedRule
from kit.report import figures
from kit.report.cases import Cases
from kit.report.figures import Figure


@figures.styled
def foreground(rule: ExpectedRule, prefix: str = "") -> Figure:
    """How probable foreground is at each level, in an image that has a pneumothorax."""
    figure, axes = figures.draw()
    axes.plot([0, 1], [0, 1], color=figures.MUTED, linewidth=1, linestyle="--", label="as the network says")
    axes.plot(PROBABILITIES, rule.foreground, color=figures.colour(0), drawstyle="steps-mid", label="as observed")
    axes.set(xlabel="probability in the map", ylabel="probability of foreground", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("Calibration of pixels")
    axes.legend(loc="upper left")
    half = np.searchsorted(rule.foreground, 0.5)
    where = f"from {half / 255:.2f} on" if half < 256 else "at no level"
    alt = f"In images with a pneumothorax a pixel is more probably foreground than not {where}."
    data = pd.DataFrame({"probability": PROBABILITIES, "foreground": rule.foreground})
    return figures.finish(figure, f"{prefix}calibration", "Calibration of pixels", alt, data)


@figures.styled
def decisions(rule: ExpectedRule, cases: Cases, prefix: str = "") -> Figure:
    """Each image by P(not empty) and the Dice that its best mask promises; above the line it gets that mask."""
    area, pixels = cases.counts.area, cases.counts.pixels
    filled, promised = rule.filled(area, pixels), rule.trust * rule.best(area)[1]
    figure, axes = figures.draw()
    line = np.linspace(0.5, 1, 100)
    axes.fill_between(line, (1 - line) / line, 1.02, color=figures.colour(2), alpha=0.15, linewidth=0)
    axes.plot(line, (1 - line) / line, color=figures.MUTED, linewidth=1.2, linestyle="--")
    for number, (name, rows) in enumerate({"no pneumothorax": ~cases.positive, "pneumothorax": cases.positive}.items()):
        axes.scatter(
            filled[rows], promised[rows], s=16, color=figures.colour(number), alpha=0.55, linewidths=0, label=name
        )
    axes.set(xlabel="probability that the truth is not empty", ylabel="Dice that its best mask promises")
    axes.set(xlim=(-0.02, 1.02), ylim=(0, 1.02))
    axes.set_title("Decision by image: shaded gets a mask")
    axes.legend(loc="lower right")
    masked = rule.decide(area, pixels) < 256
    right = int((masked & cases.positive).sum())
    alt = f"{int(masked.sum())} of {len(masked)} images get a mask, {right} of them have a pneumothorax."
    data = pd.DataFrame(
        {
            "image_id": cases.table.image_id,
            "positive": cases.positive,
            "probability_not_empty": filled,
            "promised_dice": promised,
            "masked": masked,
        }
    )
    return figures.finish(figure, f"{prefix}decisions", "Decision by image", alt, data)
