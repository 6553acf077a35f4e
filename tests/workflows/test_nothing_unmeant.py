"""Nobody submits what they did not mean: folds, rules and answers that changed under a run."""

import json
import shutil

import pytest

from kit import lineage, phantom, recipes
from kit.competition import submission
from kit.core.errors import KitError
from kit.core.files import write_json
from kit.workflows.folds import make_folds
from kit.workflows.predict import predict
from kit.workflows.report import report
from kit.workflows.thresholds import explore, in_use
from kit.workflows.train import Job, train
from kit.workflows.workspace import Workspace

TINY = [
    'stages=[{"size":32,"epochs":1,"batch_size":4}]',
    "network.encoder=tu-test_resnet",
    "network.decoder_channels=[8,8,8,8,8]",
    "network.encoder_weights=none",
]


def recipe(more=""):
    return recipes.load("demo", [*TINY, *more.split()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace with a trained run, to be copied."""
    root = tmp_path_factory.mktemp("work")
    phantom.write(root / "tiny", train=24, test=6, size=64, seed=3)
    workspace = Workspace(root)
    make_folds(workspace, root / "tiny", recipe())
    run, _ = train(workspace, Job(root / "tiny", recipe()))
    predict(workspace, root / "tiny", recipe())
    return run.folder


@pytest.fixture
def place(trained, tmp_path):
    """A workspace of its own, its data and its run."""
    root = tmp_path / "work"
    shutil.copytree(trained.parents[2], root)
    workspace = Workspace(root)
    data = root / "tiny"
    return workspace, data, workspace.run(workspace.open_data(data), recipe())


VERBS = (predict, explore, report, lambda workspace, data, recipe: train(workspace, Job(data, recipe)))


class TestFolds:
    def test_no_split_takes_the_place_of_another(self, place):
        workspace, data, run = place
        before = (workspace.folds / "tiny.csv").read_bytes()
        path, split, made = make_folds(workspace, data, recipe("folds.holdout=0.2"))
        assert made
        assert path.name == "tiny-holdout20.csv"
        assert split.numbers == [0]
        assert make_folds(workspace, data, recipe("folds.seed=5"))[0].name == "tiny-2fold-seed5.csv"
        assert make_folds(workspace, data, recipe("seed=5"))[0::2] == (workspace.folds / "tiny.csv", False)
        assert make_folds(workspace, data, recipe("folds.holdout=0.2"))[0::2] == (path, False)
        assert (workspace.folds / "tiny.csv").read_bytes() == before
        for verb in VERBS:
            verb(workspace, data, recipe())
        assert lineage.read_inputs(run).fold_file == "tiny.csv"
        held, _ = train(workspace, Job(data, recipe("name=held folds.holdout=0.2")))
        assert lineage.read_inputs(held).fold_file == "tiny-holdout20.csv"

    def test_an_edited_file_is_used_and_never_overwritten(self, place):
        workspace, data, _ = place
        file = workspace.folds / "tiny.csv"
        file.write_text(file.read_text() + "\n")
        before = file.read_bytes()
        assert make_folds(workspace, data, recipe("folds.count=3"))[::2] == (file, False)
        with pytest.raises(KitError, match="was edited since, and is kept"):
            make_folds(workspace, data, recipe(), out=file)
        run, _ = train(workspace, Job(data, recipe("name=other folds.count=3")))
        assert lineage.read_inputs(run).fold_file == "tiny.csv"
        assert file.read_bytes() == before

    def test_two_data_sets_of_one_name_do_not_share(self, place):
        workspace, _, _ = place
        other = workspace.root / "elsewhere" / "tiny"
        phantom.write(other, train=24, test=6, size=64, seed=4)
        with pytest.raises(KitError, match="a data set of the same name"):
            make_folds(workspace, other, recipe())
        for verb in VERBS:
            with pytest.raises(KitError, match="has other images"):
                verb(workspace, other, recipe())


class TestRule:
    def test_exploring_leaves_the_choice_alone(self, place):
        workspace, data, run = place
        before = run.thresholds.read_bytes()
        for options in ({}, {"names": ("image",)}, {"draws": 2}, {"prevalence": 0.4}):
            explored = explore(workspace, data, recipe(), **options)
            assert run.thresholds.read_bytes() == before
            assert explored.reason.endswith(", which has the best nested Dice")
            assert explored.in_use == run.rule("searched")

    def test_the_recipe_says_which_rule_is_in_use(self, place):
        workspace, data, run = place
        before = run.thresholds.read_bytes()
        best = json.loads(before)["rule"]
        other = "image" if best != "image" else "triplet"
        assert explore(workspace, data, recipe(f"threshold.rule={other}")).in_use == run.rule(other)
        assert in_use(run) == f"{other}, as threshold.rule says"
        assert json.loads(run.thresholds.read_text())["rules"] == [other]
        explore(workspace, data, recipe())
        assert in_use(run) == f"{best}, which has the best nested Dice"
        assert run.thresholds.read_bytes() == before

    def test_a_run_that_an_earlier_version_searched_is_searched_again(self, place, monkeypatch):
        workspace, data, run = place
        before = run.thresholds.read_bytes()
        monkeypatch.setattr("kit.workflows.thresholds.STATISTICS", 3)
        write_json(run.thresholds, {"rule": "image", "binarization": 0.5, "removal": 0, "dice": 0.9})
        assert train(workspace, Job(data, recipe()))[1]
        assert run.thresholds.read_bytes() == before


class TestAnswers:
    def test_after_a_failure_no_old_submission_looks_fresh(self, place):
        workspace, data, run = place
        before = run.submission.read_bytes()
        assert not predict(workspace, data, recipe())[1]
        victim = sorted(data.rglob("dicom-images-test/**/*.dcm"))[0]
        victim.write_bytes(b"torn")
        with pytest.raises(KitError, match=victim.name):
            predict(workspace, data, recipe())
        assert not run.submission.exists()
        assert (run.folder / "submission.previous.csv").read_bytes() == before

    def test_a_file_that_cannot_be_read_is_recorded_and_not_decoded_again(self, place, monkeypatch):
        workspace, data, run = place
        victim = sorted(data.rglob("dicom-images-test/**/*.dcm"))[0]
        victim.write_bytes(b"torn")
        assert predict(workspace, data, recipe(), skip_bad=True)[1]
        assert submission.read(run.submission)[victim.stem] == "-1"
        monkeypatch.setattr("kit.competition.dicom.read", lambda *given: pytest.fail("an image was decoded"))
        assert not predict(workspace, data, recipe(), skip_bad=True)[1]
