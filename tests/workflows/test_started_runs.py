"""Runs that start from others, and runs that are used as they were trained, at a tiny size."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from tiny_recipes import tiny

from kit import recipes
from kit.competition import layout
from kit.core.errors import KitError
from kit.workflows.folds import make_folds
from kit.workflows.predict import predict
from kit.workflows.thresholds import explore
from kit.workflows.train import Job, train
from kit.workflows.workspace import Workspace

STILL = "stages.0.learning_rate=1e-12 stages.0.schedule.cosine.to=1e-12"
"""A training after which the weights are those that it started from."""


@pytest.fixture
def data(tiny_competition):
    return tiny_competition


def test_a_fold_starts_from_the_named_recipes_last_weights(data):
    source, _ = train(Workspace(), Job(data, tiny("exp2")))
    target, _ = train(Workspace(), Job(data, tiny("exp3", f"name=held {STILL}")))
    name = "net.decoder.blocks.0.conv1.0.weight"
    for fold in (0, 1):
        first, second = (load_file(run.weights(fold, 0))[name] for run in (source, target))
        assert torch.allclose(first, second, atol=1e-6)


def test_round_1_predicts_and_goes_on_with_round_2(data, caplog):
    """Weights of one data set start a run on another, and predict its test images as they are."""
    other = data.with_name("later")
    if not other.exists():
        shutil.copytree(data, other)  # the same images: all that validate have trained
        make_folds(Workspace(), other, recipes.load("demo"), count=3)
    source, _ = train(Workspace(), Job(data, tiny("exp2")))
    path, _ = predict(Workspace(), other, tiny("exp2"), trained_on=data.name)
    assert path.parent.name == f"exp2@{data.name}"
    predict(Workspace(), data, tiny("exp2"))
    assert path.read_text() == source.submission.read_text()

    wanted = tiny("exp2", f"name=second folds.count=3 start=exp2 start_data={data.name} {STILL}")
    target, _ = train(Workspace(), Job(other, wanted))
    name = "net.decoder.blocks.0.conv1.0.weight"
    for fold, start in ((0, 0), (1, 1), (2, 0)):
        first, second = load_file(source.weights(start, 0))[name], load_file(target.weights(fold, 0))[name]
        assert torch.allclose(first, second, atol=1e-6)
    assert "has trained on" in caplog.text


def test_a_start_that_was_trained_anew_is_told(data):
    source, _ = train(Workspace(), Job(data, tiny("exp2", "name=source")))
    target = tiny("exp3", "name=follower start=source")
    train(Workspace(), Job(data, target))
    shutil.copy(source.weights(1, 0), source.weights(0, 0))
    with pytest.raises(KitError, match=r"follower: was trained with other weights of fold 0 of source"):
        train(Workspace(), Job(data, target))


def test_a_run_is_predicted_as_it_was_trained(data):
    wanted = tiny("demo", "name=kept")
    run, _ = train(Workspace(), Job(data, wanted))
    path, _ = predict(Workspace(), data, wanted)
    before = {file: file.read_bytes() for file in (path, run.test(tta=True), run.test(tta=False))}
    for other in ("stages.1.size=32", "network.normalisation=imagenet", "seed=3"):
        for verb in (predict, explore):
            with pytest.raises(KitError, match="was trained with other settings"):
                verb(Workspace(), data, tiny("demo", f"name=kept {other}"))
    assert {file: file.read_bytes() for file in before} == before


def test_thresholds_are_those_of_the_maps_that_they_are_applied_to(data):
    run, _ = train(Workspace(), Job(data, tiny("demo", "name=kept")))
    path, _ = predict(Workspace(), data, tiny("demo", "name=kept"))
    before = path.read_bytes(), run.thresholds.read_bytes()
    predict(Workspace(), data, tiny("demo", "name=kept tta=false"))
    assert {"fold0-plain.npy", "fold1-plain.npy"} < json.loads(run.thresholds.read_text())["hashes"].keys()
    predict(Workspace(), data, tiny("demo", "name=kept"))
    assert (path.read_bytes(), run.thresholds.read_bytes()) == before


def test_a_start_that_cannot_be_is_told(data):
    with pytest.raises(KitError, match=r"absent.*run `make train` first"):
        train(Workspace(), Job(data, recipes.load("demo", "name=a start=absent")))
    pair = tiny("exp2", "name=pair members.a.seed=1 members.b.seed=2")
    Workspace().run(layout.open_folder(data), pair).write_recipe(pair)
    with pytest.raises(KitError, match=r"pair: is an ensemble: .* start=pair/a"):
        train(Workspace(), Job(data, recipes.load("demo", "name=b start=pair")))
