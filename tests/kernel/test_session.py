"""Sessions of training as Kaggle runs them: cut, gone on from, and refused where they cannot go on."""

import functools
import json
import math
import os
import shutil
import zipfile
from pathlib import Path

import pytest
import trained_there
from PIL import Image
from tiny_run import artefacts

from kit import lineage, networks, recipes
from kit.competition import layout, pictures
from kit.core import files, store
from kit.core.distributed import PRETRAINED, STAND_INS
from kit.core.errors import KitError
from kit.data import cache
from kit.kaggle import acting
from kit.kaggle.settings import Settings
from kit.kernel import bundle as bundles
from kit.kernel import push, session, train_bundle
from kit.workflows import train_on_kaggle
from kit.workflows.train_on_kaggle import Order
from kit.workflows.workspace import Workspace


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A folder with data, recipe, folds, and the kernel that trains it."""
    folder = trained_there.write(tmp_path_factory.mktemp("train"))
    before = Path.cwd()
    os.chdir(folder)
    try:
        wanted, chosen = recipes.load("small.yaml"), Settings(user="ada")
        train_on_kaggle.build(Workspace(), Order("tiny", wanted, chosen, ["ada/lungs"]), False, print)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def kernel(here, monkeypatch):
    monkeypatch.chdir(here)
    return bundles.kernel_of(Workspace().run(layout.open_folder("tiny"), "small"), "train")


@pytest.fixture
def bundle(kernel):
    return {path.name: path.read_bytes() for path in kernel.bundle.iterdir()}


def build(wanted, sources=()):
    return train_on_kaggle.build(Workspace(), Order("tiny", wanted, Settings(), sources), False, print)


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
        train_on_kaggle.build(Workspace(), Order("tiny", wanted, chosen, [], 60.0), False, print, session=2)
        about = json.loads(kernel.metadata.read_text())
        assert about["kernel_sources"] == ["ada/kit-tiny-small-train"]
        assert (about["competition_sources"], about["dataset_sources"][1:]) == (["siim"], [])
        assert "SESSION = 2 " in kernel.script.read_text()
        assert {path.name: path.read_bytes() for path in kernel.bundle.iterdir()} == bundle
    finally:
        train_on_kaggle.build(Workspace(), Order("tiny", wanted, Settings(user="ada"), ["ada/lungs"]), False, print)


def test_pretrained_weights_go_along_and_are_found_there(kernel, monkeypatch):
    wanted = recipes.load("small.yaml", "name=second network.encoder_weights=encoder.safetensors")
    plain = networks.build(wanted.network, pretrained=False)
    networks.save_weights("encoder.safetensors", plain.net.encoder)
    built = build(wanted)
    Path("encoder.safetensors").unlink()
    monkeypatch.setenv(PRETRAINED, str(built.bundle))
    started = networks.build(wanted.network).net.encoder.state_dict()
    assert all(tensor.equal(started[name]) for name, tensor in plain.net.encoder.state_dict().items())


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ("start=other", r"runs/tiny/other: is not a run .*: train it first"),
        ("start=other start_data=older", r"runs/older/other: is not a run .*: train it first"),
        ("extra.data=more", r"extra data \(more\) are not brought to Kaggle: train it on a machine of your own"),
    ],
)
def test_a_recipe_that_needs_what_kaggle_does_not_have_is_refused(kernel, overrides, told):
    wanted = recipes.load("small.yaml", f"{overrides} name=second")
    with pytest.raises(KitError, match=told):
        build(wanted)


def test_a_run_that_is_larger_than_kaggle_keeps_is_refused(kernel, monkeypatch):
    monkeypatch.setattr(train_bundle, "OUTPUT", 1e5)
    with pytest.raises(KitError, match=r"the run takes up to .* GB, and Kaggle keeps 0 GB"):
        build(recipes.load("small.yaml"))


def test_a_name_that_is_no_data_set_is_refused(kernel):
    with pytest.raises(KitError, match="--source lungs: is not OWNER/NAME"):
        build(recipes.load("small.yaml"), ["lungs"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--on", "kaggle", "--fold", "1"], "--fold: does nothing with --on kaggle"),
        (["train", "--source", "ada/lungs"], "--source: does nothing without --on kaggle"),
        (["train", "--sweep", "demo"], "--sweep: does nothing without --on kaggle"),
        (["train", "--on", "kaggle", "--sweep", "exp4", "--recipe", "exp5"], "--recipe: does nothing with --sweep"),
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


@pytest.mark.parametrize("place", ["lungs", "datasets/ada/lungs", "competitions/lungs", "lungs.zip"])
def test_a_mirror_of_pictures_holds_the_images_that_were_imported_from_it(kernel, bundle, tmp_path, monkeypatch, place):
    """What is trained on them is at home of the DICOM files that the import has made."""
    mirror, ours = tmp_path / "mirror", layout.open_folder("tiny")
    for image_id, path in {**ours.train, **ours.test}.items():
        pixels = pictures.read_image(path).pixels
        for folder, levels in (("train/png_images", pixels), ("train/masks", pixels * 0), ("small", pixels[::2, ::2])):
            (mirror / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(levels).save(mirror / folder / f"{image_id}.png")
    root = trained_there.mount(tmp_path / "kaggle", bundle, None, None)
    (root / "input" / place).parent.mkdir(parents=True, exist_ok=True)
    if place.endswith(".zip"):
        shutil.make_archive(root / "input/lungs", "zip", mirror)
    else:
        mirror.rename(root / "input" / place)
    stand_ins = session.lay_out(root / "input" / "files", root / "input", tmp_path / "tiny")
    theirs = layout.open_folder(tmp_path / "tiny")
    assert len(stand_ins) == len(theirs.train) + len(theirs.test)
    for path, other in zip(theirs.test.values(), ours.test.values(), strict=True):
        assert (pictures.read_image(path).pixels == pictures.read_image(other).pixels).all()
    assert cache.image_keys(theirs) != cache.image_keys(ours)
    (tmp_path / "stand-ins.json").write_text(json.dumps(stand_ins))
    monkeypatch.setenv(STAND_INS, str(tmp_path / "stand-ins.json"))
    monkeypatch.setattr(store, "_stand_ins", functools.cache(store._stand_ins.__wrapped__))
    assert cache.image_keys(theirs) == cache.image_keys(ours)


def test_pictures_that_an_import_has_enlarged_are_enlarged_there(kernel, bundle, tmp_path):
    """Of a mirror of reduced images with the rows of the originals."""
    ours = layout.open_folder("tiny")
    root = trained_there.mount(tmp_path / "kaggle", bundle, None, None)
    listed = json.loads((root / "input/files/images.json").read_text())
    for name, image in listed.items():
        small = pictures.read_image(Path("tiny", name))
        small = pictures.resized(small, (32, 32))
        Image.fromarray(small.pixels).save(root / "input" / f"{image['id']}.png")
        listed[name]["pixels"] = session.hash_pixels(pictures.resized(small, ours.shape).pixels)
    (root / "input/files/images.json").write_text(json.dumps(listed))
    assert len(session.lay_out(root / "input" / "files", root / "input", tmp_path / "tiny")) == len(listed)
    assert layout.open_folder(tmp_path / "tiny").shape == ours.shape


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


SAID = (
    "import sys; print('epoch 1', file=sys.stderr); "
    "print('kit: fold 0: there is not enough memory: set stages.0.micro_batch=2', file=sys.stderr); "
    "print('kit: fold 0: its process ended with exit code 2', file=sys.stderr); sys.exit(2)"
)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (SAID, "fold 0: there is not enough memory: set stages.0.micro_batch=2"),
        ("import os; os.kill(os.getpid(), 9)", "the process was killed, as the system does where the machine's memory"),
        ("raise SystemExit(7)", "the process has ended with exit code 7: see the log"),
    ],
)
def test_a_session_whose_training_fails_says_why(kernel, bundle, tmp_path, monkeypatch, capsys, code, reason):
    monkeypatch.setattr(session, "launcher", lambda *_: ["-c", code])
    ended = go(trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), None))
    assert (ended.state, ended.reason.startswith(reason)) == ("failed", True)
    assert ("epoch 1" in capsys.readouterr().err) == ("epoch" in code)


@pytest.mark.parametrize(
    ("overrides", "left", "devices", "together"),
    [
        ("", 2, 2, False),
        ("", 1, 2, True),
        ("", 1, 1, False),
        ("", 0, 2, False),
        ("", 1, 0, False),
        ("stages.0.batch_size=5", 1, 2, False),
    ],
)
def test_the_last_fold_is_trained_on_all_gpus_and_others_on_one_each(kernel, overrides, left, devices, together):
    words = session.launcher(recipes.load("small.yaml", overrides), left, devices)
    if together:
        assert words == ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "kit", "train"]
    else:
        assert words == ["-m", "kit", "train", "--jobs", str(max(devices, 1))]


def test_gpus_and_folds_that_are_left_decide_how_a_session_trains(kernel, bundle, tmp_path, monkeypatch):
    asked = []

    def launcher(wanted, left, devices):
        asked.append((wanted.name, left, devices))
        return ["-c", "raise SystemExit(1)"]

    monkeypatch.setattr(session, "launcher", launcher)
    monkeypatch.setattr(session, "gpus", lambda: ["0", "1"])
    run = Workspace(tmp_path / "kaggle/working").run(layout.open_folder("tiny"), "small")
    root = trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), None)
    go(root)
    for path in (run.weights(0, 0), run.oof(0), run.oof(0, tta=False)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    go(root)
    assert asked == [("small", 1, 2), ("small", 0, 2)]


def test_a_run_that_another_starts_from_goes_along(kernel, tmp_path, monkeypatch):
    first, data = recipes.load("small.yaml", "name=first"), layout.open_folder("tiny")
    run = Workspace().run(data, first)
    run.record(first)
    inputs = lineage.inputs_of(cache.image_keys(data), "folds/tiny.csv")
    files.write_json(run.inputs_path, inputs.model_dump())
    wanted = recipes.load("small.yaml", "name=second start=first")
    with pytest.raises(KitError, match="runs/tiny/first: fold 0 is not trained to its end: train it first"):
        build(wanted)
    files.write_text(run.weights(0, 0), "weights")
    built = build(wanted)
    content = {path.name: path.read_bytes() for path in built.bundle.iterdir()}
    look = "from pathlib import Path; import sys; there = sorted(map(str, Path('runs/tiny').rglob('*.*'))); "
    monkeypatch.setattr(session, "launcher", lambda *_: ["-c", look + "sys.exit(f'kit: {there}')"])
    ended = go(trained_there.mount(tmp_path / "kaggle", content, Path("tiny"), None))
    carried = ["fold0/stage1/weights.safetensors", "inputs.json", "recipe.yaml"]
    assert ended.reason == str([f"runs/tiny/first/{name}" for name in carried])
    assert not (tmp_path / "kaggle/working/runs/tiny/first").exists()


def test_a_limit_that_lets_nothing_be_finished_is_a_failure(kernel, bundle, tmp_path):
    ended = go(trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), None), deadline=-math.inf)
    assert ended.state == "failed"
    assert "allow more with --time-limit" in ended.reason


def test_a_run_that_was_trained_in_two_sessions_is_at_home_as_if_trained_here(
    kaggle, impatient, tmp_path, monkeypatch, kit
):
    """The verb against our Kaggle, which runs real sessions; the first is cut at its first checkpoint."""

    def verb(*arguments, recipe=("--recipe", "small.yaml")):
        code, out, errors = kit(*arguments, "--data", "tiny", *recipe)
        assert not code, errors
        return out

    def play(body):
        if "-test-" in body["slug"]:
            files = kaggle.datasets[f"{body['slug']}-files"][-1]
            root = trained_there.mount(tmp_path / "kaggle", files, tmp_path / "tiny", None)
            go(root)
            return trained_there.output(root)
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
    shutil.copy("kaggle.yaml", "here")
    monkeypatch.chdir(tmp_path / "here")
    verb("train")
    with pytest.raises(AssertionError, match="was begun here: go on here, remove it, or name a new run"):
        verb(*there)
    assert "runs/tiny/small: predicted on Kaggle" in verb(*there, "--predict-only")
    assert "up to date, nothing to do" in verb("predict")
    del fetched["tiny/small/kaggle.json"]
    assert fetched == artefacts(Path("runs"))
    kaggle.run_kernel = lambda body: {}
    monkeypatch.chdir(tmp_path)
    shutil.copy("small.yaml", "second.yaml")
    out = verb(*there, "--no-wait", "--sweep", "small.yaml", "--sweep", "second.yaml", recipe=())
    assert "runs/tiny/small: trained on Kaggle" in out
    assert len(kaggle.kernels["ada/kit-tiny-small-train"]) == 2
    assert len(kaggle.kernels["ada/kit-tiny-second-train"]) == 1
    with pytest.raises(AssertionError, match="--sweep: second is there twice"):
        verb(*there, "--sweep", "second.yaml", "--sweep", "second.yaml", recipe=())
