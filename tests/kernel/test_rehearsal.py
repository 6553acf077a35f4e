"""The rehearsal passes in every layout, and fails for every fault that would fail on Kaggle."""

import shutil
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import small_run
from dicoms import write_dicom
from playing import play, seal

from kit.competition import dicom, layout, pictures, rle, submission
from kit.core.errors import KitError
from kit.kernel import bundle, environment, kaggle_image, rehearsal, sandbox
from kit.kernel.rehearsal import LAYOUTS
from kit.kernel.sandbox import Sandbox, can_isolate
from kit.workflows import kernel as kernels
from kit.workflows.workspace import Workspace

WRITES = "next((ROOT / 'input').rglob({!r})).open('r+b').write(b'changed')"


ROWS = {"a": "0 8", "b": "-1", "c": "8 8"}


FEW = (LAYOUTS[0], LAYOUTS[3], LAYOUTS[-1])
"""Layouts with both folder schemes, unpacked and archived, and the hostile one."""


@pytest.fixture(scope="module")
def rehearsed(built, tmp_path_factory):
    """Messages of a rehearsal in a few layouts, its images, one of another size, and the rows of each layout."""
    if not can_isolate():
        pytest.skip("this system gives no namespaces")
    here = shutil.copytree(built, tmp_path_factory.mktemp("rehearsed") / "here")
    images = layout.open_folder(here / "data/tiny").test
    other = images[sorted(images)[2]]
    write_dicom(other, dicom.read(other).pixels.repeat(2, 0))
    told, rows, play = [], {}, rehearsal.play

    def noting(sandbox, kernel, form):
        rows[form], log = play(sandbox, kernel, form)
        return rows[form], log

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        patch.setattr(rehearsal, "LAYOUTS", FEW)
        patch.setattr(rehearsal, "play", noting)
        patch.setattr(environment, "image", lambda say: environment.local(here / "image"))
        run = small_run.Run(Path("runs/tiny/small"))
        kernels.check(Workspace(), run, Path("data/tiny"), None, told.append)
        kept = submission.read(bundle.kernel_of(run).rehearsed)
    return SimpleNamespace(told=told, images=images, rows=rows, kept=kept)


def test_the_rehearsal_passes_in_every_layout(rehearsed):
    """One of the images has another size."""
    assert tuple(rehearsed.rows) == FEW
    assert len(rehearsed.told) == len(FEW)
    assert all("as predicted here" in line for line in rehearsed.told[:-1])
    assert "with faults: 4 images" in rehearsed.told[-1]
    rows, sizes = rehearsed.kept, pictures.shapes_of(rehearsed.images)
    assert rows == rehearsed.rows[FEW[0]]
    assert len(set(sizes.values())) == 2
    assert all(rle.decode(text, sizes[name], name).shape == sizes[name] for name, text in rows.items())
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


