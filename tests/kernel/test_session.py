"""Sessions of training as Kaggle runs them: cut, gone on from, and refused where they cannot go on."""

import json
import math
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import trained_there
from tiny_run import artefacts

from kit import networks, recipes
from kit.competition import layout
from kit.core.distributed import PRETRAINED
from kit.core.errors import KitError
from kit.kaggle import acting
from kit.kaggle.settings import Settings
from kit.kernel import push, session, train_bundle
from kit.workflows import train_on_kaggle
from kit.workflows.workspace import Workspace


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with data, recipe, folds, and the kernel that trains it."""
    folder = trained_there.write(tmp_path_factory.mktemp("train"))
    before = Path.cwd()
    os.chdir(folder)
    try:
        wanted, chosen = recipes.load("small.yaml"), Settings(user="ada")
        train_on_kaggle.build(Workspace(), "tiny", wanted, chosen, ["ada/lungs"], None, False, print)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def kernel(here, monkeypatch):
    monkeypatch.chdir(here)
    return train_bundle.kernel_of(Workspace().run(layout.open_folder("tiny"), "small"))


@pytest.fixture
def bundle(kernel):
    return {path.name: path.read_bytes() for path in kernel.bundle.iterdir()}


def go(root, least=1, deadline=math.inf):
    return session.run(root / "input" / "files", root, trained_there.SOURCE, least, deadline)


def test_a_bundle_holds_all_that_a_training_needs_but_the_images(kernel, bundle):
    names = {name for name in bundle if not name.endswith(".whl")}
    assert names == {
        "manifest.json",
        "recipe.yaml",
        "images.json",
        "folds.tiny.csv",
        "data.train-rle.csv",
        "data.sample_submission.csv",
    }
    about = json.loads(kernel.metadata.read_text())
    assert (about["enable_internet"], about["is_private"]) == (False, True)
    assert (about["enable_gpu"], about["machine_shape"]) == (True, "NvidiaTeslaT4")
    assert about["dataset_sources"] == ["ada/kit-tiny-small-train-files", "ada/lungs"]
    assert about["competition_sources"] == about["kernel_sources"] == []
    text = kernel.script.read_text()
    compile(text, "script", "exec")
    assert "TIME_LIMIT = 39600.0" in text
    assert "SESSION = 1 " in text


def test_a_later_session_is_another_version_that_gets_the_output_of_the_one_before(kernel, bundle):
    wanted, chosen = recipes.load("small.yaml"), Settings(user="ada", competition="siim")
    try:
        train_on_kaggle.build(Workspace(), "tiny", wanted, chosen, [], 60.0, False, print, session=2)
        about = json.loads(kernel.metadata.read_text())
        assert about["kernel_sources"] == ["ada/kit-tiny-small-train"]
        assert (about["competition_sources"], about["dataset_sources"][1:]) == (["siim"], [])
        assert "SESSION = 2 " in kernel.script.read_text()
        assert {path.name: path.read_bytes() for path in kernel.bundle.iterdir()} == bundle
    finally:
        train_on_kaggle.build(Workspace(), "tiny", wanted, Settings(user="ada"), ["ada/lungs"], None, False, print)


def test_pretrained_weights_go_along_and_are_found_there(kernel, monkeypatch):
    wanted = recipes.load("small.yaml", "name=second network.encoder_weights=encoder.safetensors")
    plain = networks.build(wanted.network, pretrained=False)
    networks.save_weights("encoder.safetensors", plain.net.encoder)
    built = train_on_kaggle.build(Workspace(), "tiny", wanted, Settings(), [], None, False, print)
    Path("encoder.safetensors").unlink()
    monkeypatch.setenv(PRETRAINED, str(built.bundle))
    started = networks.build(wanted.network).net.encoder.state_dict()
    assert all(tensor.equal(started[name]) for name, tensor in plain.net.encoder.state_dict().items())


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("start=other", "starts from the run other, which is not on Kaggle"),
        ("extra.data=more", r"extra data are not brought to Kaggle \(more\)"),
    ],
)
def test_a_recipe_that_needs_what_kaggle_does_not_have_is_refused(kernel, overrides, told):
    wanted = recipes.load("small.yaml", f"{overrides} name=second")
    with pytest.raises(KitError, match=told):
        train_on_kaggle.build(Workspace(), "tiny", wanted, Settings(), [], None, False, print)


def test_a_run_that_is_larger_than_kaggle_keeps_is_refused(kernel, monkeypatch):
    monkeypatch.setattr(train_bundle, "OUTPUT", 1e5)
    with pytest.raises(KitError, match=r"the run takes up to .* GB, and Kaggle keeps 0 GB"):
        train_on_kaggle.build(Workspace(), "tiny", recipes.load("small.yaml"), Settings(), [], None, False, print)


def test_a_name_that_is_no_data_set_is_refused(kernel):
    with pytest.raises(KitError, match="--source lungs: is not OWNER/NAME"):
        train_on_kaggle.build(
            Workspace(), "tiny", recipes.load("small.yaml"), Settings(), ["lungs"], None, False, print
        )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--on", "kaggle", "--fold", "1"], "--fold: does nothing with --on kaggle"),
        (["train", "--source", "ada/lungs"], "--source: does nothing without --on kaggle"),
        (["train", "--on", "moon", "--recipe", "demo"], "--on moon: choose here or kaggle"),
        (["kernel", "build", "--train", "--gpu"], "--gpu: does nothing with --train"),
    ],
)
def test_options_without_effect_are_refused(kit, arguments, said):
    code, _, errors = kit(*arguments)
    assert (code, said in errors) == (2, True)


@pytest.mark.parametrize("form", ["unpacked", "zipped", "elsewhere"])
def test_the_images_are_found_in_every_layout(kernel, bundle, tmp_path, form):
    root = trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), None)
    lungs = root / "input" / "datasets" / "ada" / "lungs"
    if form == "zipped":
        with zipfile.ZipFile(lungs.parent / "lungs.zip", "w") as archive:
            for path in lungs.rglob("*.dcm"):
                archive.write(path, f"siim/{path.relative_to(lungs)}")
        shutil.rmtree(lungs)
    elif form == "elsewhere":
        lungs.rename(root / "input" / "competition")
    session.lay_out(root / "input" / "files", root / "input", tmp_path / "tiny")
    theirs, ours = layout.open_folder(tmp_path / "tiny"), layout.open_folder("tiny")
    assert [path.read_bytes() for path in theirs.train.values()] == [path.read_bytes() for path in ours.train.values()]
    assert (theirs.labels, theirs.test.keys(), theirs.sample_ids) == (ours.labels, ours.test.keys(), ours.sample_ids)


def test_other_images_and_missing_ones_are_refused(kernel, bundle, tmp_path):
    root = trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), None)
    first, second = sorted((root / "input").rglob("*.dcm"))[:2]
    first.write_bytes(second.read_bytes())
    second.unlink()
    with pytest.raises(KitError, match=r"2 of 13 images are not there as they are where .*--source OWNER/NAME"):
        session.lay_out(root / "input" / "files", root / "input", tmp_path / "tiny")


def test_a_session_that_cannot_go_on_says_why_and_keeps_what_was_there(kernel, bundle, tmp_path):
    with pytest.raises(KitError, match=r"the output of the version before, with its session.json, is not attached"):
        go(trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), None), least=2)
    before = trained_there.played(last=9)({"text": "SESSION = 1"})
    root = trained_there.mount(tmp_path / "kaggle", bundle, None, before)
    ended = go(root, least=2)
    assert (ended.number, ended.state) == (2, "failed")
    assert "images are not there" in ended.reason
    assert session.read(root / "working" / "session.json") == ended
    assert (root / "working/runs/tiny/small/fold0/stage1/weights.safetensors").read_bytes() == b"weights of session 1"
    before["runs/tiny/small/fold0/stage1/weights.safetensors"] += b"!"
    with pytest.raises(KitError, match=r"weights\.safetensors: is not as session 1 left it"):
        go(trained_there.mount(tmp_path / "kaggle", bundle, None, before), least=2)


def test_a_limit_that_lets_nothing_be_finished_is_a_failure(kernel, bundle, tmp_path):
    ended = go(trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), None), deadline=-math.inf)
    assert ended.state == "failed"
    assert "allow more with --time-limit" in ended.reason


def test_a_run_that_was_trained_in_two_sessions_is_at_home_as_if_trained_here(
    kaggle, impatient, tmp_path, monkeypatch, kit
):
    """The verb against our Kaggle, which runs real sessions; the first is cut at its first checkpoint."""

    def verb(*arguments):
        code, out, errors = kit(*arguments, "--data", "tiny", "--recipe", "small.yaml")
        assert not code, errors
        return out

    def play(body):
        versions = kaggle.kernels["ada/kit-tiny-small-train"]
        assert body.get("kernelDataSources", []) == (["ada/kit-tiny-small-train"] if versions else [])
        files = kaggle.datasets["ada/kit-tiny-small-train-files"][-1]
        root = trained_there.mount(tmp_path / "kaggle", files, tmp_path / "tiny", versions and versions[-1]["output"])
        clock = (lambda: 0.0) if versions else trained_there.until_a_checkpoint(root)
        monkeypatch.setattr(session, "clock", clock)
        go(root, least=len(versions) + 1, deadline=0.5)
        return trained_there.output(root)

    for module, name in ((push, "POLL"), (session, "POLL"), (acting, "PAUSE")):
        monkeypatch.setattr(module, name, 0.01)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as in this process: sums are taken in the same order
    kaggle.run_kernel = play
    trained_there.write(tmp_path)
    Path("kaggle.yaml").write_text("user: ada\ntimeout: 600\n")
    there = ("train", "--on", "kaggle", "--source", "ada/lungs")
    assert "session 1 begins" in verb(*there, "--no-wait")
    assert not Path("runs").exists()
    assert "runs/tiny/small: trained on Kaggle, nothing left to do" in verb(*there)
    assert len(kaggle.kernels["ada/kit-tiny-small-train"]) == 2
    fetched = artefacts(Path("runs"))
    assert "nothing left to do" in verb(*there)
    assert "trained, nothing to do" in verb("train")
    assert "up to date, nothing to do" in verb("predict")
    trained_there.write(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    verb("train")
    with pytest.raises(AssertionError, match="was begun here: go on here, remove it, or name a new run"):
        verb(*there)
    verb("predict")
    del fetched["tiny/small/kaggle.json"]
    assert fetched == artefacts(Path("runs"))
