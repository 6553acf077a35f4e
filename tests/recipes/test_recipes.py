import math

import pytest

from kit import recipes
from kit.core.errors import KitError
from kit.recipes.stage import Stage
from kit.training import schedules


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_loads_and_its_dump_is_itself(name, tmp_path):
    loaded = recipes.load(name)
    assert loaded.name == name
    assert loaded.about
    path = tmp_path / "recipe.yaml"
    path.write_text(loaded.dump())
    assert recipes.read(path) == loaded


def test_exp5_is_the_papers():
    exp5 = recipes.load("exp5")
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
    assert [(s.size, s.epochs, s.batch_size, s.swa_epochs) for s in loaded.stages] == stages
    assert (loaded.threshold.binarization, loaded.threshold.removal) == (binarization, 2048)
    assert loaded.folds.holdout == holdout
    assert loaded.network.channels == (1 if name == "exp1" else 3)
    assert loaded.stages[0].schedule == ("plateau" if name == "exp1" else "cosine")
    assert loaded.start == ("exp2" if name == "exp3" else None)


def test_the_augmentation_study_takes_its_group_as_a_parameter():
    study = recipes.load("augmentation", "augmentation=[A1,A2] name=augmentation-A1A2")
    assert (recipes.load("augmentation").augmentation, study.augmentation) == ((), ("A1", "A2"))
    assert (study.stages[0].learning_rate, study.stages[0].final_learning_rate) == (1e-4, 1e-5)


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
    assert parts["se50"].network.attention == "scse"
    assert [stage.size for stage in parts["r34"].stages] == [512, 1024, 1024, 1024, 1024]
    assert parts["r34"].stages[1].frozen_epochs
    assert not parts["r50"].stages[0].frozen_epochs
    for part in parts.values():
        assert (part.optimizer.name, part.optimizer.weight_decay, part.optimizer.clip) == ("adam", 5e-6, 0.1)
        first, uptraining = part.stages[-4], part.stages[-3:]
        assert (first.schedule, first.watch, first.plateau.factor, first.plateau.patience) == (
            "plateau",
            "score",
            0.1,
            3,
        )
        assert [stage.positive_share for stage in part.stages[-4:]] == [0.8, 0.6, 0.4, 0.5]
        assert [stage.learning_rate for stage in uptraining] == [1e-5, 1e-5, 1e-6]
        assert {(stage.periods, stage.restarts, stage.final_learning_rate) for stage in uptraining} == {
            ((8,), False, 1e-7)
        }
        assert [stage.early_stopping for stage in part.stages[-4:]] == [11, 13, 13, 13]
        assert {(stage.best_checkpoints, stage.averaged) for stage in part.stages} == {(3, "predictions")}
        assert part.augmentation == ("A1", "A2", "A3", "affine")
    rule = whole.threshold
    assert (rule.top, rule.removal, rule.binarization, rule.smallest_contour) == (0.7, 800, 0.3, 100)
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
        assert stage.last_learning_rates == (1e-5, 1e-5, 5e-6, 5e-6)
        terms = (part.loss.bce, part.loss.dice, part.loss.image_focal)
        assert terms == ((1, 0, 1) if classifies else (0, 1, 0))
        assert classifies or part.loss.dice_areas == "squares"
        assert part.augmentation == ("exposure", "blur", "A1", "affine")
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
    assert (whole.threshold.binarization, whole.threshold.gate, whole.tta) == (0.4, 0.65, False)
    assert whole.parts()[-1].network.output_stride == 8
    assert whole.is_gated
    assert not recipes.load("sneddy").is_gated


def runner_ups_rates(epochs, lowest):
    """The rates that the published scheduler gives: its own reset leaves the period at 5, whatever T_mult says."""
    rates = [lowest + (5e-4 - lowest) * (1 + math.cos(math.pi * (epoch % 5) / 5)) / 2 for epoch in range(epochs - 4)]
    return [*rates, 1e-5, 1e-5, 5e-6, 5e-6]


def test_the_runner_ups_rates_are_those_of_the_published_loop():
    for part in recipes.load("x5").parts():
        (stage,) = part.stages
        found = [schedules.learning_rate(stage, [0.0] * epoch) for epoch in range(stage.epochs)]
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
    assert {(p.stages[0].learning_rate, p.stages[0].final_learning_rate) for p in (segment, classify)} == {(5e-4, 5e-5)}


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


def test_overrides_reach_lists_and_nested_keys():
    changed = recipes.load("exp5", "stages.1.epochs=4 network.encoder_weights=none stages.0.learning_rate=1e-4 seed=3")
    assert changed.stages[1].epochs == 4
    assert changed.stages[0].learning_rate == 1e-4
    assert changed.network.encoder_weights is None
    assert changed.seed == 3


