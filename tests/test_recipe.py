import pytest

from kit import recipe
from kit.errors import KitError


@pytest.mark.parametrize("name", recipe.names())
def test_every_recipe_loads_and_its_dump_is_itself(name, tmp_path):
    loaded = recipe.load(name)
    assert loaded.name == name
    assert loaded.about
    path = tmp_path / "recipe.yaml"
    path.write_text(loaded.dump())
    assert recipe.read(path) == loaded


def test_exp5_is_the_papers():
    exp5 = recipe.load("exp5")
    first, second = exp5.stages
    assert (first.size, first.epochs, first.batch_size, first.swa_epochs) == (256, 100, 64, 5)
    assert (second.size, second.epochs, second.batch_size, second.swa_epochs) == (512, 70, 16, 3)
    assert {first.learning_rate, second.learning_rate} == {1e-3}
    assert {first.schedule, second.schedule} == {"cosine"}
    assert (exp5.threshold.binarization, exp5.threshold.removal) == (0.75, 2048)
    assert (exp5.network.architecture, exp5.network.encoder, exp5.network.encoder_weights) == (
        "Unet",
        "resnet34",
        "imagenet",
    )
    assert (exp5.loss.bce, exp5.loss.dice, exp5.loss.focal) == (1, 1, 0)
    assert exp5.augmentation == ("A1", "A2", "A3", "A4")
    assert exp5.folds.holdout == 0.1
    assert exp5.tta


def test_overrides_reach_lists_and_nested_keys():
    changed = recipe.load("exp5", "stages.1.epochs=4 network.encoder_weights=none stages.0.learning_rate=1e-4 seed=3")
    assert changed.stages[1].epochs == 4
    assert changed.stages[0].learning_rate == 1e-4
    assert changed.network.encoder_weights is None
    assert changed.seed == 3


@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        ("stages.0.size=100", "stages.0.size"),
        ("stages.0.swa_epochs=101", "stages.0.swa_epochs"),
        ("stages.1.frozen_epochs=71", "stages.1.frozen_epochs"),
        ("stages.1.best_checkpoints=2", "stages.1.best_checkpoints"),
        ("stages.0.batch_size=0", "stages.0.batch_size"),
        ("stages.0.learning_rate=-1", "stages.0.learning_rate"),
        ("stages.0.final_learning_rate=0.5", "stages.0.final_learning_rate"),
        ("stages.0.positive_share=1.5", "stages.0.positive_share"),
        ("stages.0.positve_share=0.5", "stages.0.positve_share"),
        ("stages.9.epochs=1", "stages.9.epochs"),
        ("seed=many", "seed"),
        ("seed=-1", "seed"),
        ("threshold.binarization=1.5", "threshold.binarization"),
        ("loss.bce=.nan", "loss.bce"),
        ("loss.image=1", "loss.image"),
        ("network.encoder.name=x", "network.encoder"),
        ("augmentation=[A9]", "augmentation.0"),
        ("stages=[]", "stages"),
        ("epochs", "KEY=VALUE"),
        ("name=../elsewhere", "name"),
    ],
)
def test_impossible_values_are_refused_with_their_key(overrides, place):
    with pytest.raises(KitError) as refused:
        recipe.load("exp5", overrides)
    assert place in str(refused.value)
    assert "\n" not in str(refused.value)


def test_unknown_recipes_and_files_that_are_none(tmp_path):
    with pytest.raises(KitError, match="exp5"):
        recipe.load("exp99")
    for content in ("[1, 2]", "a: [", "", "name: x"):
        path = tmp_path / "mine.yaml"
        path.write_text(content)
        with pytest.raises(KitError, match=r"mine\.yaml"):
            recipe.load(str(path))


def test_a_recipe_of_ones_own_is_named_after_its_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("stages: [{size: 64, epochs: 1, batch_size: 2}]")
    assert recipe.load(str(path)).name == "mine"
