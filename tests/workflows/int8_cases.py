"""Networks in 8 bits in a run: held against torch out of fold, refused where the Dice moves, used when asked for."""

import json
import logging

import numpy as np
import pytest
from tiny_recipes import tiny

from kit.core.errors import KitError
from kit.inference import backends, int8, maps
from kit.workflows import int8 as verb
from kit.workflows.export import export
from kit.workflows.predict import predict
from kit.workflows.train import train
from kit.workflows.workspace import Workspace


@pytest.fixture
def data(tiny_competition, caplog):
    caplog.set_level(logging.INFO, "kit")
    return tiny_competition


@pytest.fixture
def offered(monkeypatch):
    """Dice of a dozen images moves in large steps."""
    monkeypatch.setattr(verb, "LIMIT", 1)


RECIPES = {
    "one network": tiny("exp2", "name=one network.image_head=true image_evidence=true threshold.rule=fixed"),
    "gated": tiny("resnet18", "threshold.rule=fixed"),
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_export_says_what_it_does_to_the_dice(data, recipe, offered, monkeypatch, caplog):
    run, _ = train(Workspace(), data, recipe)
    asked = {}

    def spied(weights, part, images, ensure=int8.ensure):
        asked[weights] = set(images.ids)
        return ensure(weights, part, images)

    monkeypatch.setattr(int8, "ensure", spied)
    files = export(Workspace(), data, recipe, int8=True)
    assert len(files) == 2 * len(recipe.parts())
    assert all(path.name == "weights.int8.onnx" and path.is_file() for path in files)
    assert {int8.path_of(weights) for weights in asked} == set(files)
    for weights, ids in asked.items():
        fold = int(weights.parents[1].name[-1])
        validates = set(maps.read_ids(run.oof(fold)))
        assert ids
        assert not ids & validates
        assert len(ids | validates) == 24

    found = json.loads((run.folder / "int8/dice.json").read_text())
    assert found["images"] == 24
    assert found["moved"] == pytest.approx(found["dice"] - found["torch"])
    if not recipe.is_gated:  # else the Dice of the search is by a stack a fold
        assert found["torch"] == pytest.approx(json.loads(run.thresholds.read_text())["dice"])
    said = [record.getMessage() for record in caplog.records if "in int8, " in record.getMessage()]
    assert len(said) == 1
    for name in ("dice", "torch", "dice_all_empty"):
        assert f"{found[name]:.4f}" in said[0]

    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*") if path.suffix in (".npy", ".onnx")}
    assert export(Workspace(), data, recipe, int8=True) == files
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_predict_uses_them_when_asked_to_alone(data, recipe, offered):
    run, _ = train(Workspace(), data, recipe)
    found = []
    for backend in ("torch", backends.INT8, "torch"):
        path, done = predict(Workspace(), data, recipe, backend=backend)
        assert done
        assert path == run.submission
        found.append(np.array(maps.open_maps(run.test()).array).astype(int))
    assert (found[0] == found[2]).all()
    assert 0 < np.abs(found[0] - found[1]).max() < 26


def test_it_is_refused_where_the_dice_moves(data, monkeypatch):
    monkeypatch.setattr(verb, "LIMIT", -1)
    recipe = RECIPES["one network"]
    run, _ = train(Workspace(), data, recipe)
    predict(Workspace(), data, recipe)
    before = run.test().read_bytes(), run.submission.read_bytes()
    for refused in (
        lambda: predict(Workspace(), data, recipe, backend=backends.INT8),
        lambda: export(Workspace(), data, recipe, int8=True),
    ):
        with pytest.raises(
            KitError, match=r"one: int8 is refused: OOF Dice \S+ in int8, \S+ in torch: moved by [^\n]*$"
        ):
            refused()
    assert (run.test().read_bytes(), run.submission.read_bytes()) == before
