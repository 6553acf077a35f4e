"""What the recipes of the kit say, against the paper, the winners' code and each other."""

import math
import os
import subprocess
import sys

import pytest

from kit import recipes
from kit.core.errors import KitError
from kit.lineage import differences
from kit.training import schedules


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_loads_and_its_dump_is_itself(name, tmp_path):
    loaded = recipes.load(name)
    assert loaded.name == name
    assert loaded.about
    path = tmp_path / "recipe.yaml"
    path.write_text(loaded.dump())
    assert recipes.load(path).resolved() == loaded.resolved()
    parts = zip(recipes.load(path).parts(), loaded.parts(), strict=True)
    assert all(read.resolved() == part.resolved() for read, part in parts)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("exp5", "folds.count=7"),
        ("exp5", "stages.1.schedule.cosine.restarts=false"),
        ("exp5", "magnitudes.blur.kernel=5"),
        ("exp5", "network.image_head_dropout=0.3"),
        ("augmentation", "magnitudes.light.contrast=0.9"),
        ("resnet18", "stages.0.keep.best.average=predictions"),
    ],
)
def test_a_resolved_recipe_shows_no_key_that_does_nothing(name, key):
    plain, changed = recipes.load(name), recipes.load(name, key)
    assert plain != changed
    assert plain.dump() == changed.dump()
    assert differences(plain, changed, lambda key: False) == []


def test_a_resolved_recipe_shows_what_any_member_uses():
    x5 = recipes.load("x5").resolved()
    assert list(x5["magnitudes"]) == ["flip", "affine", "exposure", "blur"]
    assert {"dice_areas", "dice_over"} <= x5["loss"].keys()
    assert {"output_stride", "decoder_channels", "image_head_dropout"} <= x5["network"].keys()
    assert list(x5["stages"][0]["keep"]["swa"]) == ["epochs", "batch_norm"]


@pytest.mark.parametrize("name", ["exp2", "exp3", "exp4", "exp5"])
def test_the_epochs_that_swa_averages_differ(name):
    """The cosine ends at 1e-5, so that the last epochs take steps of at least that."""
    for stage in recipes.load(name).stages:
        rates = [schedules.learning_rate(stage, [{}] * (epoch - 1)) for epoch in stage.swa]
        assert (stage.learning_rate, stage.schedule.cosine.to) == (1e-3, 1e-5)
        assert min(rates) > 1e-5


def test_the_augmentation_study_takes_its_group_as_a_parameter():
    study = recipes.load("augmentation", "augmentation=[A1,A2] name=augmentation-A1A2")
    assert (recipes.load("augmentation").augmentation, study.augmentation) == ((), ("flip", "light"))
    assert (study.stages[0].learning_rate, study.stages[0].schedule.cosine.to) == (1e-4, 1e-5)


def runner_ups_rates(epochs, lowest):
    """The rates that the published scheduler gives: its own reset leaves the period at 5, whatever T_mult says."""
    rates = [lowest + (5e-4 - lowest) * (1 + math.cos(math.pi * (epoch % 5) / 5)) / 2 for epoch in range(epochs - 4)]
    return [*rates, 1e-5, 1e-5, 5e-6, 5e-6]


def test_the_runner_ups_rates_are_those_of_the_published_loop():
    for part in recipes.load("x5").parts():
        (stage,) = part.stages
        found = [schedules.learning_rate(stage, [{}] * epoch) for epoch in range(stage.epochs)]
        expected = runner_ups_rates(stage.epochs, 1e-5 if part.role == "classify" else 1e-6)
        assert found == pytest.approx(expected)


def test_an_ensemble_goes_on_from_another_data_sets_member_by_member():
    parts = recipes.load("sneddy", "start=sneddy start_data=round1").parts()
    assert {(part.start, part.start_data) for part in parts} == {(f"sneddy/{part.label}", "round1") for part in parts}
    assert recipes.load("exp5", "start=exp5 start_data=round1").start == "exp5"


