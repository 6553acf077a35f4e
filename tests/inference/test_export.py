"""Networks as ONNX: the answers of torch to one level, for any number of images, and never silently in its place."""

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
from kit.inference import backends, model, predictions
from kit.inference.maps import open_maps
from kit.run import Trained

ROOT = Path(__file__).parents[2]
HEAD = {"network": small_run.RECIPE["network"] | {"image_head": True}}


def made(folder, changes=None):
    """A recipe and the file of its random weights."""
    settings = recipes.parse(small_run.RECIPE | (changes or {}), "small")
    torch.manual_seed(0)
    path = folder / "weights.safetensors"
    networks.save_weights(path, networks.build(settings.network, pretrained=False))
    return settings, path


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Recipe and weights by what the network answers; they are exported once."""
    wanted = {"masks": {}, "masks and image": HEAD}
    return {kind: made(tmp_path_factory.mktemp("export"), changes) for kind, changes in wanted.items()}


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", ["masks", "masks and image"])
def test_every_backend_answers_as_torch_to_one_level(trained, backend, kind):
    settings, path = trained[kind]
    (ours,), (other,) = (model.load_networks(settings, [path], name) for name in ("torch", backend))
    for count in (1, 4):
        images = np.random.default_rng(count).integers(0, 256, (count, 64, 64), np.uint8)
        batch = torch.from_numpy(images)[:, None]
        with torch.inference_mode():
            one, two = ours(batch), other(batch)
        assert two[0].shape == (count, 1, 64, 64)
        assert torch.allclose(one[0], two[0], atol=1e-3)
        if settings.network.image_head:
            assert torch.allclose(one[1], two[1], atol=1e-3)
        else:
            assert one[1] is two[1] is None
        for a, b in zip(*(model.probabilities([net], images, settings) for net in (ours, other)), strict=True):
            np.testing.assert_allclose(a, b, atol=1 / 255)


def test_a_file_is_kept_while_it_is_of_the_weights(tmp_path):
    import onnx

    from kit.inference import export

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


def test_one_that_answers_otherwise_is_refused(tmp_path, monkeypatch):
    from kit.inference import export

    settings, path = made(tmp_path)
    monkeypatch.setattr(
        backends, "onnxruntime_of", lambda content: lambda images: (torch.full(images.shape, 9.0), None)
    )
    with pytest.raises(KitError, match=r"weights\.onnx: differs from torch by \d+ levels of 255"):
        export.ensure(path, settings.network, 64)
    assert not path.with_suffix(".onnx").exists()


def test_maps_of_another_backend_do_not_pass_for_torchs(trained, tmp_path):
    settings, path = trained["masks"]
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    given = predictions.Images(("a", "b", "c"), (b"1" * 32, b"2" * 32, b"3" * 32), lambda index: images[index])
    of, keys, maps = Trained(settings, {settings.label: [path]}, tmp_path / "none.json"), [], []
    for backend in ("torch", "onnxruntime", "onnxruntime", "torch"):
        files = predictions.files_of(of, lambda tta, role: tmp_path / f"{role}{tta}.npy", given, backend)
        done = predictions.predict(of, files, given, ALONE, "test", backend)
        keys.append((done, read_keys(files[1].path)))
        maps.append(np.array(open_maps(files[1].path).array).astype(int))
    assert [done for done, _ in keys] == [True, True, False, True]
    assert keys[0][1] == keys[3][1]
    assert not set(keys[0][1]) & set(keys[1][1])
    assert np.abs(maps[0] - maps[1]).max() <= 1


def test_what_cannot_be_had_is_one_line(monkeypatch):
    with pytest.raises(KitError, match="--backend tensorrt: is not known: give one of torch, onnxruntime, openvino"):
        backends.check("tensorrt")

    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(backends.importlib, "import_module", missing)
    backends.check("torch")
    with pytest.raises(KitError, match=r"onnx: is not installed: pip install onnx onnxruntime openvino into"):
        backends.check("openvino")


TELLING = """
import sys
from pathlib import Path
sys.path.append("tests/support")
import numpy as np
import small_run
from kit import recipes
from kit.inference import backends, model
settings = recipes.parse(small_run.RECIPE, "small")
for backend in backends.BACKENDS[1:]:
    network = model.load_networks(settings, [Path(sys.argv[1])], backend)
    model.probabilities(network, np.zeros((1, 64, 64), np.uint8), settings)
"""


def test_no_backend_tells_a_server_of_its_use(trained, tmp_path):
    """Those that do leave an id of the machine and a queue of events in the home folder."""
    unset = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME", "CI")
    clean = {name: value for name, value in os.environ.items() if name not in unset}
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-c", TELLING, trained["masks"][1]]
    subprocess.run(command, cwd=ROOT, env=clean | {"HOME": str(home)}, check=True)
    assert [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()] == []
