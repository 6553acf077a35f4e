"""The recipes of the kit, compared with the paper, the winners' code and each other."""

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
def test_every_recipe_loads_and_its_dump_loads_as_the_same(name, tmp_path):
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
def test_a_resolved_recipe_has_no_key_without_effect(name, key):
    plain, changed = recipes.load(name), recipes.load(name, key)
    assert plain != changed
    assert plain.dump() == changed.dump()
    assert differences(plain, changed, lambda key: False) == []


def test_a_resolved_recipe_has_keys_that_any_member_uses():
    x5 = recipes.load("x5").resolved()
    assert list(x5["magnitudes"]) == ["flip", "affine", "exposure", "blur"]
    assert {"dice_areas", "dice_over"} <= x5["loss"].keys()
    assert {"output_stride", "decoder_channels", "image_head_dropout"} <= x5["network"].keys()
    assert list(x5["stages"][0]["keep"]["swa"]) == ["epochs", "batch_norm"]


def test_exp5_is_as_in_the_paper():
    exp5 = recipes.load("exp5")
    first, second = exp5.stages
    assert (first.size, first.epochs, first.batch_size, first.keep.swa.last) == (256, 100, 64, 5)
    assert (second.size, second.epochs, second.batch_size, second.keep.swa.last) == (512, 70, 16, 3)
    assert {first.learning_rate, second.learning_rate} == {1e-3}
    assert {first.schedule.chosen_name, second.schedule.chosen_name} == {"cosine"}
    assert (exp5.threshold.binarization, exp5.threshold.removal) == (0.75, 2048)
    assert (exp5.network.architecture, exp5.network.encoder, exp5.network.encoder_weights) == (
        "Unet",
        "resnet34",
        "imagenet",
    )
    assert (exp5.loss.bce, exp5.loss.dice, exp5.loss.focal) == (1, 1, 0)
    assert exp5.augmentation == ("flip", "light", "distortion", "crop")
    assert exp5.folds.holdout == 0.1
    assert exp5.tta


@pytest.mark.parametrize(
    ("name", "stages", "binarization", "holdout"),
    [
        ("exp1", [(256, 50, 40, 0)], 0.5, 0.2),
        ("exp2", [(256, 35, 40, 5)], 0.55, 0.1),
        ("exp3", [(512, 10, 14, 3)], 0.55, 0.1),
        ("exp4", [(256, 60, 40, 5), (512, 29, 14, 3)], 0.75, 0.1),
        ("exp5", [(256, 100, 64, 5), (512, 70, 16, 3)], 0.75, 0.1),
        ("augmentation", [(256, 20, 64, 0)], 0.5, 0.1),
    ],
)
def test_the_papers_table_4(name, stages, binarization, holdout):
    loaded = recipes.load(name)
    assert [(s.size, s.epochs, s.batch_size, len(s.swa)) for s in loaded.stages] == stages
    assert (loaded.threshold.binarization, loaded.threshold.removal) == (binarization, 2048)
    assert loaded.folds.holdout == holdout
    assert loaded.network.channels == (1 if name == "exp1" else 3)
    assert loaded.stages[0].schedule.chosen_name == ("plateau" if name == "exp1" else "cosine")
    assert loaded.start == ("exp2" if name == "exp3" else None)
    assert (loaded.loss.bce, loaded.loss.dice, loaded.loss.dice_over) == (1, 1, "batch")
    assert loaded.threshold.rule == "fixed"


@pytest.mark.parametrize("name", ["exp2", "exp3", "exp4", "exp5"])
def test_the_epochs_that_swa_averages_differ(name):
    """The cosine ends at 1e-5, the smallest rate of the last epochs."""
    for stage in recipes.load(name).stages:
        rates = [schedules.learning_rate(stage, [{}] * (epoch - 1)) for epoch in stage.swa]
        assert (stage.learning_rate, stage.schedule.cosine.to) == (1e-3, 1e-5)
        assert min(rates) > 1e-5


def test_the_augmentation_study_takes_its_group_as_a_parameter():
    study = recipes.load("augmentation", "augmentation=[A1,A2] name=augmentation-A1A2")
    assert (recipes.load("augmentation").augmentation, study.augmentation) == ((), ("flip", "light"))
    assert (study.stages[0].learning_rate, study.stages[0].schedule.cosine.to) == (1e-4, 1e-5)


