import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import small_run
from safetensors.torch import load_file

from kit.competition import dicom, layout, submission
from kit.core import files
from kit.core.errors import KitError
from kit.data.resize import resize_image
from kit.inference import system
from kit.kernel import bundle, kaggle_image, offline, rehearsal, wheels
from kit.kernel.rehearsal import LAYOUTS, Layout
from kit.kernel.sandbox import Sandbox, can_isolate
from kit.workflows import kernel as kernels

SHAPE = (64, 64)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with data, a run, and its kernel."""
    here = tmp_path_factory.mktemp("kernel")
    run = small_run.write(here)
    before = Path.cwd()
    os.chdir(here)
    try:
        bundle.build(run, SHAPE, half=True, user="ada", competition="siim")
    finally:
        os.chdir(before)
    return here


@pytest.fixture
def here(built, tmp_path, monkeypatch):
    """A copy of that folder to work and to do damage in."""
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def kernel(here):
    return bundle.kernel_of(small_run.Run(Path("runs/tiny/small")))


@pytest.fixture
def images(here):
    return layout.open_folder(Path("data/tiny")).test


def seal(kernel):
    """Makes manifest and script fit a bundle that was changed."""
    content = files.read_json(kernel.manifest)
    paths = [path for path in kernel.bundle.iterdir() if path.name != "manifest.json"]
    old = files.sha256(kernel.manifest)
    files.write_json(kernel.manifest, content | {"files": {path.name: files.sha256(path) for path in paths}})
    kernel.script.write_text(kernel.script.read_text().replace(old, files.sha256(kernel.manifest)))


def play(kernel, images, folder, form=LAYOUTS[0], isolated=None):
    """Runs the kernel in one layout and compares it with nothing but its own ids."""
    sandbox = Sandbox(folder, can_isolate() if isolated is None else isolated)
    expected = folder / "expected.csv"
    submission.write(expected, [(image_id, "-1") for image_id in images])
    rehearsal.lay_out(sandbox.kaggle / "input", kernel, "siim", list(images), images, form)
    return rehearsal.play(sandbox, kernel, form, expected)


def test_a_bundle_is_flat_and_its_manifest_tells_every_file(kernel):
    manifest = files.read_json(kernel.manifest)
    paths = {path.name: path for path in kernel.bundle.iterdir() if path.name != "manifest.json"}
    assert manifest["files"] == {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in paths.items()}
    kinds = sorted(re.sub(r"-0[0-9a-f]{12}-", "-TAG-", name) for name in paths)
    assert kinds == [
        "fold0.safetensors",
        "fold1.safetensors",
        "kit-0.1.0-TAG-py3-none-any.whl",
        "recipe.yaml",
        "segmentation_models_pytorch-0.6.0-py3-none-any.whl",
        "thresholds.json",
    ]


def test_the_kernel_is_private_offline_and_one_short_file(kernel):
    about = files.read_json(kernel.metadata)
    assert (about["enable_internet"], about["is_private"], about["enable_gpu"]) == (False, True, False)
    assert about["id"] == "ada/kit-tiny-small"
    assert about["dataset_sources"] == ["ada/kit-tiny-small-files"]
    assert about["competition_sources"] == ["siim"]
    assert {path.name for path in kernel.folder.iterdir()} == {about["code_file"], "kernel-metadata.json"}
    text = kernel.script.read_text()
    compile(text, about["code_file"], "exec")
    assert len(text.splitlines()) < 120
    assert files.sha256(kernel.manifest) in text


def test_the_same_run_gives_the_same_bundle_and_another_one_other_names(kernel, here):
    before = kernel.manifest.read_bytes()
    run = small_run.Run(Path("runs/tiny/small"))
    bundle.build(run, SHAPE, half=True, user="ada", competition="siim")
    assert kernel.manifest.read_bytes() == before
    names = set(files.read_json(kernel.manifest)["files"])
    files.write_json(run.thresholds, files.read_json(run.thresholds) | {"binarization": 0.6})
    bundle.build(run, SHAPE, half=True, user="ada", competition="siim")
    assert len(names - set(files.read_json(kernel.manifest)["files"])) == 1


def test_halved_weights_are_the_nearest_and_overflow_stays_whole(here, tmp_path):
    import torch
    from safetensors.torch import save_file

    state = {"a": torch.randn(50), "b": torch.tensor([1e6]), "n": torch.tensor(7)}
    save_file(state, tmp_path / "w.safetensors")
    bundle.write_weights(tmp_path / "w.safetensors", tmp_path / "h.safetensors", half=True)
    halved = load_file(tmp_path / "h.safetensors")
    assert halved["a"].dtype == torch.float16
    assert torch.equal(halved["a"], state["a"].half())
    assert torch.equal(halved["b"], state["b"])
    assert torch.equal(halved["n"], state["n"])


def test_a_run_without_thresholds_is_refused(here):
    run = small_run.Run(Path("runs/tiny/small"))
    run.thresholds.unlink()
    with pytest.raises(KitError, match="choose the thresholds first"):
        bundle.build(run, SHAPE, half=True)


def test_what_is_brought_is_what_the_image_lacks(monkeypatch):
    assert kaggle_image.brought() == ["segmentation-models-pytorch"]
    assert not {"segmentation-models-pytorch", "kaggle", "typer", "lightning-fabric"} & kaggle_image.provided().keys()
    monkeypatch.setitem(kaggle_image.IMAGE, "timm", "0.8.0")
    with pytest.raises(KitError, match=r"needs timm>=0\.9, but Kaggle's image has 0\.8\.0"):
        kaggle_image.brought()


def test_what_the_image_lacks_is_brought_with_what_it_needs_in_turn(monkeypatch):
    monkeypatch.delitem(kaggle_image.IMAGE, "timm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kaggle_image, "provided", lambda: {"torch": None, "torchvision": None})
        assert {"timm", "huggingface-hub", "numpy"} <= set(kaggle_image.brought())


def test_a_wheel_of_an_installed_package_installs_and_is_complete(tmp_path):
    path = wheels.write_installed(tmp_path, "segmentation-models-pytorch")
    target = tmp_path / "target"
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        "--target",
        str(target),
        str(path),
    ]
    subprocess.run(command, check=True)
    import segmentation_models_pytorch

    source = Path(segmentation_models_pytorch.__file__).parent
    for file in source.rglob("*.py"):
        assert (target / source.name / file.relative_to(source)).read_bytes() == file.read_bytes()


def test_compiled_packages_are_refused(tmp_path):
    with pytest.raises(KitError, match="numpy: is not a package of Python alone"):
        wheels.write_installed(tmp_path, "numpy")


def test_the_rehearsal_passes_in_every_layout(here, kernel):
    told = []
    kernels.check(small_run.Run(Path("runs/tiny/small")), Path("data/tiny"), None, told.append)
    assert len(told) == 1 + len(LAYOUTS)
    assert all("as predicted here" in line for line in told[1:])
    rows = submission.read(kernel.rehearsed)
    assert len(rows) == 5
    assert any(text != "-1" for text in rows.values())


def test_a_missing_wheel_fails(kernel, images, tmp_path):
    next(kernel.bundle.glob("segmentation*.whl")).unlink()
    with pytest.raises(KitError, match=r"segmentation_models_pytorch.*: is missing"):
        play(kernel, images, tmp_path)


def test_a_wheel_that_was_never_bundled_fails(kernel, images, tmp_path):
    next(kernel.bundle.glob("segmentation*.whl")).unlink()
    seal(kernel)
    with pytest.raises(KitError, match="No module named 'segmentation_models_pytorch'"):
        play(kernel, images, tmp_path)


@pytest.mark.parametrize("name", ["fold1.safetensors", "thresholds.json", "recipe.yaml"])
def test_a_changed_file_fails(kernel, images, tmp_path, name):
    content = bytearray((kernel.bundle / name).read_bytes())
    content[-1] ^= 1
    (kernel.bundle / name).write_bytes(content)
    with pytest.raises(KitError, match=f"{name}: is not the file of the build"):
        play(kernel, images, tmp_path)


@pytest.mark.parametrize(
    ("code", "isolated"),
    [
        ("import urllib.request; urllib.request.urlopen('https://example.org')", True),
        ("try:\n    import socket; socket.create_connection(('192.0.2.1', 80))\nexcept OSError: pass", False),
    ],
)
def test_an_import_that_reaches_for_the_network_fails_even_if_it_is_hidden(kernel, images, tmp_path, code, isolated):
    if isolated and not can_isolate():
        pytest.skip("this system gives no namespaces")
    old = next(kernel.bundle.glob("kit*.whl"))
    with zipfile.ZipFile(old) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["kit/publish/__init__.py"] += f"\n{code}\nraise SystemExit(0)\n".encode()
    with zipfile.ZipFile(old, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    seal(kernel)
    with pytest.raises(KitError, match="reaches for the network"):
        play(kernel, images, tmp_path, isolated=isolated)


@pytest.mark.parametrize("form", LAYOUTS[:2])
def test_a_path_of_one_layout_fails_in_the_others(kernel, images, tmp_path, form):
    text = kernel.script.read_text()
    fixed = "bundle = Path('/kaggle/input/kit-tiny-small-files')"
    kernel.script.write_text(text.replace("bundle = find_bundle()", fixed).replace("    verify(bundle)\n", ""))
    kernel.script.write_text(kernel.script.read_text().replace("    install(bundle)", "    next(bundle.glob('*.whl'))"))
    with pytest.raises(KitError, match="StopIteration" if form != LAYOUTS[0] else "No module named 'kit'"):
        play(kernel, images, tmp_path, form)


@pytest.mark.parametrize("isolated", [True, False])
def test_a_path_of_this_machine_fails(kernel, images, here, tmp_path_factory, isolated):
    if isolated and not can_isolate():
        pytest.skip("this system gives no namespaces")
    (here / "weights.bin").write_text("here alone")
    kernel.script.write_text(f"print(open('{here}/weights.bin').read())\n" + kernel.script.read_text())
    with pytest.raises(KitError, match="FileNotFoundError"):
        play(kernel, images, tmp_path_factory.mktemp("sandbox"), isolated=isolated)


def test_a_kernel_that_predicts_something_else_is_told(kernel, images, tmp_path, monkeypatch):
    def run(sandbox, script):
        (sandbox.kaggle / "working").mkdir()
        rows = [(image_id, "-1" if number else "0 1") for number, image_id in enumerate(images)]
        submission.write(sandbox.kaggle / "working" / "submission.csv", rows)
        return subprocess.CompletedProcess([], 0, "done")

    monkeypatch.setattr(Sandbox, "run", run)
    with pytest.raises(KitError, match=r"predicts other masks than `kit predict` for 1 of 5 images"):
        play(kernel, images, tmp_path, Layout(True, True))


@pytest.mark.parametrize(("key", "value"), [("enable_internet", True), ("is_private", False)])
def test_a_kernel_that_is_public_or_online_is_refused(kernel, key, value):
    kernel.metadata.write_text(json.dumps(files.read_json(kernel.metadata) | {key: value}))
    with pytest.raises(KitError, match=f"{key} is {value}"):
        rehearsal.check_metadata(kernel)


def test_without_a_kernel_one_is_asked_for(here):
    shutil.rmtree("kernels")
    with pytest.raises(KitError, match="run `make kernel` first"):
        kernels.check(small_run.Run(Path("runs/tiny/small")), Path("data/tiny"), None, print)


# In the kernel


@pytest.fixture
def mount(here, kernel, images):
    place = here / "mount"
    ids = list(images)
    rehearsal.lay_out(place, kernel, "siim", ids, images, Layout(False, False))
    return place / "siim"


def run_offline(kernel, mount, limit=1000.0):
    output = Path("out/submission.csv")
    offline.run(kernel.bundle, mount, output, time.monotonic() + limit)
    return submission.read(output)


def test_a_file_that_cannot_be_read_is_empty_and_listed(kernel, mount, caplog):
    whole = run_offline(kernel, mount)
    victim, absent = list(whole)[1:3]
    (mount / "stage_2_images" / f"{victim}.dcm").unlink()
    (mount / "stage_2_images" / f"{victim}.dcm").write_bytes(b"not DICOM")
    (mount / "stage_2_images" / f"{absent}.dcm").unlink()
    rows = run_offline(kernel, mount)
    assert rows[victim] == rows[absent] == "-1"
    assert list(rows) == list(whole)
    others = set(whole) - {victim, absent}
    assert all(rows[image_id] == whole[image_id] for image_id in others)
    assert any(victim in record.getMessage() for record in caplog.records)
    assert any("no such file" in record.getMessage() and absent in record.getMessage() for record in caplog.records)


def test_when_time_is_up_the_rest_is_empty_and_said_so(kernel, mount, caplog):
    rows = run_offline(kernel, mount, limit=-1.0)
    assert len(rows) == 5
    assert sum(text != "-1" for text in rows.values()) <= 1
    assert any("time was up: 4 of 5 images" in record.getMessage() for record in caplog.records)


def test_too_little_memory_makes_smaller_batches(kernel, mount, monkeypatch):
    import torch

    from kit.inference import predict

    whole, real, sizes = run_offline(kernel, mount), predict.batches, []

    def greedy(count, read, batch_size, what):
        sizes.append(batch_size)
        if batch_size > 1:
            raise torch.cuda.OutOfMemoryError
        return real(count, read, batch_size, what)

    monkeypatch.setattr(predict, "batches", greedy)
    assert run_offline(kernel, mount).keys() == whole.keys()
    assert sizes == [2, 1]


def test_an_ensembles_kernel_predicts_what_the_kit_does(here, images):
    run = small_run.write(here, small_run.ENSEMBLE)
    settings = run.read_recipe()
    whole = system.load(settings, run.networks(settings), run.stack())
    pixels = [dicom.read(path).pixels for path in images.values()]
    inputs = whole.inputs([{size: resize_image(image, size) for size in whole.sizes} for image in pixels])
    gate = float(np.median([presence for _, presence in inputs]))
    files.write_json(run.thresholds, files.read_json(run.thresholds) | {"gate": gate + 1e-3})
    kernel = bundle.build(run, SHAPE, half=True, competition="siim")
    names = {path.name for path in kernel.bundle.glob("*.safetensors")}
    assert names == {f"{name}.fold{fold}.safetensors" for name in ("a", "b", "first", "second") for fold in (0, 1)}
    rehearsal.lay_out(here / "mount", kernel, "siim", list(images), images, LAYOUTS[0])
    rows = run_offline(kernel, here / "mount" / "siim")
    assert sum(text == "-1" for text in rows.values()) == 3
    assert rows == submission.read(kernels.predicted(kernel, here / "reference", Path("data/tiny"), None))


def test_a_mount_without_the_competition_is_told(tmp_path):
    with pytest.raises(KitError, match=r"has no file \*sample_submission\.csv: attach the competition"):
        offline.find_test(tmp_path)
