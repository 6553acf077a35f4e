"""The figures of the claims against values counted by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from reproduce import claim_figures, claims
from reproduce.scores import NO_RUN


class Made:
    """Runs of `make claims` whose Dice are known, with the interface of `RunScores`."""

    def __init__(self, found: dict[str, pd.Series]) -> None:
        self.found = found
        self.patients = {image: image for series in found.values() for image in series.index}

    def recipes(self):
        return dict.fromkeys(self.found, SimpleNamespace())

    def studies(self):
        return {}

    def dice(self, variant, test):
        return NO_RUN if test else self.found.get(variant.name, NO_RUN)


def curve(*points):
    return pd.DataFrame(points, columns=["dice", "seconds"])


def test_a_training_counts_with_its_last_finished_epoch():
    first, second = curve((0.2, 1), (0.6, 3), (0.5, 9)), curve((0.4, 2), (0.8, 5))
    seconds, low, mean, high = claim_figures.spread([first, second])
    assert seconds.tolist() == [2, 3, 5, 9]
    assert low.tolist() == [0.2, 0.4, 0.6, 0.5]
    assert high.tolist() == [0.4, 0.6, 0.8, 0.8]
    assert mean == pytest.approx([0.3, 0.5, 0.7, 0.65])


@pytest.fixture
def made():
    random, images = np.random.default_rng(0), [f"i{n}" for n in range(30)]
    worth = {"two-stages": 0.7, "half-data": 0.5}
    return Made(
        {
            f"claims-{arm}-{seed}": pd.Series(level + 0.05 * random.standard_normal(30), images)
            for arm, level in worth.items()
            for seed in (0, 1, 2)
        }
    )


def test_each_claim_that_has_runs_is_drawn(made, monkeypatch, tmp_path):
    found = claim_figures.measured(made)
    claim = "More data helps: all training images against half, same compute"
    assert list(zip(found.claim, found.images, strict=True)) == [(claim, "validation images")]  # no run of test images
    gains = [made.found[f"claims-two-stages-{s}"] - made.found[f"claims-half-data-{s}"] for s in range(3)]
    assert found["mean"].tolist() == pytest.approx([np.mean(gains)])
    monkeypatch.setattr(claims, "races", lambda scored: [])
    assert claim_figures.write(made, tmp_path) == [tmp_path / "claims-overview.svg"]
    assert claim_figures.overview(found).alt == "In 1 of 1 the interval excludes 0."


def test_a_race_has_the_epochs_of_both_trainings(monkeypatch):
    curves = {"claims-two-stages-1": curve((0.2, 1), (0.6, 3)), "claims-one-stage-1": curve((0.4, 2))}
    monkeypatch.setattr(claims, "curve", lambda scored, name: curves[name])
    found = pd.DataFrame(claim_figures.race(None, ["claims-two-stages-1"]).data)
    assert found.values.tolist() == [
        ["claims-two-stages-1", "two stages", 1, 1, 0.2],
        ["claims-two-stages-1", "two stages", 2, 3, 0.6],
        ["claims-one-stage-1", "one stage", 1, 2, 0.4],
    ]
