import pytest

from kit import lineage, recipes
from kit.core.errors import KitError
from kit.core.files import write_text
from kit.lineage import Inputs
from kit.run import Run

INPUTS = Inputs(images="a", folds="b", fold_file="c.csv", starts={"weights of fold 0": "d"})


@pytest.fixture
def run(tmp_path):
    """A run of the recipe `demo` with the first stage trained in folds 0 and 3, and the last stage only in fold 3."""
    found = Run(tmp_path / "demo")
    lineage.begin(found, recipes.load("demo"), INPUTS)
    last = len(recipes.load("demo").stages) - 1
    for fold, stage in ((0, 0), (3, 0), (3, last)):
        write_text(found.weights(fold, stage), "")
    return found


def test_recipe_and_inputs_of_a_run_can_be_read(run):
    assert lineage.read_inputs(run) == INPUTS
    assert run.read_recipe() == recipes.load("demo")


@pytest.mark.parametrize(
    ("changed", "differences"),
    [
        ({}, []),
        ({"fold_file": "other.csv"}, []),
        ({"images": "x"}, ["images or labels"]),
        ({"images": "x", "folds": "y"}, ["images or labels", "folds"]),
        ({"starts": {"weights of fold 0": "x"}}, ["weights of fold 0"]),
        ({"starts": {"weights of fold 1": "x"}}, []),
    ],
)
def test_changed_inputs_are_listed(changed, differences):
    assert INPUTS.changes(INPUTS.model_copy(update=changed)) == differences


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"images": "a", "folds": "b", "fold_file": "../c.csv"}', "fold_file"),
        ('{"images": "a", "folds": "b", "fold_file": "c.csv", "starts": {"x": 1}}', "starts.x"),
    ],
)
def test_edited_inputs_are_refused_with_their_key(run, text, key):
    write_text(run.inputs_path, text)
    with pytest.raises(KitError, match=rf"inputs\.json: {key}: .*: remove .*demo and train again"):
        lineage.read_inputs(run)


def test_only_settings_that_affect_training_are_refused(run):
    with pytest.raises(KitError, match=r"other settings \(.*seed"):
        lineage.require_same_recipe(run, recipes.load("demo", "seed=5"))
    with pytest.raises(KitError, match="other settings"):
        lineage.begin(run, recipes.load("demo", "seed=5"), INPUTS)
    lineage.require_same_recipe(run, recipes.load("demo", "stages.1.micro_batch=4"))  # another machine has less memory
    lineage.begin(run, recipes.load("demo", "tta=false prevalence=0.3"), INPUTS)
    assert run.read_recipe().tta is False


AFTER = "threshold.smallest_contour=80 threshold.gate=0.4 threshold.rule=fixed threshold.transfer=share prevalence=0.3"
OWN = "threshold.binarization=0.4 threshold.removal=512 threshold.top=0.7 threshold.candidates=[[0.7,99,0.4]]"
EVERY = "stages.0.validate_every=1"
SCORED = (
    f"{EVERY} stages.0.keep={{best: {{epochs: 2}}}}",
    f"{EVERY} stages.0.early_stopping={{patience: 3, of: dice}}",
    f"{EVERY} stages.0.schedule={{plateau: {{of: dice}}}}",
)


@pytest.mark.parametrize(
    "trained", ["", f"{EVERY} stages.0.schedule=plateau", f"{EVERY} stages.0.keep={{best: {{of: loss}}}}", *SCORED]
)
def test_thresholds_may_change_if_no_epoch_was_chosen_by_them(tmp_path, trained):
    run = Run(tmp_path / "demo")
    lineage.begin(run, recipes.load("demo", trained), INPUTS)
    write_text(run.weights(0, 0), "")
    lineage.require_same_recipe(run, recipes.load("demo", f"{trained} {AFTER}"))
    for change in OWN.split():
        wanted = recipes.load("demo", f"{trained} {change}")
        if trained not in SCORED:
            lineage.require_same_recipe(run, wanted)
            continue
        with pytest.raises(KitError, match=rf"other settings \({change.split('=')[0]}"):
            lineage.require_same_recipe(run, wanted)


def test_thresholds_may_change_if_the_score_has_candidates(tmp_path):
    run, trained = Run(tmp_path / "demo"), f"{SCORED[0]} threshold.candidates=[[0.7,99,0.4]]"
    lineage.begin(run, recipes.load("demo", trained), INPUTS)
    write_text(run.weights(0, 0), "")
    lineage.require_same_recipe(run, recipes.load("demo", f"{trained} threshold.binarization=0.4"))
    with pytest.raises(KitError, match=r"threshold\.candidates\.0\.1: 99 → 98"):
        lineage.require_same_recipe(run, recipes.load("demo", trained.replace("99", "98")))


def test_only_a_training_may_change_the_weights_of_members(tmp_path):
    """It makes the mean of the maps again, which later verbs use."""
    whole, heavier = (recipes.load("demo", f"members.a.seed=1 members.b.weight={weight}") for weight in (2, 3))
    run = Run(tmp_path / "demo")
    for part in (whole, *whole.parts()):
        lineage.begin(run.part(part), part, INPUTS)
    write_text(run.part(whole.parts()[0]).weights(0, 0), "")
    with pytest.raises(KitError, match=r"members\.b\.weight: 2 → 3"):
        lineage.require_same_recipe(run, heavier)
    for part in (heavier, *heavier.parts()):
        lineage.begin(run.part(part), part, INPUTS)
    lineage.require_same_recipe(run, heavier)


def test_other_data_are_refused_where_something_was_trained(run, tmp_path):
    other = INPUTS.model_copy(update={"folds": "x"})
    with pytest.raises(KitError, match="other folds than today's"):
        lineage.begin(run, recipes.load("demo"), other)
    untrained = Run(tmp_path / "new")
    for inputs in (INPUTS, other):
        lineage.begin(untrained, recipes.load("demo"), inputs)
        assert lineage.read_inputs(untrained) == inputs


def test_each_fold_adds_the_weights_that_it_started_from(run):
    lineage.begin(run, recipes.load("demo"), INPUTS.model_copy(update={"starts": {"weights of fold 1": "e"}}))
    assert lineage.read_inputs(run).starts == {"weights of fold 0": "d", "weights of fold 1": "e"}


def test_weights_to_start_from_are_those_of_a_finished_fold(run):
    last = len(run.read_recipe().stages) - 1
    assert lineage.last_weights(run, 3, INPUTS) == run.weights(3, last)
    with pytest.raises(KitError, match="fold 0 is not fully trained"):
        lineage.last_weights(run, 0, INPUTS)
    with pytest.raises(KitError, match="was trained with other folds"):
        lineage.last_weights(run, 3, INPUTS.model_copy(update={"folds": "x"}))


def test_folds_start_from_finished_folds_of_another_data_set_in_turn(run):
    assert [lineage.matching_fold(run, fold) for fold in range(3)] == [3, 3, 3]
    run.weights(0, len(run.read_recipe().stages) - 1).parent.mkdir(parents=True, exist_ok=True)
    write_text(run.weights(0, len(run.read_recipe().stages) - 1), "")
    assert [lineage.matching_fold(run, fold) for fold in range(4)] == [0, 3, 0, 3]
