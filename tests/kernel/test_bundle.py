"""The content of a kernel's bundle."""

import hashlib
import re
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import segmentation_models_pytorch
import small_run
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import kit
from kit.core import files
from kit.core.errors import KitError
from kit.kernel import bundle, kaggle_image, wheels


def test_a_bundle_is_flat_and_its_manifest_lists_every_file(kernel):
    manifest = files.read_json(kernel.manifest)
    paths = {path.name: path for path in kernel.bundle.iterdir() if path.name != "manifest.json"}
    assert manifest["files"] == {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in paths.items()}
    kinds = sorted(re.sub(r"-0[0-9a-f]{12}-", "-TAG-", name) for name in paths)
    assert kinds == [
        "kit-0.1.0-TAG-py3-none-any.whl",
        "model.safetensors",
        "segmentation_models_pytorch-0.6.0-py3-none-any.whl",
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
    assert len(text.splitlines()) < 200
    assert files.sha256(kernel.manifest) in text


def test_the_same_run_gives_the_same_bundle_and_a_changed_run_another_wheel_name(kernel, here):
    before = kernel.manifest.read_bytes()
    run = small_run.Run(Path("runs/tiny/small"))
    bundle.build(run, user="ada", competition="siim")
    assert kernel.manifest.read_bytes() == before
    names = set(files.read_json(kernel.manifest)["files"])
    files.write_json(run.thresholds, files.read_json(run.thresholds) | {"binarization": 0.6})
    bundle.build(run, user="ada", competition="siim")
    assert len(names - set(files.read_json(kernel.manifest)["files"])) == 1


def test_a_bundle_opens_as_a_model(kernel, images):
    model, run = kit.load(kernel.bundle / bundle.MODEL), kit.load("runs/tiny/small")
    assert repr(model) == repr(run)
    pairs = zip(model.predict(list(images.values())), run.predict(list(images.values())), strict=True)
    assert all(np.array_equal(one.probability, two.probability) and one.rle == two.rle for one, two in pairs)


def test_a_bundle_of_an_earlier_version_is_refused(kernel):
    files.write_json(kernel.manifest, files.read_json(kernel.manifest) | {"half": True})
    with pytest.raises(KitError, match=r"manifest\.json: half: .*: run `make kernel` again"):
        bundle.check_current(small_run.Run(Path("runs/tiny/small")), kernel)


def test_a_run_without_thresholds_is_refused(here):
    run = small_run.Run(Path("runs/tiny/small"))
    run.thresholds.unlink()
    with pytest.raises(KitError, match="has no thresholds yet: run `make train` first"):
        bundle.build(run)


def test_bundled_packages_require_nothing_that_the_image_lacks():
    there = {canonicalize_name(name): version.replace("*", "0") for name, version in kaggle_image.PINNED.items()}
    unpinned = set(map(canonicalize_name, kaggle_image.UNPINNED)) | {"huggingface-hub"}  # timm requires that too.
    unpinned |= set(map(canonicalize_name, kaggle_image.BROUGHT_TO_TRAIN))
    for name in kaggle_image.BROUGHT_TO_TRAIN:
        for required in map(Requirement, metadata.requires(name) or []):
            if required.marker is None or required.marker.evaluate({"extra": ""}):
                known = canonicalize_name(required.name)
                assert known in unpinned or there[known] in required.specifier


def test_bundled_packages_include_their_licences(kernel):
    with zipfile.ZipFile(next(kernel.bundle.glob("segmentation*.whl"))) as wheel:
        (licence,) = [name for name in wheel.namelist() if "/licenses/" in name]
        assert b"MIT" in wheel.read(licence)


def test_bundled_packages_are_imported_from_their_wheels(kernel):
    """They need no installation, and their versions are known."""
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from importlib.util import find_spec\n"
        "from kit import recipes; recipes.load('small')\n"
        "from kit.core.version import installed\n"
        "print(find_spec('kit.kernel.offline').origin, find_spec('segmentation_models_pytorch').origin)\n"
        "print(installed('kit'), installed('segmentation-models-pytorch'))"
    )
    paths = sorted(map(str, kernel.bundle.resolve().glob("*.whl")))
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, cwd=kernel.bundle)
    assert done.returncode == 0, done.stderr
    kit, smp, *versions = done.stdout.split()
    assert (kit.startswith(paths[0]), smp.startswith(paths[1])) == (True, True)
    assert versions == ["0.1.0", metadata.version("segmentation-models-pytorch")]


def test_a_wheel_has_every_module_of_its_package(tmp_path):
    with zipfile.ZipFile(wheels.write_installed(tmp_path, "segmentation-models-pytorch")) as wheel:
        for file in Path(segmentation_models_pytorch.__file__).parent.rglob("*.py"):
            name = file.relative_to(Path(segmentation_models_pytorch.__file__).parents[1]).as_posix()
            assert wheel.read(name) == file.read_bytes()


def test_compiled_packages_are_refused(tmp_path):
    with pytest.raises(KitError, match="numpy: is not a pure-Python package"):
        wheels.write_installed(tmp_path, "numpy")
