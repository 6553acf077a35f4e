import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path

import nbformat
import numpy as np
import pytest
import small_run
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from safetensors.torch import load_file

from kit.competition import dicom, layout, submission
from kit.core import files
from kit.core.errors import KitError
from kit.data.resize import resize_image
from kit.inference import predict, system
from kit.kernel import bundle, code, environment, kaggle_image, offline, rehearsal, wheels
from kit.kernel.rehearsal import LAYOUTS, Layout
from kit.kernel.sandbox import Sandbox, can_isolate
from kit.workflows import kernel as kernels
from kit.workflows.predict import predict_files
from kit.workflows.workspace import Workspace

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


@pytest.fixture
def isolated():
    if not can_isolate():
        pytest.skip("this system gives no namespaces")


def play(kernel, images, folder, form=LAYOUTS[0]):
    """Runs the kernel in one layout, on this machine's packages; gives its rows and what it printed."""
    sandbox = Sandbox(folder, environment.local(folder / "image"))
    rehearsal.lay_out(sandbox.kaggle / "input", kernel, "siim", list(images), images, form)
    return rehearsal.play(sandbox, kernel, form)


def test_a_bundle_is_flat_and_its_manifest_tells_every_file(kernel):
    manifest = files.read_json(kernel.manifest)
    paths = {path.name: path for path in kernel.bundle.iterdir() if path.name != "manifest.json"}
    assert manifest["files"] == {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in paths.items()}
    kinds = sorted(re.sub(r"-0[0-9a-f]{12}-", "-TAG-", name) for name in paths)
    assert kinds == [
        "kit-0.1.0-TAG-py3-none-any.whl",
        "recipe.yaml",
        "segmentation_models_pytorch-0.6.0-py3-none-any.whl",
        "small.fold0.safetensors",
        "small.fold1.safetensors",
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
    assert len(text.splitlines()) < 150
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


def test_what_is_brought_requires_nothing_that_the_image_lacks():
    there = {canonicalize_name(name): version.replace("*", "0") for name, version in kaggle_image.PINNED.items()}
    unpinned = set(map(canonicalize_name, kaggle_image.UNPINNED)) | {"huggingface-hub"}  # timm requires that too.
    for name in kaggle_image.BROUGHT:
        for required in map(Requirement, metadata.requires(name)):
            if required.marker is None or required.marker.evaluate({"extra": ""}):
                known = canonicalize_name(required.name)
                assert known in unpinned or there[known] in required.specifier


def test_licences_go_with_what_is_brought(kernel):
    with zipfile.ZipFile(next(kernel.bundle.glob("segmentation*.whl"))) as wheel:
        (licence,) = [name for name in wheel.namelist() if "/licenses/" in name]
        assert b"MIT" in wheel.read(licence)


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


def test_the_rehearsal_passes_in_every_layout(isolated, here, kernel, monkeypatch):
    told = []
    monkeypatch.setattr(environment, "image", lambda say: environment.local(here / "image"))
    kernels.check(Workspace(), small_run.Run(Path("runs/tiny/small")), Path("data/tiny"), None, told.append)
    assert len(told) == len(LAYOUTS)
    assert all("as predicted here" in line for line in told)
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


@pytest.mark.parametrize("name", ["small.fold1.safetensors", "thresholds.json", "recipe.yaml"])
def test_a_changed_file_fails(kernel, images, tmp_path, name):
    content = bytearray((kernel.bundle / name).read_bytes())
    content[-1] ^= 1
    (kernel.bundle / name).write_bytes(content)
    with pytest.raises(KitError, match=f"{name}: is not the file of the build"):
        play(kernel, images, tmp_path)


@pytest.mark.parametrize(
    "reach",
    [
        "import urllib.request; urllib.request.urlopen('https://example.org')",
        "try:\n    import socket; socket.create_connection(('192.0.2.1', 80))\nexcept OSError: pass",
    ],
)
def test_an_import_that_reaches_for_the_network_fails_even_if_it_is_hidden(isolated, kernel, images, tmp_path, reach):
    old = next(kernel.bundle.glob("kit*.whl"))
    with zipfile.ZipFile(old) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["kit/kernel/__init__.py"] += f"\n{reach}\nraise SystemExit(0)\n".encode()
    with zipfile.ZipFile(old, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    seal(kernel)
    with pytest.raises(KitError, match="reaches for the network"):
        play(kernel, images, tmp_path)


@pytest.mark.parametrize("form", LAYOUTS[:2])
def test_a_path_of_one_layout_fails_in_the_others(kernel, images, tmp_path, form):
    text = kernel.script.read_text()
    fixed = "bundle = Path('/kaggle/input/kit-tiny-small-files')"
    kernel.script.write_text(text.replace("bundle = find_bundle()", fixed).replace("    verify(bundle)\n", ""))
    kernel.script.write_text(kernel.script.read_text().replace("    install(bundle)", "    next(bundle.glob('*.whl'))"))
    with pytest.raises(KitError, match="StopIteration" if form != LAYOUTS[0] else "No module named 'kit'"):
        play(kernel, images, tmp_path, form)


def test_a_path_of_this_machine_fails(isolated, kernel, images, here, tmp_path_factory):
    (here / "weights.bin").write_text("here alone")
    kernel.script.write_text(f"print(open('{here}/weights.bin').read())\n" + kernel.script.read_text())
    with pytest.raises(KitError, match="FileNotFoundError"):
        play(kernel, images, tmp_path_factory.mktemp("sandbox"))


WRITES = "next((ROOT / 'input').rglob({!r})).open('r+b').write(b'changed')"


@pytest.mark.parametrize("victim", ["*.dcm", "thresholds.json"])
@pytest.mark.parametrize("hidden", [False, True])
def test_a_kernel_that_writes_into_its_inputs_fails_and_changes_nothing(
    isolated, kernel, images, here, tmp_path, victim, hidden
):
    before = {path: path.read_bytes() for path in [*images.values(), *kernel.bundle.iterdir()]}
    act = f"try:\n        {WRITES.format(victim)}\n    except OSError: pass" if hidden else WRITES.format(victim)
    kernel.script.write_text(
        kernel.script.read_text().replace("    verify(bundle)\n", f"    verify(bundle)\n    {act}\n")
    )
    if hidden:
        play(kernel, images, tmp_path / "sandbox")
    else:
        with pytest.raises(KitError, match="Read-only file system"):
            play(kernel, images, tmp_path / "sandbox")
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_function_that_is_newer_than_the_images_numpy_fails(isolated, kernel, images, tmp_path):
    try:
        image = environment.install(["numpy==2.0.2"], tmp_path / "image")
    except KitError as error:
        pytest.skip(f"the image's NumPy cannot be had here: {error}")
    kernel.script.write_text("import numpy\nnumpy.unstack(numpy.zeros((2, 2)))\n")
    sandbox = Sandbox(tmp_path / "sandbox", image)
    rehearsal.lay_out(sandbox.kaggle / "input", kernel, "siim", list(images), images, LAYOUTS[0])
    with pytest.raises(KitError, match="has no attribute 'unstack'"):
        rehearsal.play(sandbox, kernel, LAYOUTS[0])


def test_what_cannot_be_installed_is_said_and_stood_in_for(tmp_path, monkeypatch):
    monkeypatch.setattr(kaggle_image, "PYTHON", "9.9")
    told = []
    stand_in = environment.image(told.append, tmp_path)
    assert told == [
        "not rehearsed: the versions of Kaggle's image (there is no python9.9 here); this machine's packages stand in"
        " for them"
    ]
    assert not stand_in.exact
    names = {path.name for path in stand_in.packages.iterdir()}
    assert "torch" in names
    assert not {"segmentation_models_pytorch", "kaggle", "lightning_fabric"} & names


def test_without_namespaces_nothing_is_called_rehearsed(kernel, images, tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, "can_isolate", lambda: False)
    submission.write(tmp_path / "reference.csv", [(name, "-1") for name in images])
    with pytest.raises(KitError, match="cannot be rehearsed: this system gives no namespaces"):
        rehearsal.rehearse(kernel, images, tmp_path / "reference.csv", 2, environment.local(tmp_path / "image"), print)


ROWS = {"a": "0 8", "b": "-1", "c": "8 8"}


@pytest.mark.parametrize(
    ("theirs", "exact", "problem"),
    [
        (ROWS, True, ""),
        (ROWS | {"c": "9 8"}, True, "predicts other masks than `kit predict` for 1 of 3 images"),
        (ROWS | {"c": "9 8"}, False, "mean Dice to them 0.9583 over all 3 images, 0.8750 for c"),
        ({"a": "0 8", "c": "8 8", "b": "-1"}, False, "predicts other masks"),
    ],
)
def test_masks_are_held_against_ours(kernel, theirs, exact, problem):
    if not problem:
        assert rehearsal.compare(kernel, ROWS, theirs, (8, 8), exact) == "as predicted here"
        return
    with pytest.raises(KitError, match=problem):
        rehearsal.compare(kernel, ROWS, theirs, (8, 8), exact)


def test_other_versions_may_differ_by_a_few_pixels(kernel):
    ours = {str(n): "0 4000" for n in range(10)}
    told = rehearsal.compare(kernel, ours, ours | {"3": "1 4000"}, (64, 64), exact=False)
    assert told == "1 masks differ from those predicted here, mean Dice to them 1.0000"


@pytest.mark.parametrize(("key", "value"), [("enable_internet", True), ("is_private", False)])
def test_a_kernel_that_is_public_or_online_is_refused(kernel, key, value):
    kernel.metadata.write_text(json.dumps(files.read_json(kernel.metadata) | {key: value}))
    with pytest.raises(KitError, match=f"{key} is {value}"):
        rehearsal.check_metadata(kernel)


@pytest.mark.parametrize("sources", [[], [""], ["siimm"]])
def test_a_source_that_is_missing_or_misspelt_is_refused(kernel, sources):
    kernel.metadata.write_text(json.dumps(files.read_json(kernel.metadata) | {"competition_sources": sources}))
    with pytest.raises(KitError, match=r"competition_sources is .*, which is not what kit-tiny-small.py looks for"):
        rehearsal.check_metadata(kernel)


def test_a_misspelt_key_is_refused(kernel):
    kernel.metadata.write_text(json.dumps(files.read_json(kernel.metadata) | {"enable_gpuu": True}))
    with pytest.raises(KitError, match="enable_gpuu: extra inputs are not permitted"):
        rehearsal.check_metadata(kernel)


def test_a_kernel_of_changed_thresholds_is_refused(kernel):
    run = small_run.Run(Path("runs/tiny/small"))
    kernels.checked(run)
    files.write_json(run.thresholds, files.read_json(run.thresholds) | {"binarization": 0.6})
    with pytest.raises(KitError, match=r"runs/tiny/small/thresholds.json: was changed after the kernel was built"):
        kernels.checked(run)


@pytest.mark.parametrize("name", ["small.fold1.safetensors", "thresholds.json", "recipe.yaml"])
def test_a_changed_bundle_is_refused(kernel, name):
    (kernel.bundle / name).write_bytes((kernel.bundle / name).read_bytes() + b" ")
    with pytest.raises(KitError, match=f"{name}: is not as it was built: run `make kernel` again"):
        kernels.checked(small_run.Run(Path("runs/tiny/small")))


def test_a_code_of_another_build_and_a_foreign_file_are_refused(kernel):
    run = small_run.Run(Path("runs/tiny/small"))
    (kernel.bundle / "notes.txt").write_text("x")
    with pytest.raises(KitError, match=r"notes\.txt: is no file of the kernel"):
        kernels.checked(run)
    seal(kernel)
    kernel.script.write_text(kernel.script.read_text().replace(files.sha256(kernel.manifest), "0" * 64))
    with pytest.raises(KitError, match="belongs to another bundle"):
        kernels.checked(run)


def test_a_gpu_is_asked_for_by_its_machine(here):
    built = bundle.build(small_run.Run(Path("runs/tiny/small")), SHAPE, half=True, user="ada", gpu=True)
    about = files.read_json(built.metadata)
    assert (about["enable_gpu"], about["machine_shape"]) == (True, "NvidiaTeslaT4")
    assert about["docker_image_pinning_type"] == "original"


@pytest.mark.parametrize(("works", "shown"), [(True, None), (False, "")])
def test_a_gpu_that_does_not_compute_is_hidden(kernel, monkeypatch, works, shown, caplog):
    names = {"__name__": "script"}
    exec(kernel.script.read_text(), names)
    names["PROBE"] = "pass" if works else "raise RuntimeError('no kernel image is available')"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "x")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    with caplog.at_level("INFO"):
        names["choose_device"]()
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == shown
    assert ("no kernel image is available" in caplog.text) == (not works)


def notebook_of(here):
    return bundle.build(
        small_run.Run(Path("runs/tiny/small")), SHAPE, half=True, user="ada", competition="siim", notebook=True
    )


def test_a_notebook_is_valid_and_is_the_script(here, kernel):
    script = kernel.script.read_text()
    built = notebook_of(here)
    assert not built.script.exists()
    assert files.read_json(built.metadata)["kernel_type"] == "notebook"
    content = nbformat.reads(built.code.read_text(), as_version=4)
    nbformat.validate(content)
    cells = "\n".join(code.as_script(built.code.read_text()).split())
    for line in script.partition('"""\n')[2].split("# %%")[0].split():
        assert line in cells
    assert rehearsal.check_metadata(built)


def test_a_notebook_writes_the_same_bytes_and_shows_pictures(here, images, tmp_path):
    """Executed as Kaggle does, cell by cell in Jupyter."""
    nbclient = pytest.importorskip("nbclient")
    built = notebook_of(here)
    root = here / "kaggle"
    rehearsal.lay_out(root / "input", built, "siim", list(images), images, LAYOUTS[0])
    offline.run(built.bundle, root / "input" / "siim", tmp_path / "expected.csv", time.monotonic() + 1000)
    (root / "working").mkdir()
    content = nbformat.reads(built.code.read_text(), as_version=4)
    # The kernel installs wheels: not into the environment of the tests.
    skip = "import sys; sys.path.insert(0, {!r}); subprocess.run = lambda *a, **k: subprocess.CompletedProcess(a, 0)"
    content.cells[1].source += "\n" + skip.format(str(Path(rehearsal.__file__).parents[2]))
    os.environ["KAGGLE_ROOT"] = str(root)
    try:
        done = nbclient.NotebookClient(content, timeout=300).execute()
    finally:
        del os.environ["KAGGLE_ROOT"]
    assert (root / "working" / "submission.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()
    outputs = [output for cell in done.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


def test_a_notebook_passes_the_rehearsal(isolated, here, images, tmp_path):
    built = notebook_of(here)
    script_rows, _ = play(built, images, tmp_path / "notebook")
    bundle.build(small_run.Run(Path("runs/tiny/small")), SHAPE, half=True, user="ada", competition="siim")
    assert play(built, images, tmp_path / "script")[0] == script_rows


def test_without_a_kernel_one_is_asked_for(here):
    shutil.rmtree("kernels")
    with pytest.raises(KitError, match="run `make kernel` first"):
        kernels.check(Workspace(), small_run.Run(Path("runs/tiny/small")), Path("data/tiny"), None, print)


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


def test_the_submission_is_there_from_the_first_minute_and_grows(kernel, mount, monkeypatch):
    seen = []
    real = submission.write
    monkeypatch.setattr(offline, "EVERY", -1.0)

    def write(path, masks):
        real(path, masks)
        seen.append(sum(text != "-1" for text in submission.read(path).values()))

    monkeypatch.setattr(offline.submission, "write", write)
    run_offline(kernel, mount)
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert len(seen) >= 4


def test_where_time_is_short_folds_go_first_and_then_tta(kernel, mount, monkeypatch, caplog):
    """A network takes a second an image by a clock of our own; the whole system of two folds with TTA takes four."""
    now, efforts = [0.0], []
    monkeypatch.setattr(offline, "clock", lambda: now[0])
    inputs = system.System.inputs

    def slow(whole, images):
        now[0] += whole.effort * len(images)
        efforts.append(whole.effort)
        return inputs(whole, images)

    monkeypatch.setattr(system.System, "inputs", slow)
    for limit, expected, said in (
        (100.0, [4, 4, 4], []),
        (15.0, [4, 2, 2], ["with 1 folds, with TTA"]),
        (12.0, [4, 1, 1], ["with 1 folds, without TTA"]),
    ):
        now[0] = 0.0
        efforts.clear()
        caplog.clear()
        output = Path("out/submission.csv")
        offline.run(kernel.bundle, mount, output, limit)
        assert efforts == expected
        told = [record.getMessage() for record in caplog.records if "too slow" in record.getMessage()]
        assert len(told) == len(said)
        assert all(one.endswith(end) for one, end in zip(told, said, strict=True))
        assert not [record for record in caplog.records if "left empty" in record.getMessage()]


def test_without_the_mirror_images_the_answer_is_that_without_tta(here):
    run = small_run.Run(Path("runs/tiny/small"))
    settings = run.read_recipe()
    models = system.load(run.trained(settings)).models[settings.label]
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    plain, with_tta = predict.probabilities(models, images, settings)
    alone, same = predict.probabilities(models, images, settings, mirrored=False)
    np.testing.assert_allclose(alone, plain, atol=1e-6)
    np.testing.assert_array_equal(alone, same)
    assert np.abs(plain - with_tta).max() > 1e-4


def test_too_little_memory_makes_smaller_batches(kernel, mount, monkeypatch):
    import torch

    whole, real, sizes = run_offline(kernel, mount), predict.batches, []

    def greedy(count, read, batch_size, what, unreadable):
        sizes.append(batch_size)
        if batch_size > 1:
            raise torch.cuda.OutOfMemoryError
        return real(count, read, batch_size, what, unreadable)

    monkeypatch.setattr(predict, "batches", greedy)
    assert run_offline(kernel, mount).keys() == whole.keys()
    assert sizes == [2, 1]


def test_an_ensembles_kernel_predicts_what_the_kit_does(here, images):
    run = small_run.write(here, small_run.ENSEMBLE)
    settings = run.read_recipe()
    whole = system.load(run.trained(settings))
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
    target = small_run.Run(here / "reference")
    predict_files(bundle.trained(kernel), images, tuple(images), target, SHAPE, skip_bad=True, whole=True)
    assert rows == submission.read(target.submission)


def test_a_mount_without_the_competition_is_told(tmp_path):
    with pytest.raises(KitError, match=r"has no file \*sample_submission\.csv: attach the competition"):
        offline.find_test(tmp_path)
