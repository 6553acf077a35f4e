"""Overrides of a recipe: what they reach, how stages are scaled, and what is refused."""

import pytest

from kit import recipes
from kit.core.errors import KitError
from kit.recipes.scale import Scale
from kit.recipes.stage import Stage


def test_overrides_reach_lists_and_nested_keys():
    changed = recipes.load("exp5", "stages.1.epochs=4 network.encoder_weights=none stages.0.learning_rate=1e-4 seed=3")
    assert changed.stages[1].epochs == 4
    assert changed.stages[0].learning_rate == 1e-4
    assert changed.network.encoder_weights is None
    assert changed.seed == 3


def stages_of(name, overrides):
    return {part.label: part.stages for part in recipes.load(name, overrides).parts()}


def test_an_override_of_a_stage_reaches_every_member_that_has_it(caplog):
    before, shorter = stages_of("sneddy", ""), stages_of("sneddy", "stages.0.epochs=2")
    assert {label: [stage.epochs for stage in stages] for label, stages in shorter.items()} == {
        label: [2, *(stage.epochs for stage in stages[1:])] for label, stages in before.items()
    }
    assert {stage.keep.best.epochs for stages in shorter.values() for stage in stages[:1]} == {2}
    assert {stage.size for stages in stages_of("x5", "stages.0.size=512").values() for stage in stages} == {512}
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []
    with caplog.at_level("INFO", "kit"):
        recipes.load("demo", "stages.1.epochs=1")
    assert "stages.1.keep.swa.last: lowered to 1, since the stage has 1 epoch" in caplog.text


@pytest.mark.parametrize(
    ("epochs", "averaged", "rates"), [(1, {1}, 1), (3, {3}, 3), (40, {35, 40}, 4), (44, {35, 40, 44}, 4)]
)
def test_averaged_epochs_and_last_rates_fit_a_shorter_stage(epochs, averaged, rates, caplog):
    with caplog.at_level("INFO", "kit"):
        parts = stages_of("x5", f"stages.0.epochs={epochs}")
    assert set(parts["se50"][0].swa) == averaged
    assert {len(stages[0].schedule.cosine.then) for stages in parts.values()} == {rates}
    assert {stages[0].epochs for stages in parts.values()} == {epochs}
    assert ("schedule.cosine.then: lowered to [1e-05], since the stage has 1 epoch" in caplog.text) == (epochs == 1)


@pytest.mark.parametrize("warm_up", [1, 2, 10])
def test_a_scaled_stage_has_epochs_for_its_warm_up_and_last_rates(warm_up):
    rates = [0.1, 0.2][: 10 - warm_up]
    stage = Stage(size=64, epochs=10, batch_size=1, warm_up=warm_up, schedule={"cosine": {"then": rates}})
    for factor in (0.1, 0.2, 0.5, 1, 2):
        scaled = Stage.model_validate(Scale(epochs=factor).stage(stage))
        assert scaled.warm_up + len(scaled.schedule.cosine.then) <= scaled.epochs == 10 * factor


def test_members_that_an_override_does_not_reach_are_listed(caplog):
    before, found = stages_of("sneddy", ""), stages_of("sneddy", "stages.4.epochs=2")
    assert found["r50"] == before["r50"]
    assert "stages.4.epochs=2 does not reach r50, which have no such stage" in caplog.text
    caplog.clear()
    assert [part.seed for part in recipes.load("small-ensemble", "seed=7").parts()] == [7, 1, 2]
    assert "seed=7 does not reach seed1, seed2" in caplog.text
    caplog.clear()
    recipes.load("x5", "network.encoder_weights=null tta=true members.b3.seed=4")
    assert caplog.text == ""