def test_scaling_keeps_the_ratios_of_every_stage():
    exp5, small = (
        recipes.load("exp5", more) for more in ("", "scale.size=0.25 scale.batch_size=0.25 scale.epochs=0.1")
    )
    first, second = small.stages
    assert (first.size, first.epochs, first.batch_size, first.swa_epochs) == (64, 10, 16, 1)
    assert (second.size, second.epochs, second.batch_size, second.swa_epochs) == (128, 7, 4, 1)
    assert small.model_copy(update={"stages": exp5.stages}) == exp5
    assert recipes.load("exp5", "scale.epochs=1") == exp5


def test_scaling_reaches_the_stages_of_members_and_comes_before_other_values():
    whole = recipes.load("sneddy", "stages.4.epochs=2 scale.learning_rate=10 scale.epochs=0.04 scale.size=0.125")
    parts = {part.label: part for part in whole.parts()}
    assert [stage.size for stage in parts["r34"].stages] == [64, 128, 128, 128, 128]
    assert [stage.epochs for stage in parts["se50"].stages] == [2, 2, 2, 2, 2]
    assert [stage.early_stopping for stage in parts["se50"].stages] == [1, 1, 1, 1, 1]
    assert [stage.periods for stage in parts["se50"].stages[2:]] == [(1,), (1,), (1,)]
    assert [stage.learning_rate for stage in parts["r50"].stages] == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5])
    assert [stage.final_learning_rate for stage in parts["r50"].stages] == pytest.approx([1e-6, 1e-6, 1e-6, 1e-6])
    assert [stage.best_checkpoints for stage in parts["r50"].stages] == [2, 2, 2, 2]
    assert parts["r34"].stages[1].frozen_epochs == 1


@pytest.mark.parametrize("size", [0.001, 0.3, 1.7])
def test_scaled_sizes_are_those_that_a_network_takes(size):
    for stage in recipes.load("exp5", f"scale.size={size} scale.batch_size={size} scale.epochs={size}").stages:
        assert Stage.model_validate(stage.model_dump()) == stage