def test_a_member_is_the_recipe_with_its_changes_over_it():
    whole = recipes.load(
        "demo", 'members.a.network.encoder=resnet18 members.b.stages=[{"size":32,"epochs":1,"batch_size":2}]'
    )
    a, b = whole.parts()
    changed = whole.network.model_copy(update={"encoder": "resnet18"})
    assert a == whole.model_copy(update={"name": "demo/a", "network": changed, "members": {}})
    assert (b.name, [stage.size for stage in b.stages], b.network) == ("demo/b", [32], whole.network)
    assert recipes.load("demo").parts() == (recipes.load("demo"),)


def test_a_recipe_is_read_as_utf_8_in_any_locale(tmp_path):
    stage = "{size: 64, epochs: 1, batch_size: 1, learning_rate: 1}"
    (tmp_path / "r.yaml").write_text(f"about: Lungenflügel\nstages: [{stage}]\n", "utf-8")
    ascii_alone = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONPATH": os.getcwd()}
    command = [sys.executable, "-c", "from kit import recipes; print(ascii(recipes.load('r.yaml').about))"]
    ran = subprocess.run(command, cwd=tmp_path, env=os.environ | ascii_alone, capture_output=True, text=True)
    assert ran.stdout == "'Lungenfl\\xfcgel'\n", ran.stderr


class TestExtra:
    HEAD = "network.image_head=true loss.image=0.3 "

    @pytest.mark.parametrize("name", ["exp5", "small-ensemble"])
    def test_a_recipe_without_extra_data_is_resolved_as_ever(self, name):
        loaded = recipes.load(name)
        assert "extra" not in loaded.dump()
        assert recipes.load(name, "extra=null").dump() == loaded.dump()
        assert all("extra" not in part.resolved() for part in loaded.parts())

    def test_overrides_make_a_section_of_none(self, tmp_path):
        path = tmp_path / "r.yaml"
        path.write_text("{extra: null, stages: [{size: 64, epochs: 1, batch_size: 2}]}")
        for start in (path, "exp5"):
            for more in ("", " scale.epochs=0.5"):
                extra = recipes.load(start, f"extra.data=more extra.weight=0.5{more}").extra
                assert (extra.data, extra.labels, extra.weight) == ("more", "masks", 0.5)

    def test_members_may_have_none_or_others(self, caplog):
        loaded = recipes.load("x5", "extra.data=more members.b3.extra=null")
        found = {part.label: part.extra and part.extra.data for part in loaded.parts()}
        assert found.pop("b3") is None
        assert set(found.values()) == {"more"}
        assert differences(recipes.load("x5"), loaded, lambda key: False)
        recipes.load("x5", "members.b3.extra=null extra.data=more")
        assert "extra.data=more does not reach b3" in caplog.text

    @pytest.mark.parametrize(
        ("overrides", "told"),
        [
            ("extra.weight=0.5", "extra.data: is missing"),
            ("extra.data=more extra.weight=0", "extra.weight"),
            ("extra.data=more extra.weight=1.5", "extra.weight"),
            ("extra.data=more extra.labels=boxes", "extra.labels"),
            ("extra.data=more extra.labels=image", "extra.labels=image needs network.image_head=true and a loss.image"),
            (
                "extra.data=more extra.labels=image network.image_head=true",
                "extra.labels=image needs network.image_head=true and a loss.image",
            ),
        ],
    )
    def test_what_makes_no_sense_is_refused_in_a_line(self, overrides, told):
        with pytest.raises(KitError, match=told) as error:
            recipes.load("exp5", overrides)
        assert "\n" not in str(error.value)
        assert recipes.load("exp5", self.HEAD + "extra.data=more extra.labels=image").extra.labels == "image"


def test_a_group_may_have_the_papers_name_wherever_a_recipe_says_it(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "extends: small\naugmentation: [A3, affine]\nmagnitudes: {A2: {contrast: 0.1}}\n"
    )
    mine = recipes.load(tmp_path / "mine.yaml", "magnitudes.A3.grid=0.2")
    assert mine.augmentation == ("distortion", "affine")
    assert (mine.magnitudes.light.contrast, mine.magnitudes.light.gamma_is_exponent) == (0.1, True)
    assert mine.magnitudes.distortion.grid == 0.2
    assert list(mine.resolved()["magnitudes"]) == ["distortion", "affine"]
