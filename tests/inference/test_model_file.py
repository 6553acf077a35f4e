"""Model files: same predictions as the run; invalid files are refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import small_run
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import kit
from kit.core import files
from kit.core.errors import KitError
from kit.inference import model_file

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A gated ensemble of two sizes: its model, and its model file."""
    folder = tmp_path_factory.mktemp("model")
    run = folder / small_run.write(folder, small_run.ENSEMBLE).folder
    files.write_json(run / "thresholds.json", files.read_json(run / "thresholds.json") | {"share": 0.25})
    model = kit.load(run)
    model.save(folder / "model.safetensors")
    return model, folder / "model.safetensors"


def test_a_file_predicts_what_its_run_predicts(saved):
    model, path = saved
    again = kit.load(path)
    assert again.recipe == model.recipe
    assert again.rule == model.rule
    assert again.share == model.share == 0.25
    assert repr(again) == repr(model)
    for one, two in zip(model.predict(IMAGES), again.predict(IMAGES), strict=True):
        assert np.array_equal(one.probability, two.probability)
        assert np.array_equal(one.mask, two.mask)
    inputs = [model.resized(image) for image in IMAGES]
    for one, two in zip(model.answers(inputs), again.answers(inputs), strict=True):  # the stack without TTA, too
        assert one[0].image_probability == two[0].image_probability


def test_a_file_without_a_share_opens(saved, tmp_path):
    """Files of earlier versions have none."""
    with safe_open(saved[1], "pt") as opened:
        header = json.loads(opened.metadata()[model_file.KEY])
    del header["share"]
    save_file(load_file(saved[1]), tmp_path / "old.safetensors", {model_file.KEY: json.dumps(header)})
    old = kit.load(tmp_path / "old.safetensors")
    assert (old.share, old.rule, old.stacks) == (None, saved[0].rule, saved[0].stacks)


def test_the_header_is_readable_without_the_kit(saved):
    with safe_open(saved[1], "pt") as opened:
        header = json.loads(opened.metadata()[model_file.KEY])
        names = set(opened.keys())
    assert header["rule"] == {"rule": "image", "binarization": 0.5, "removal": 0, "gate": 0.5}
    assert "name: gated" in header["recipe"]
    assert {name.split("/")[0] for name in names} == {"a", "b", "first", "second"}
    assert {name.split("/")[1] for name in names} == {"0", "1"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path, tensors, header: path.unlink(), "there is no such file"),
        (lambda path, tensors, header: path.write_bytes(path.read_bytes()[:1000]), "is not a model file"),
        (lambda path, tensors, header: save_file(tensors, path), "holds weights alone, not a model"),
        (lambda path, tensors, header: save_file({}, path, header), "is damaged"),
        (
            lambda path, tensors, header: save_file(
                {name: tensor + 1 if tensor.is_floating_point() else tensor for name, tensor in tensors.items()},
                path,
                header,
            ),
            "is damaged",
        ),
        (
            lambda path, tensors, header: save_file(
                tensors, path, {model_file.KEY: header[model_file.KEY].replace('"gate":0.5', '"gate":7')}
            ),
            "gate: must be at most 1",
        ),
    ],
)
def test_an_invalid_file_is_refused_in_one_line(saved, tmp_path, change, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(saved[1].read_bytes())
    with safe_open(path, "pt") as opened:
        header = opened.metadata()
    change(path, load_file(path), header)
    with pytest.raises(KitError, match=message) as raised:
        kit.load(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_only_a_whole_model_is_saved(saved, tmp_path):
    model, _ = saved
    with pytest.raises(KitError, match=r"end the name of a model file with \.safetensors"):
        model.save(tmp_path / "model.pth")
    with pytest.raises(KitError, match="the model has no rule yet"):
        replace(model, rule=None).save(tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())
