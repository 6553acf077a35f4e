"""Whether the paper's claims hold on a run's own images: paired differences of Dice, each with its interval."""

import re
from typing import NamedTuple

import numpy as np
import pandas as pd

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
    """Of Dice, with the claimed thing minus without it."""

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
    low, high = interval(gain.to_numpy(), np.ones(len(gain)), list(patients))
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
