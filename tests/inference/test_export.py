"""ONNX export: the same maps as torch within one level, for any batch size; differing files are refused."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import small_run
import torch

from kit import networks, recipes
from kit.core.errors import KitError
from kit.inference import export, model

ROOT = Path(__file__).parents[2]
HEAD = {"network": small_run.RECIPE["network"] | {"image_head": True}}


def made(folder, changes=None):
    """A recipe and the file of its random weights."""
    settings = recipes.parse(small_run.RECIPE | (changes or {}), "small")
    torch.manual_seed(0)
    path = folder / "weights.safetensors"
    networks.save_weights(path, networks.build(settings.network, pretrained=False))
    return settings, path


@pytest.mark.parametrize("changes", [{}, HEAD], ids=["masks", "masks and image"])
def test_a_file_gives_the_maps_of_torch_for_any_batch_size(tmp_path, changes):
    settings, path = made(tmp_path, changes)
    [ours] = model.load_networks(settings, [path])
    session = export.package("onnxruntime").InferenceSession(str(export.ensure(path, settings.network, 64)))
    for count in (1, 4):
        images = np.random.default_rng(count).integers(0, 256, (count, 1, 64, 64), np.uint8)
        with torch.inference_mode():
            wanted = [answer for answer in ours(torch.from_numpy(images)) if answer is not None]
        found = session.run(None, {"images": images})
        assert [answer.shape for answer in found] == [(count, 1, 64, 64), (count,)][: 1 + bool(changes)]
        for one, other in zip(wanted, found, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-3)


def test_a_file_is_exported_again_only_for_other_weights(tmp_path):
    import onnx

    settings, path = made(tmp_path)
    target = export.ensure(path, settings.network, 64)
    assert target == tmp_path / "weights.onnx"
    found = onnx.load(target)
    assert [entry.version for entry in found.opset_import if entry.domain == ""] == [17]
    assert not found.graph.input[0].type.tensor_type.shape.dim[0].dim_value  # any number of images
    before = target.stat().st_mtime_ns
    assert export.ensure(path, settings.network, 64).stat().st_mtime_ns == before
    networks.save_weights(path, networks.build(settings.network, pretrained=False))
    export.ensure(path, settings.network, 64)
    assert target.stat().st_mtime_ns > before
    target.write_bytes(b"not a network")
    export.ensure(path, settings.network, 64)
    assert onnx.load(target).graph.output[0].name == "masks"


def test_a_file_with_other_maps_is_refused(tmp_path, monkeypatch):
    settings, path = made(tmp_path)
    other = SimpleNamespace(run=lambda names, given: [np.full(given["images"].shape, 9, np.float32)])
    packages = SimpleNamespace(InferenceSession=lambda content, providers: other)
    monkeypatch.setattr(export, "package", lambda name: packages)
    with pytest.raises(KitError, match=r"weights\.onnx: would differ from torch by \d+ levels of 255"):
        export.ensure(path, settings.network, 64)
    assert not path.with_suffix(".onnx").exists()


def test_a_missing_package_is_one_line(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(export.importlib, "import_module", missing)
    with pytest.raises(KitError, match=r"onnx: is not installed: pip install onnx onnxruntime into"):
        export.package("onnx")


TELLING = """
import sys, tempfile
from pathlib import Path
sys.path += ["tests/support", "tests/inference"]
import test_export
from kit.inference import export
with tempfile.TemporaryDirectory() as folder:
    settings, path = test_export.made(Path(folder))
    export.ensure(path, settings.network, 64)
"""


def test_no_telemetry_is_sent(tmp_path):
    """With telemetry, onnxruntime leaves a machine id and a queue of events in the home folder."""
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CI")
    clean = {name: value for name, value in os.environ.items() if name not in unset}
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", TELLING], cwd=ROOT, env=clean | {"HOME": str(home)}, check=True)
    assert [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()] == []