@pytest.mark.parametrize(
    ("overrides", "place"),
    [
        ("scale.sizes=0.5", "scale.sizes"),
        ("scale.size=0", "scale.size"),
        ("scale.size=.nan", "scale.size"),
        ("scale.size=1e300", "scale.size"),
        ("scale.epochs=1e300", "scale.epochs"),
        ("scale.size=90", "stages.0.size"),
        ("scale.size=half", "scale.size"),
        ("scale=0.5", "scale"),
        ("stages.0.size=100", "stages.0.size"),
        ("stages.0.swa_epochs=101", "stages.0.swa_epochs"),
        ("stages.1.frozen_epochs=71", "stages.1.frozen_epochs"),
        ("stages.0.swa_epochs=[1,101]", "stages.0.swa_epochs"),
        ("stages.0.swa_epochs=[0]", "stages.0.swa_epochs"),
        ("stages.0.swa_epochs=[]", "stages.0.swa_epochs"),
        ("stages.0.early_stopping=5", "stages.0: early_stopping may end the stage before its swa_epochs"),
        ("stages.0.averaged=predictions", "stages.0: averaged=predictions needs best_checkpoints"),
        ("stages.0.schedule=plateau stages.0.last_learning_rates=[1e-5]", "stages.0: last_learning_rates has no place"),
        ("stages.0.epochs=1 stages.0.swa_epochs=0 stages.0.last_learning_rates=[1e-5,1e-6]", "last_learning_rates"),
        ("stages.0.periods=[0]", "stages.0.periods.0"),
        ("stages.0.plateau.factor=1", "stages.0.plateau.factor"),
        ("stages.0.plateau.patience=0", "stages.0.plateau.patience"),
        ("stages.0.watch=dice", "stages.0.watch"),
        ("threshold.rule=best", "threshold.rule"),
        ("threshold.candidates=[[0.7,800]]", "threshold.candidates.0"),
        ("stages.1.best_checkpoints=2", "stages.1.best_checkpoints"),
        ("stages.0.batch_size=0", "stages.0.batch_size"),
        ("stages.0.learning_rate=-1", "stages.0.learning_rate"),
        ("stages.0.final_learning_rate=0.5", "stages.0.final_learning_rate"),
        ("stages.0.positive_share=1.5", "stages.0.positive_share"),
        ("stages.0.positve_share=0.5", "stages.0.positve_share"),
        ("stages.9.epochs=1", "stages.9.epochs"),
        ("seed=many", "seed"),
        ("seed=-1", "seed"),
        ("seed=4294967296", "seed"),
        ("threshold.binarization=1.5", "threshold.binarization"),
        ("loss.bce=.nan", "loss.bce"),
        ("loss.image=1", "loss.image"),
        ("loss.image_focal=1", "loss.image_focal"),
        ("loss.dice_over=pixel", "loss.dice_over"),
        ("optimizer.name=sgd", "optimizer.name"),
        ("optimizer.weight_decay=-1", "optimizer.weight_decay"),
        ("optimizer.clip=0", "optimizer.clip"),
        ("network.encoder.name=x", "network.encoder"),
        ("augmentation=[A9]", "augmentation.0"),
        ("stages=[]", "stages"),
        ("epochs", "KEY=VALUE"),
        ("name=../elsewhere", "name"),
        ("role=classify", "role=classify needs network.image_head"),
        ("start=../elsewhere", "start"),
        ("start=exp5", "start is the recipe itself"),
        ("start_data=round1", "start_data needs start"),
        ("members.a.weight=0", "members.a.weight"),
        ("members.a.start=exp5/a", "members.a.start: exp5/a is not a member that is trained before it"),
        ("members.a.start=exp5/b members.b.seed=1", "members.a.start"),
        ("start=exp5/a members.a.seed=1 members.b.seed=1", "members.a.start"),
        ("members={recipe.yaml:{}}", "members.recipe.yaml"),
        ("members={test.npy:{}}", "members.test.npy"),
        ("members.a.network.encodr=x", "members.a.network.encodr"),
        ("members.a.stages=[{size: 64}]", "members.a.stages.0.epochs"),
        ("members.a.stages.0.size=64", "members.a.stages"),
        ("members.a.name=b", "members.a.name"),
        ("members.a.members.b.seed=1", "members.a.members"),
        ("members.a=1", "members.a"),
        ("members.oof.seed=1", "members: oof is a folder of every run"),
        ("members.fold0.seed=1", "members: fold0 is a folder of every run"),
        ("name=a/b members.c.seed=1", "members: a recipe with members has a name without '/'"),
        ("members.a.seed=1 members.a.stages.0.size=64", "members.a.stages are those of the whole"),
        ("network.decoder_channels=[0,8,8,8,8]", "network.decoder_channels.0"),
        ("network.decoder_channels=[8,8,8,8,8] network.attention=scse", "network.attention: scse needs"),
        ("seed=2020-13-45", "is not a YAML value"),
        ("seed=!!int", "is not a YAML value"),
        ("image_evidence=true", "image_evidence needs network.image_head=true"),
        ("stages.0.validate_every=2 stages.0.schedule=plateau", "validate_every is 1 with"),
        ("threshold.transfer=sometimes", "threshold.transfer"),
        ("members.a/b.seed=1", "members.a/b"),
        ("members={..:{}}", "is not a name: use letters"),
        ("members.a.role=classify members.a.network.image_head=true", "members: none of them segments"),
    ],
)
def test_impossible_values_are_refused_with_their_key(overrides, place):
    with pytest.raises(KitError) as refused:
        recipes.load("exp5", overrides)
    assert place in str(refused.value)
    assert "\n" not in str(refused.value)


def test_unknown_recipes_and_files_that_are_none(tmp_path):
    with pytest.raises(KitError, match="exp5"):
        recipes.load("exp99")
    for content in ("[1, 2]", "a: [", "", "name: x", "seed: 2020-13-45", "[" * 3000):
        path = tmp_path / "mine.yaml"
        path.write_text(content)
        with pytest.raises(KitError, match=r"mine\.yaml"):
            recipes.load(str(path))


def test_a_member_may_start_from_one_before_it():
    pair = recipes.load("exp5", "members.a.seed=1 members.b.start=exp5/a").parts()
    assert [part.start for part in pair] == [None, "exp5/a"]


STAGE = "size: 64, epochs: 1, batch_size: 2"


@pytest.mark.parametrize(
    "content", [f"stages: [{{{STAGE}, size: 32}}]", f"stages: [{{{STAGE}}}]\nmembers: {{a: {{}}, a: {{seed: 1}}}}"]
)
def test_a_key_that_is_there_twice_is_refused(tmp_path, content):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(KitError, match=r"mine\.yaml: .*(size|a) is there 2 times"):
        recipes.load(str(path))


def test_merged_keys_are_no_keys_twice(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"stages: [&first {{{STAGE}}}, &second {{<<: *first, size: 96}}, {{<<: *second, epochs: 2}}]")
    assert [(stage.size, stage.epochs) for stage in recipes.load(str(path)).stages] == [(64, 1), (96, 1), (96, 2)]


def test_a_recipe_of_ones_own_is_named_after_its_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("stages: [{size: 64, epochs: 1, batch_size: 2}]")
    assert recipes.load(str(path)).name == "mine"
