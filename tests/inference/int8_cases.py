"""Networks in 8 bits: near torch's answers, made anew when they have to be, and never in place of torch's."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import small_run
import torch

from kit import networks, recipes
from kit.core.distributed import ALONE
from kit.core.errors import KitError
from kit.core.store import read_keys
from kit.inference import backends, int8, predict, predictions
from kit.inference.predictions import Images

ROOT = Path(__file__).parents[2]
NETWORK = small_run.RECIPE["network"] | {"encoder": "tu-test_resnet"}
GREY = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8).repeat(8, axis=1).repeat(8, axis=2)


def images(count=12, unreadable=()):
    def read(index, _size):
        if index in unreadable:
            raise KitError("broken")
        return GREY[index]

    return Images(tuple("abcdefghijkl"[:count]), tuple(bytes([i]) * 32 for i in range(count)), read)


def made(folder, changes=None):
    """A recipe and the file of its random weights."""
    settings = recipes.parse(small_run.RECIPE | {"network": NETWORK} | (changes or {}), "small")
    torch.manual_seed(0)
    path = folder / "weights.safetensors"
    networks.save_weights(path, networks.build(settings.network, pretrained=False))
    return settings, path


@pytest.mark.parametrize("head", [False, True], ids=["masks", "masks and image"])
def test_it_answers_nearly_as_torch(tmp_path, head):
    """Within five levels, and a hundredth of the variance: steps of 1/255 at each of a dozen convolutions add up."""
    settings, path = made(tmp_path, {"network": NETWORK | {"image_head": head}, "image_evidence": head})
    eight = predict.load(settings, [int8.ensure(path, settings, images())], backends.INT8)
    ours = predict.load(settings, [path])
    for one, two in zip(*(predict.probabilities(net, GREY, settings) for net in (ours, eight)), strict=True):
        assert (one != two).any()
        np.testing.assert_allclose(one, two, atol=5 / 255)
        assert (one - two).var() < one.var() / 100


def test_a_file_is_kept_while_it_is_of_the_weights_and_images(tmp_path):
    settings, path = made(tmp_path)
    target = int8.ensure(path, settings, images())
    assert target == tmp_path / "weights.int8.onnx"
    before = target.read_bytes()
    assert len(before) < path.stat().st_size / 2
    asked = target.stat().st_mtime_ns
    assert int8.ensure(path, settings, images()).stat().st_mtime_ns == asked
    int8.ensure(path, settings, images(11))
    other = target.read_bytes()
    assert other != before
    networks.save_weights(path, networks.build(settings.network, pretrained=False))
    int8.ensure(path, settings, images(11))
    assert target.read_bytes() != other


def test_what_cannot_be_read_is_left_out(tmp_path):
    settings, path = made(tmp_path)
    int8.ensure(path, settings, images(unreadable=range(1, 12)))
    with pytest.raises(KitError, match="none of the images that a network was trained on can be read"):
        int8.ensure(path, settings, images(3, unreadable=range(3)))


def test_its_maps_do_not_pass_for_torchs(tmp_path):
    settings, path = made(tmp_path)
    eight = int8.ensure(path, settings, images())
    targets, found = (tmp_path / "plain.npy", tmp_path / "tta.npy"), []
    for backend in ("torch", backends.INT8, backends.INT8, "torch"):
        networks_of = [path if backend == "torch" else eight]
        done = predictions.predict_images(settings, networks_of, targets, images(3), ALONE, "test", backend)
        found.append((done, read_keys(targets[1])))
    assert [done for done, _ in found] == [True, True, False, True]
    assert found[0][1] == found[3][1]
    assert not set(found[0][1]) & set(found[1][1])


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
    settings, path = made(tmp_path)

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(backends.importlib, "import_module", missing)
    with pytest.raises(KitError, match=r"^onnx: is not installed: pip install onnx onnxruntime openvino nncf into"):
        backends.check(backends.INT8)
    with pytest.raises(KitError, match=r"^nncf: is not installed: pip install onnx onnxruntime openvino nncf into"):
        int8.ensure(path, settings, images())
    assert list(tmp_path.iterdir()) == [path]


TELLING = """
import sys, tempfile
from pathlib import Path
sys.path += ["tests/support", "tests/inference"]
import int8_cases
from kit.inference import backends, int8, predict
with tempfile.TemporaryDirectory() as folder:
    settings, path = int8_cases.made(Path(folder))
    eight = int8.ensure(path, settings, int8_cases.images())
    for backend in backends.BACKENDS[1:]:
        network = predict.load(settings, [eight if backend == backends.INT8 else path], backend)
        predict.probabilities(network, int8_cases.GREY, settings)
"""


def test_no_backend_tells_a_server_of_its_use(tmp_path):
    """Those that do leave an id of the machine and a queue of events in the home folder."""
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CI")
    clean = {name: value for name, value in os.environ.items() if name not in unset}
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", TELLING], cwd=ROOT, env=clean | {"HOME": str(home)}, check=True)
    assert [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()] == []
