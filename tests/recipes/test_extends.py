"""Recipes that extend another one."""

import pytest

from kit import recipes
from kit.core.errors import KitError

STAGE = "{size: 64, epochs: 2, batch_size: 2}"


def test_a_recipe_inherits_missing_keys_from_a_file_beside_it(tmp_path):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "base.yaml").write_text(
        f"about: base\nseed: 5\nloss: {{dice: 2, focal: 1}}\nstages: [{STAGE}, {STAGE}]\nmembers: {{a: {{}}}}"
    )
    (tmp_path / "deeper" / "mine.yaml").write_text(
        f"extends: base.yaml\nloss: {{focal: 3}}\nstages: [{STAGE}]\nmembers: {{b: {{seed: 6}}}}"
    )
    mine = recipes.load(str(tmp_path / "deeper" / "mine.yaml"), "loss.bce=4")
    assert (mine.name, mine.about, mine.seed, len(mine.stages)) == ("mine", "", 5, 1)
    assert (mine.loss.bce, mine.loss.dice, mine.loss.focal) == (4, 2, 3)
    assert [(part.label, part.seed) for part in mine.parts()] == [("a", 5), ("b", 6)]
    assert "extends" not in mine.dump()


def test_an_ensemble_of_seeds_differs_from_its_recipe_only_by_the_seed():
    large, members = recipes.load("large"), recipes.load("large-ensemble").parts()
    assert [part.seed for part in members] == [0, 1, 2]
    for part in members:
        assert part.model_copy(update={"seed": 0, "name": "large", "about": large.about, "untrained": False}) == large


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        ("exp55", r"mine\.yaml: extends: recipe exp55: there is no such recipe; did you mean exp5\?"),
        ("other.yaml", r"mine\.yaml: extends: .*other\.yaml: there is no such recipe"),
        ("mine.yaml", r"mine\.yaml: extends: .*mine\.yaml extends it in turn"),
        ("circle.yaml", r"circle\.yaml: extends: .*mine\.yaml extends it in turn"),
        ("[exp5]", r"mine\.yaml: extends: is not the name of a recipe"),
        ("broken.yaml", r"broken\.yaml: is not YAML"),
    ],
)
def test_what_cannot_be_extended_is_refused(extends, message, tmp_path):
    (tmp_path / "mine.yaml").write_text(f"extends: {extends}\nstages: [{STAGE}]")
    (tmp_path / "circle.yaml").write_text("extends: mine.yaml")
    (tmp_path / "broken.yaml").write_text("a: [")
    with pytest.raises(KitError, match=message) as refused:
        recipes.load(str(tmp_path / "mine.yaml"))
    assert "\n" not in str(refused.value)