def test_a_changed_file_fails(kernel, images, tmp_path):
    name = "model.safetensors"
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
def test_an_import_that_uses_the_network_fails_even_if_it_hides_the_error(isolated, kernel, images, tmp_path, reach):
    old = next(kernel.bundle.glob("kit*.whl"))
    with zipfile.ZipFile(old) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    content["kit/kernel/__init__.py"] += f"\n{reach}\nraise SystemExit(0)\n".encode()
    with zipfile.ZipFile(old, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    seal(kernel)
    with pytest.raises(KitError, match="tries to use the network"):
        play(kernel, images, tmp_path)


@pytest.mark.parametrize("form", LAYOUTS[:2])
def test_a_path_of_one_layout_fails_in_the_others(kernel, images, tmp_path, form):
    text = kernel.script.read_text()
    fixed = "bundle = Path('/kaggle/input/kit-tiny-small-files')"
    kernel.script.write_text(text.replace("bundle = find_bundle()", fixed).replace("    verify(bundle)\n", ""))
    kernel.script.write_text(kernel.script.read_text().replace("sys.path[:0] = ", "next(bundle.glob('*.whl')), "))
    with pytest.raises(KitError, match="StopIteration" if form != LAYOUTS[0] else "No module named 'kit'"):
        play(kernel, images, tmp_path, form)


def test_a_path_of_this_machine_fails(isolated, kernel, images, here, tmp_path_factory):
    (here / "weights.bin").write_text("here alone")
    kernel.script.write_text(f"print(open('{here}/weights.bin').read())\n" + kernel.script.read_text())
    with pytest.raises(KitError, match="FileNotFoundError"):
        play(kernel, images, tmp_path_factory.mktemp("sandbox"))


@pytest.mark.parametrize(("victim", "hidden"), [("model.safetensors", False), ("*.dcm", True)])
def test_a_kernel_that_writes_into_its_inputs_fails_and_changes_nothing(
    isolated, kernel, images, here, tmp_path, victim, hidden
):
    before = {path: path.read_bytes() for path in [*images.values(), *kernel.bundle.iterdir()]}
    act = WRITES.format(victim)
    if hidden:
        act = f"try:\n        {act}\n    except OSError: raise SystemExit(0)"
    kernel.script.write_text(
        kernel.script.read_text().replace("    verify(bundle)\n", f"    verify(bundle)\n    {act}\n")
    )
    if hidden:
        play(kernel, images, tmp_path / "sandbox")
    else:
        with pytest.raises(KitError, match="Read-only file system"):
            play(kernel, images, tmp_path / "sandbox")
    assert all(path.read_bytes() == content for path, content in before.items())


def test_a_function_that_is_newer_than_the_images_numpy_fails(isolated, kernel, images, tmp_path, monkeypatch):
    """With a NumPy of one function, which pip finds in a folder."""
    with zipfile.ZipFile(tmp_path / "numpy-2.0.2-py3-none-any.whl", "w") as wheel:
        wheel.writestr("numpy/__init__.py", "def zeros(shape): ...\n")
        wheel.writestr("numpy-2.0.2.dist-info/METADATA", "Metadata-Version: 2.1\nName: numpy\nVersion: 2.0.2\n")
        wheel.writestr("numpy-2.0.2.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\nRoot-Is-Purelib: true\n")
        wheel.writestr("numpy-2.0.2.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    try:
        image = environment.install(["numpy==2.0.2"], tmp_path / "image")
    except KitError as error:
        pytest.skip(f"the image's Python is not here: {error}")
    kernel.script.write_text("import numpy\nnumpy.unstack(numpy.zeros((2, 2)))\n")
    sandbox = Sandbox(tmp_path / "sandbox", image)
    rehearsal.lay_out(sandbox.kaggle / "input", kernel, "siim", list(images), images, LAYOUTS[0])
    with pytest.raises(KitError, match="has no attribute 'unstack'"):
        rehearsal.play(sandbox, kernel, LAYOUTS[0])


def test_packages_that_cannot_be_installed_are_replaced_with_a_notice(tmp_path, monkeypatch):
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


def test_without_namespaces_the_rehearsal_is_refused(kernel, images, tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "can_isolate", lambda: False)
    place = environment.local(tmp_path / "image")
    with pytest.raises(KitError, match="cannot be rehearsed: this system gives no namespaces"):
        rehearsal.rehearse(kernel, images, list(images), lambda paths, ids: {}, 2, place, print)


def test_a_kernel_that_handles_faults_badly_fails(rehearsed, kernel, tmp_path, monkeypatch):
    """One that writes nothing before it fails, and one that leaves all images empty."""
    monkeypatch.setattr(rehearsal, "FAULT", "")
    whole, text = rehearsed.rows[LAYOUTS[-1]], kernel.script.read_text()
    assert sum(mask == "-1" for mask in whole.values()) == 1
    sizes, there = pictures.shapes_of(rehearsed.images), {name: rehearsed.images[name] for name in whole}
    there = rehearsal.spoil(there, tmp_path)
    for change, problem in (
        (("write_empty()\n        return predict()", "raise RuntimeError"), "has written no submission"),
        (("return predict()", "return None"), "mean Dice to them"),
    ):
        assert change[0] in text
        kernel.script.write_text(text.replace(*change))
        shutil.rmtree(tmp_path / "sandbox" / "kaggle", ignore_errors=True)
        with pytest.raises(KitError, match=problem):
            rows, _ = play(kernel, there, tmp_path / "sandbox", LAYOUTS[-1])
            rehearsal.compare(kernel, whole, rows, sizes, exact=False)


@pytest.mark.parametrize(
    ("theirs", "exact", "problem"),
    [
        (ROWS, True, ""),
        (ROWS | {"c": "9 8"}, True, "predicts other masks than `kit predict` for 1 of 3 images"),
        (ROWS | {"c": "9 8"}, False, "mean Dice to them 0.9583 over all 3 images, 0.8750 for c"),
        ({"a": "0 8", "c": "8 8", "b": "-1"}, False, "predicts other masks"),
    ],
)
def test_masks_are_compared_with_the_expected_ones(kernel, theirs, exact, problem):
    if not problem:
        assert rehearsal.compare(kernel, ROWS, theirs, (8, 8), exact=exact) == "as predicted here"
        return
    with pytest.raises(KitError, match=problem):
        rehearsal.compare(kernel, ROWS, theirs, (8, 8), exact=exact)


def test_other_versions_may_differ_by_a_few_pixels(kernel):
    ours = {str(n): "0 4000" for n in range(10)}
    told = rehearsal.compare(kernel, ours, ours | {"3": "1 4000"}, (64, 64), exact=False)
    assert told == "1 mask unlike those predicted here, mean Dice to them 1.0000"
