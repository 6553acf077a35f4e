import pytest

from kit import recipes
from kit.core.errors import KitError
from kit.recipes.schema import Stage


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


def test_the_winner_is_three_networks_with_their_own_losses_and_chains():
    parts = recipes.load("sneddy").parts()
    assert {name: part.network.encoder for name, part in parts.items()} == {
        "r34": "resnet34",
        "r50": "resnet50",
        "se50": "se_resnext50_32x4d",
    }
    losses = {(part.loss.bce, part.loss.dice, part.loss.focal) for part in parts.values()}
    assert losses == {(3, 1, 4), (1, 1, 1), (2, 1, 2)}
    assert parts["se50"].network.attention == "scse"
    assert [stage.size for stage in parts["r34"].stages] == [512, 1024, 1024, 1024, 1024]
    assert parts["r34"].stages[1].frozen_epochs
    for part in parts.values():
        uptraining = part.stages[-3:]
        assert [stage.positive_share for stage in uptraining] == [0.6, 0.4, 0.5]
        assert [stage.learning_rate for stage in uptraining] == [1e-5, 1e-5, 1e-6]
        assert all(stage.best_checkpoints == 3 for stage in part.stages)
        rule = part.threshold
        assert (rule.top, rule.removal, rule.binarization) == (0.7, 800, 0.3)


def test_the_runner_up_classifies_with_three_networks_and_segments_with_five():
    whole = recipes.load("x5")
    by_role = {"classify": [], "segment": []}
    for part in whole.parts().values():
        by_role[part.role].append((part.network.architecture, part.network.encoder))
        shares = {stage.positive_share for stage in part.stages}
        assert shares == ({None} if part.role == "classify" else {1.0})
        assert part.network.image_head == (part.role == "classify") == bool(part.loss.image)
    classifiers = ["se_resnext50_32x4d", "se_resnext101_32x4d", "efficientnet-b3"]
    assert by_role["classify"] == [("Unet", encoder) for encoder in classifiers]
    assert by_role["segment"] == [
        *(("Unet", encoder) for encoder in (*classifiers, "efficientnet-b5")),
        ("DeepLabV3Plus", "resnext50_32x4d"),
    ]
    assert whole.is_gated
    assert not recipes.load("sneddy").is_gated


def test_a_member_is_the_recipe_with_its_changes_over_it():
    whole = recipes.load(
        "demo", 'members.a.network.encoder=resnet18 members.b.stages=[{"size":32,"epochs":1,"batch_size":2}]'
    )
    a, b = whole.parts().values()
    changed = whole.network.model_copy(update={"encoder": "resnet18"})
    assert a == whole.model_copy(update={"name": "demo/a", "network": changed, "members": {}})
    assert (b.name, [stage.size for stage in b.stages], b.network) == ("demo/b", [32], whole.network)
    assert recipes.load("demo").parts() == {"": recipes.load("demo")}


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
    parts = whole.parts()
    assert [stage.size for stage in parts["r34"].stages] == [64, 128, 128, 128, 128]
    assert [stage.epochs for stage in parts["se50"].stages] == [2, 2, 2, 2, 2]
    assert [stage.learning_rate for stage in parts["r50"].stages] == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5])
    assert [stage.final_learning_rate for stage in parts["r50"].stages] == pytest.approx([0, 1e-6, 1e-6, 0])
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
        ("network.encoder.name=x", "network.encoder"),
        ("augmentation=[A9]", "augmentation.0"),
        ("stages=[]", "stages"),
        ("epochs", "KEY=VALUE"),
        ("name=../elsewhere", "name"),
        ("role=classify", "role=classify needs network.image_head"),
        ("start=../elsewhere", "start"),
        ("start=exp5", "start is the recipe itself"),
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
    assert [part.start for part in pair.values()] == [None, "exp5/a"]


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
