"""The trainings for the paper's tables and claims."""

import pytest

from kit import recipes
from reproduce import studies
from reproduce.studies import ARMS, SEEDS, STUDIES


def loaded(study):
    return [recipes.load(*training) for training in STUDIES[study]]


def test_the_study_of_augmentation_has_a_run_for_each_row_of_table_10():
    assert {recipe.name: recipe.augmentation for recipe in loaded("study")} == {
        "augmentation": (),
        "augmentation-A1": ("flip",),
        "augmentation-A2": ("light",),
        "augmentation-A1A2": ("flip", "light"),
        "augmentation-A3": ("distortion",),
        "augmentation-A4": ("crop",),
    }


def test_the_claims_spend_the_same_compute_with_each_seed():
    found = loaded("claims")
    assert [recipe.name for recipe in found] == [f"claims-{arm}-{seed}" for seed in range(3) for arm in ARMS]
    assert [recipe.seed for recipe in found] == [seed for seed in SEEDS for _ in ARMS]
    assert {recipe.network.encoder for recipe in found if studies.DEEPER in recipe.name} == {"resnet50"}
    for recipe in found:
        images = 1 - recipe.folds.holdout
        assert sum(images * stage.epochs * stage.size**2 for stage in recipe.stages) == 0.5 * 5 * 64**2


@pytest.mark.parametrize("study", STUDIES)
def test_each_training_is_split_trained_and_predicted_with_given_overrides_last(study, monkeypatch, tmp_path):
    called = []
    monkeypatch.setattr(studies.train, "train", lambda place, job: called.append(("train", job.data, job.recipe)))
    for module, name in ((studies.folds, "make_folds"), (studies.predict, "predict")):
        monkeypatch.setattr(module, name, lambda place, data, recipe, verb=name: called.append((verb, data, recipe)))
    studies.train_all(tmp_path, "x", STUDIES[study], ["precision=32-true", "folds.seed=7"])
    assert [verb for verb, *_ in called] == ["make_folds", "train", "predict"] * len(STUDIES[study])
    assert {(data, recipe.precision, recipe.folds.seed) for _, data, recipe in called} == {("x", "32-true", 7)}
    assert [recipe.name for _, _, recipe in called[::3]] == [recipe.name for recipe in loaded(study)]
