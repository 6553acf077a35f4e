"""The paper's figures from a run made by hand."""

import dataclasses
import re
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest

from kit import recipes
from kit.competition import rle
from kit.core.errors import KitError
from kit.core.files import write_text
from kit.inference import maps
from kit.run import Run
from kit.workflows.workspace import Workspace
from reproduce import figures


def test_the_example_of_rle_can_be_checked_by_hand():
    figure = figures.run_lengths()
    # Column 1 has pixels 4 to 6, column 2 has 9 and 10, column 4 has 18 and 19.
    assert figure.data == {"start": [4, 9, 18], "length": [3, 2, 2]}
    assert "EncodedPixels: 4 3 2 2 7 2" in figure.svg
    assert (rle.decode("4 3 2 2 7 2", figures.EXAMPLE.shape) == figures.EXAMPLE).all()


def test_a_header_does_not_identify_a_person(phantoms, tmp_path):
    dataset = pydicom.dcmread(next(iter(phantoms.train.values())))
    dataset.PatientName, dataset.PatientBirthDate, dataset.PatientSex = "Doe^Jane", "19600101", "F"
    dataset.save_as(tmp_path / "a.dcm")
    figure = figures.header(tmp_path / "a.dcm")
    shown = dict(zip(figure.data["name"], figure.data["value"], strict=True))
    assert (shown["Patient's Name"], shown["Patient's Sex"], shown["Rows"]) == ("left out", "F", str(dataset.Rows))
    assert not re.search("Doe|1960", figure.svg + str(figure.data))
    (tmp_path / "b.dcm").write_bytes(b"no image")
    with pytest.raises(KitError, match=r"b\.dcm"):
        figures.elements(tmp_path / "b.dcm")


@pytest.mark.parametrize("name", recipes.names())
def test_the_method_names_every_stage_of_a_recipe(name):
    recipe = recipes.load(name)
    steps = figures.method(recipe).data["step"]
    stages = [stage for part in recipe.parts() for stage in part.stages]
    told = [step.split(": ")[1].split(", ") for step in steps if step.startswith("stage ")]
    assert [(size, epochs) for size, epochs, *_ in told] == [
        (f"{stage.size}×{stage.size}", f"{stage.epochs} epochs") for stage in stages
    ]
    assert [bool(left) for _, _, *left in told] == [stage.keep.last is None for stage in stages]
    assert any("TTA" in step for step in steps) == recipe.tta


def test_data_without_a_pneumothorax_have_no_figures(phantoms, tmp_path, monkeypatch):
    healthy = dataclasses.replace(phantoms, labels={image: () for image in phantoms.labels})
    workspace = Workspace(tmp_path)
    monkeypatch.setattr(Workspace, "open_data", lambda *_: healthy)
    with pytest.raises(KitError, match="has no image with pneumothorax: there is nothing to draw"):
        figures.draw(workspace, "anywhere", recipes.load("demo"))


def test_results_are_the_masks_by_both_rules(phantoms, tmp_path, monkeypatch):
    recipe = recipes.load("demo", "threshold.binarization=0.9 threshold.removal=0")
    run = Run(tmp_path / phantoms.name / "demo")
    write_text(run.recipe_path, recipe.dump())
    ids = sorted(phantoms.labels)
    levels = np.zeros((len(ids), *phantoms.shape), np.uint8)
    levels[:, :20, :20], levels[:, :5, :5] = 150, 250
    maps.save(run.oof(0), ids, levels)
    run.thresholds.write_text('{"rule": "image", "binarization": 0.5, "removal": 0}')
    seen = list(figures._results(phantoms, run))
    sizes = [rle.union(rows, phantoms.shape).sum() for rows in phantoms.labels.values() if rows]
    assert [truth.sum() for _, truth, _, _ in seen][:: len(seen) - 1] == [max(sizes), min(sizes)]
    assert {(fixed.sum(), chosen.sum()) for *_, fixed, chosen in seen} == {(25, 400)}
    workspace = SimpleNamespace(open_data=lambda data: phantoms, run=lambda *_: run)
    written = figures.draw(workspace, "x", recipe, tmp_path / "out")
    assert [path.name for path in written] == [
        *("figure-3.svg", "figure-4.svg", "figure-5.png", "figure-6.svg", "figure-7.svg", "figure-8.png"),
    ]
    assert all(path.stat().st_size > 1000 for path in written)
    run.thresholds.unlink()  # without a run there is no Figure 8
    assert len(figures.draw(workspace, "x", recipe)) == 5