def test_the_winner_is_four_networks_with_their_own_losses_and_weights():
    whole = recipes.load("sneddy")
    parts = {part.label: part for part in whole.parts()}
    assert [part.weight for part in parts.values()] == [0.4, 0.2, 0.2, 0.2]
    assert {name: (part.network.encoder, part.network.normalisation) for name, part in parts.items()} == {
        "r34": ("resnet34", "unit"),
        "r34-valid": ("resnet34", "unit"),
        "r50": ("resnet50", "imagenet"),
        "se50": ("se_resnext50_32x4d", "unit"),
    }
    losses = [(part.loss.bce, part.loss.dice, part.loss.focal, part.loss.dice_over) for part in parts.values()]
    assert losses == [(1, 1, 1, "batch"), (3, 1, 4, "batch"), (2, 1, 2, "batch"), (3, 1, 4, "batch")]
    assert {name: part.network.decoder_channels for name, part in parts.items()} == {
        "r34": (256, 256, 64, 128, 32),
        "r34-valid": (256, 256, 64, 128, 32),
        "r50": (256, 256, 128, 64, 64),
        "se50": (384, 256, 128, 64, 32),
    }
    assert parts["se50"].network.attention == "scse"
    assert [stage.size for stage in parts["r34"].stages] == [512, 1024, 1024, 1024, 1024]
    assert parts["r34"].stages[1].frozen_epochs
    assert not parts["r50"].stages[0].frozen_epochs
    for part in parts.values():
        assert (part.optimizer.name, part.optimizer.weight_decay, part.optimizer.clip) == ("adam", 5e-6, 0.1)
        first, uptraining = part.stages[-4], part.stages[-3:]
        plateau = first.schedule.plateau
        assert (plateau.of, plateau.factor, plateau.patience) == ("dice", 0.1, 3)
        assert [stage.positive_share for stage in part.stages[-4:]] == [0.8, 0.6, 0.4, 0.5]
        assert [stage.learning_rate for stage in uptraining] == [1e-5, 1e-5, 1e-6]
        cosines = [stage.schedule.cosine for stage in uptraining]
        assert {(cosine.periods, cosine.restarts, cosine.to) for cosine in cosines} == {((8,), False, 1e-7)}
        assert [stage.early_stopping.patience for stage in part.stages[-4:]] == [11, 13, 13, 13]
        assert {stage.early_stopping.of for stage in part.stages} == {"dice"}
        best = {stage.keep.best for stage in part.stages}
        assert {(kept.epochs, kept.of, kept.average) for kept in best} == {(3, "dice", "predictions")}
        assert part.augmentation == ("flip", "light", "distortion", "affine")
    rule = whole.threshold
    assert (rule.rule, rule.top, rule.removal, rule.binarization, rule.smallest_contour) == (
        "fixed",
        0.7,
        800,
        0.3,
        100,
    )
    assert len(rule.candidates) == 8


def test_the_runner_up_classifies_with_three_networks_and_segments_with_five():
    whole = recipes.load("x5")
    by_role = {"classify": [], "segment": []}
    for part in whole.parts():
        classifies = part.role == "classify"
        by_role[part.role].append((part.network.architecture, part.network.encoder, part.stages[0].size))
        (stage,) = part.stages
        assert stage.positive_share == (None if classifies else 1.0)
        assert part.network.image_head == part.loss.needs_image_head
        assert stage.learning_rate == 5e-4
        assert (stage.epochs, stage.swa) == ((34, (25, *range(30, 35))) if classifies else (44, (35, 40, 44)))
        assert stage.schedule.cosine.then == (1e-5, 1e-5, 5e-6, 5e-6)
        terms = (part.loss.bce, part.loss.dice, part.loss.image_focal)
        assert terms == ((1, 0, 1) if classifies else (0, 1, 0))
        assert classifies or part.loss.dice_areas == "squares"
        assert part.augmentation == ("exposure", "blur", "flip", "affine")
        assert (part.magnitudes.affine.shift, part.magnitudes.affine.rotation) == (0.2, 20)
    assert by_role["classify"] == [
        ("Unet", "se_resnext50_32x4d", 768),
        ("Unet", "se_resnext101_32x4d", 768),
        ("Unet", "efficientnet-b3", 1024),
    ]
    assert by_role["segment"] == [
        ("Unet", "se_resnext50_32x4d", 1024),
        ("Unet", "se_resnext101_32x4d", 1024),
        ("Unet", "efficientnet-b3", 1024),
        ("Unet", "efficientnet-b5", 768),
        ("DeepLabV3Plus", "se_resnext50_32x4d", 1024),
    ]
    rule = whole.threshold
    assert (rule.rule, rule.binarization, rule.gate, whole.tta) == ("fixed", 0.4, 0.65, False)
    assert whole.parts()[-1].network.output_stride == 8
    assert whole.is_gated
    assert not recipes.load("sneddy").is_gated


