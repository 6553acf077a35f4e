"""The learning curve: its trainings and its table."""

import pandas as pd
import pytest

from kit import recipes
from reproduce import curve


def test_each_share_takes_the_same_number_of_steps_and_differs_in_nothing_else():
    given = ["stages=[{size: 64, epochs: 3, batch_size: 4, learning_rate: 0.001}]"]
    found = curve.trainings("small", given)
    for share, drawn in found.items():
        loaded = [recipes.load(training.recipe, [*given, training.overrides]) for training in drawn]
        assert [recipe.seed for recipe in loaded] == [0, 1, 2]
        for recipe in loaded:
            assert recipe.folds.train_share * recipe.stages[0].epochs == 3
            assert recipe.name == f"small-curve-{100 * share:.0f}-{recipe.seed}"
            assert recipe.network == recipes.load("small").network


def test_the_table_has_the_mean_and_the_spread_of_each_share(tmp_path, monkeypatch):
    trained, made = [], []
    monkeypatch.setattr(curve.folds, "make_folds", lambda place, data, recipe: made.append(recipe.name))
    monkeypatch.setattr(
        curve,
        "train_side_by_side",
        lambda place, job, options, jobs: (trained.append(recipes.load("demo", options[5::2])), jobs == 3),
    )
    scores = {
        "images": 100.0, "positives": 30.0, "dice_all_empty": 0.78, "dice_positives": 0.2, "negatives_empty": 0.98
    }  # fmt: skip
    monkeypatch.setattr(
        curve,
        "_measure",
        lambda place, data, recipe, run: {
            **scores,
            "nested_dice": 0.8 + recipe.folds.train_share / 100 + recipe.seed / 1000,
            "image_auc": 0.9,
        },
    )
    measured = curve.train_curve(tmp_path, "x", "demo", ["precision=32-true"], jobs=3)
    assert [recipe.name for recipe in trained] == made
    assert {recipe.precision for recipe in trained} == {"32-true"}
    rows = curve.table(measured).splitlines()
    assert rows[2].startswith("| 25% | 100 | 30 | 0.8035 (0.8025 to 0.8045) | 0.7800 | 0.2000 (0.2000 to 0.2000) |")
    assert isinstance(measured, pd.DataFrame)
    assert measured.groupby("share").nested_dice.mean().tolist() == pytest.approx([0.8035, 0.806, 0.811])