def test_an_override_by_name_reaches_that_stage_in_every_member_that_has_it(caplog):
    before, found = stages_of("sneddy", ""), stages_of("sneddy", "stages.part0.epochs=7")
    for label, stages in before.items():
        assert [stage.epochs for stage in found[label]] == [7 if s.name == "part0" else s.epochs for s in stages]
    assert caplog.text == ""
    changed = stages_of("sneddy", "stages.part512.epochs=7")
    assert changed["r50"] == before["r50"]
    assert changed["r34"][0].epochs == 7
    assert "stages.part512.epochs=7 does not reach r50, which have no such stage" in caplog.text
    caplog.clear()
    sizes = {label: stages[0].size for label, stages in stages_of("x5", "stages.classify.size=64").items()}
    assert {label for label, size in sizes.items() if size == 64} == {"classify-se50", "classify-se101", "classify-b3"}
    assert "does not reach se50, se101, b3, b5, deeplab, which have no such stage" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("stages.0.swa_epochs=2", "stages.0.swa_epochs: is of an earlier version: write keep: {swa: {last: …}} now"),
        ("stages.1.final_learning_rate=1e-4", "is of an earlier version: write schedule: {cosine: {to: …}} now"),
        ("members.a.stages.0.best_checkpoints=3", "members.a.stages.0.best_checkpoints: is of an earlier version"),
        ("stages.0.passes_on=weights", "stages.0.passes_on: is of an earlier version: leave it out"),
    ],
)
def test_an_earlier_versions_keys_are_refused_with_what_to_write_now(overrides, message):
    with pytest.raises(KitError) as refused:
        recipes.load("exp5", overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_member_with_fewer_stages_is_listed(caplog):
    pair = "threshold.candidates=[[0.7,1,0.3],[0.7,2,0.3]] members.a.threshold.candidates=[[0.7,3,0.3]]"
    recipes.load("demo", f"{pair} threshold.candidates.1.1=5")
    assert "threshold.candidates.1.1=5 does not reach a: try members.a.threshold" in caplog.text


@pytest.mark.parametrize("member", ["r34", "r50"])
def test_a_stage_of_one_member_can_be_set(member):
    before, found = stages_of("sneddy", ""), stages_of("sneddy", f"members.{member}.stages.1.epochs=5")
    changed = [stage.model_copy(update={"epochs": 5}) if i == 1 else stage for i, stage in enumerate(before[member])]
    assert found == before | {member: tuple(changed)}


def test_the_winners_second_round_is_the_last_stage_of_all_four_members():
    last = recipes.load("sneddy").stages[-1]
    again = recipes.load("sneddy-round2")
    assert {part.stages for part in again.parts()} == {(last,)}
    assert [part.start for part in again.parts()] == [f"sneddy/{part.label}" for part in again.parts()]


@pytest.mark.parametrize("gamma", ["[0,0]", "[-1,1]", "[1.2,0.8]", "[.nan,1]", "[1]"])
def test_an_impossible_range_is_refused(gamma):
    with pytest.raises(KitError, match=r"magnitudes\.light\.gamma"):
        recipes.load("exp5", f"magnitudes.light.gamma={gamma}")
    assert recipes.load("exp5", "magnitudes.light.gamma=[0.9,0.9]").magnitudes.light.gamma == (0.9, 0.9)


def test_scaling_keeps_the_ratios_of_every_stage():
    exp5, small = (
        recipes.load("exp5", more) for more in ("", "scale.size=0.25 scale.batch_size=0.25 scale.epochs=0.1")
    )
    first, second = small.stages
    assert (first.size, first.epochs, first.batch_size, first.keep.swa.last) == (64, 10, 16, 1)
    assert (second.size, second.epochs, second.batch_size, second.keep.swa.last) == (128, 7, 4, 1)
    assert small.model_copy(update={"stages": exp5.stages}) == exp5
    assert recipes.load("exp5", "scale.epochs=1") == exp5


def test_scaling_reaches_the_stages_of_members_and_comes_before_other_values():
    whole = recipes.load("sneddy", "stages.4.epochs=2 scale.learning_rate=10 scale.epochs=0.04 scale.size=0.125")
    parts = {part.label: part for part in whole.parts()}
    assert [stage.size for stage in parts["r34"].stages] == [64, 128, 128, 128, 128]
    assert [stage.epochs for stage in parts["se50"].stages] == [2, 2, 2, 2, 2]
    assert [stage.early_stopping.patience for stage in parts["se50"].stages] == [1, 1, 1, 1, 1]
    assert [stage.schedule.cosine.periods for stage in parts["se50"].stages[2:]] == [(1,), (1,), (1,)]
    assert [stage.learning_rate for stage in parts["r50"].stages] == pytest.approx([1e-3, 1e-4, 1e-4, 1e-5])
    assert [stage.schedule.chosen.to for stage in parts["r50"].stages] == pytest.approx([1e-6, 1e-6, 1e-6, 1e-6])
    assert [stage.keep.best.epochs for stage in parts["r50"].stages] == [2, 2, 2, 2]
    assert parts["r34"].stages[1].frozen_epochs == 1


@pytest.mark.parametrize("size", [0.001, 0.3, 1.7])
def test_scaled_sizes_are_valid_for_a_network(size):
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
        ("stages.0.keep.swa.last=101", "stages.0: keep.swa.last is more than the 100 epochs"),
        ("stages.1.frozen_epochs=71", "stages.1: frozen_epochs is more than the 70 epochs"),
        ("stages.0.keep={swa: {epochs: [1,101]}}", "stages.0: keep.swa.epochs is more than"),
        ("stages.0.keep={swa: {epochs: [0]}}", "stages.0.keep.swa.epochs.0"),
        ("stages.0.keep={swa: {epochs: []}}", "stages.0.keep.swa.epochs"),
        ("stages.0.keep={swa: {epochs: [1], last: 2}}", "stages.0.keep.swa: takes either last"),
        ("stages.0.keep={swa: {average: predictions, last: 2}}", "stages.0.keep.swa.average: is not a key"),
        ("stages.0.keep.best.epochs=2", "stages.0.keep: takes one of last, swa, best, ema, not swa and best"),
        ("stages.0.keep={ema: {decay: 1}}", "stages.0.keep.ema.decay"),
        ("stages.0.early_stopping.patience=5", "stages.0: early_stopping may end the stage before the epochs of keep"),
        ("stages.0.schedule={plateau: {then: [1e-5]}}", "stages.0.schedule.plateau.then: is not a key"),
        ("stages.0.epochs=1 stages.0.schedule.cosine.then=[0.1,0.1]", "schedule.cosine.then is more than"),
        ("stages.0.schedule.cosine.periods=[0]", "stages.0.schedule.cosine.periods.0"),
        ("stages.0.schedule={plateau: {factor: 1}}", "stages.0.schedule.plateau.factor"),
        ("stages.0.schedule={plateau: {patience: 0}}", "stages.0.schedule.plateau.patience"),
        ("stages.0.schedule={plateau: {of: iou}}", "stages.0.schedule.plateau.of"),
        ("stages.0.schedule=cosin", "stages.0.schedule.cosin: is not a key of a recipe; did you mean cosine?"),
        ("stages.0.warm_up=101", "stages.0: warm_up is more than"),
        ("stages.0.positive_share=[0.8]", "stages.0.positive_share"),
        ("stages.0.name=0", "stages.0.name"),
        ("stages.0.name=a stages.1.name=a", "stages: two stages are called a"),
        ("stages.a.epochs=2", "there is no a in a list of 2 (the first is 0)"),
        ("optimizer.momentum=0.9", "optimizer: momentum is only for sgd"),
        ("optimizer.name=sgd optimizer.nesterov=true", "optimizer: nesterov needs momentum"),
        ("network.architecture=Unett", "'DeepLabV3Plus', 'PAN', 'UPerNet' or 'Segformer'"),
        ("network.architecture=FPN network.attention=scse", "network: attention: FPN has none"),
        ("network.architecture=PAN stages.0.size=64", "PAN needs stages of a size of 128 or more"),
        ("threshold.rule=best", "threshold.rule"),
        ("threshold.candidates=[[0.7,800]]", "threshold.candidates.0"),
        ("stages.0.batch_size=0", "stages.0.batch_size"),
        ("stages.0.learning_rate=-1", "stages.0.learning_rate"),
        ("stages.0.schedule.cosine.to=0.5", "stages.0: schedule.cosine.to is above learning_rate"),
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
        ("optimizer.name=rmsprop", "optimizer.name"),
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
        ("members.a.stages.0.size=65", "members.a.stages.0.size"),
        ("members.a.stages.2.size=64", "there is no 2 in a list of 2"),
        ("members.a.name=b", "members.a.name"),
        ("members.a.members.b.seed=1", "members.a.members"),
        ("members.a=1", "members.a"),
        ("members.oof.seed=1", "members: oof is a folder of every run"),
        ("members.fold0.seed=1", "members: fold0 is a folder of every run"),
        ("name=a/b members.c.seed=1", "members: a recipe with members has a name without '/'"),
        ("network.decoder_channels=[0,8,8,8,8]", "network.decoder_channels.0"),
        ("network.decoder_channels=[8,8,8,8,8] network.attention=scse", "network: attention: scse needs"),
        ("seed=2020-13-45", "SET: seed: is not YAML: month must be in 1..12"),
        ("seed=!!int", "SET: seed: is not YAML"),
        ("image_evidence=true", "image_evidence needs network.image_head=true"),
        ("stages.0.validate_every=2 stages.0.schedule=plateau", "validate_every must be 1 with"),
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


def test_unknown_recipes_and_invalid_files_are_refused(tmp_path):
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
def test_a_duplicate_key_is_refused(tmp_path, content):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    with pytest.raises(KitError, match=r"mine\.yaml: .*(size|a) appears 2 times"):
        recipes.load(str(path))


def test_merged_keys_are_not_duplicates(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(f"stages: [&first {{{STAGE}}}, &second {{<<: *first, size: 96}}, {{<<: *second, epochs: 2}}]")
    assert [(stage.size, stage.epochs) for stage in recipes.load(str(path)).stages] == [(64, 1), (96, 1), (96, 2)]


def test_a_users_recipe_is_named_after_its_file(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("stages: [{size: 64, epochs: 1, batch_size: 2}]")
    assert recipes.load(str(path)).name == "mine"