def runner_ups_rates(epochs, lowest):
    """Rates of the published scheduler, whose reset ignores T_mult and keeps the period at 5."""
    rates = [lowest + (5e-4 - lowest) * (1 + math.cos(math.pi * (epoch % 5) / 5)) / 2 for epoch in range(epochs - 4)]
    return [*rates, 1e-5, 1e-5, 5e-6, 5e-6]


def test_the_runner_ups_rates_are_those_of_the_published_loop():
    for part in recipes.load("x5").parts():
        (stage,) = part.stages
        found = [schedules.learning_rate(stage, [{}] * epoch) for epoch in range(stage.epochs)]
        expected = runner_ups_rates(stage.epochs, 1e-5 if part.role == "classify" else 1e-6)
        assert found == pytest.approx(expected)


def test_the_light_system_is_a_segmenter_of_positives_behind_a_classifier():
    segment, classify = recipes.load("resnet18").parts()
    assert {part.network.encoder for part in (segment, classify)} == {"resnet18"}
    assert {part.stages[0].size for part in (segment, classify)} == {768}
    assert (segment.role, segment.stages[0].positive_share) == ("segment", 1.0)
    assert (classify.role, classify.stages[0].positive_share) == ("classify", 0.5)
    assert segment.loss.lovasz == classify.loss.lovasz == 0.1
    # One cosine down to a tenth of the rate.
    assert {(p.stages[0].learning_rate, p.stages[0].schedule.cosine.to) for p in (segment, classify)} == {(5e-4, 5e-5)}


def test_each_member_starts_from_its_namesake_on_another_data_set():
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
    def test_a_recipe_without_extra_data_has_no_such_key(self, name):
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

    def test_members_may_have_no_or_other_extra_data(self, caplog):
        loaded = recipes.load("x5", "extra.data=more members.b3.extra=null")
        found = {part.label: part.extra and part.extra.data for part in loaded.parts()}
        assert found.pop("b3") is None
        assert set(found.values()) == {"more"}
        assert differences(recipes.load("x5"), loaded, lambda key: False)
        recipes.load("x5", "members.b3.extra=null extra.data=more")
        assert "extra.data=more does not reach b3" in caplog.text

    @pytest.mark.parametrize(
        ("overrides", "message"),
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
    def test_invalid_values_are_refused_in_one_line(self, overrides, message):
        with pytest.raises(KitError, match=message) as error:
            recipes.load("exp5", overrides)
        assert "\n" not in str(error.value)
        assert recipes.load("exp5", self.HEAD + "extra.data=more extra.labels=image").extra.labels == "image"


def test_groups_may_have_the_papers_names_everywhere(tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "extends: small\naugmentation: [A3, affine]\nmagnitudes: {A2: {contrast: 0.1}}\n"
    )
    mine = recipes.load(tmp_path / "mine.yaml", "magnitudes.A3.grid=0.2")
    assert mine.augmentation == ("distortion", "affine")
    assert (mine.magnitudes.light.contrast, mine.magnitudes.light.gamma_is_exponent) == (0.1, True)
    assert mine.magnitudes.distortion.grid == 0.2
    assert list(mine.resolved()["magnitudes"]) == ["distortion", "affine"]
