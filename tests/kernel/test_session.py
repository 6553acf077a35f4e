"""Training sessions as Kaggle runs them: cut, resumed, and refused if they cannot resume."""

import functools
import json
import math
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import started
import trained_there
from kaggle_server import Fault, zipped
from PIL import Image

from kit import lineage, networks, phantom, recipes
from kit.competition import layout, pictures
from kit.core import files, store
from kit.core.distributed import PRETRAINED, STAND_INS
from kit.core.errors import KitError
from kit.data import cache, folds
from kit.kaggle import acting, dataset
from kit.kaggle.settings import Settings
from kit.kernel import bundle as bundles
from kit.kernel import push, session, train_bundle
from kit.kernel.sandbox import REHEARSAL
from kit.workflows import train_on_kaggle
from kit.workflows.extra import open_extra
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
        train_on_kaggle.build(Workspace(), Order("tiny", wanted, chosen, ["ada/lungs"]), print)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def kernel(here, monkeypatch):
    monkeypatch.chdir(here)
    monkeypatch.setenv(REHEARSAL, "1")
    return bundles.kernel_of(Workspace().run(layout.open_folder("tiny"), "small"), "train")


@pytest.fixture
def bundle(kernel):
    return {path.name: path.read_bytes() for path in kernel.bundle.iterdir()}


def build(wanted, sources=()):
    return train_on_kaggle.build(Workspace(), Order("tiny", wanted, Settings(), sources), print)


def go(root, least=1, deadline=math.inf, devices=0):
    return session.run(root / "input" / "files", root, trained_there.SOURCE, least, deadline, devices)


def test_a_bundle_has_everything_that_training_needs_except_the_images(kernel, bundle):
    names = {name for name in bundle if not name.endswith(".whl")}
    carried = {
        "small.yaml": "recipe.yaml",
        "folds/tiny.csv": "0-tiny.csv",
        "data/tiny/train-rle.csv": "1-train-rle.csv",
        "data/tiny/sample_submission.csv": "2-sample_submission.csv",
    }
    assert names == {"manifest.json", "images.json", *carried.values()}
    assert json.loads(bundle["manifest.json"])["carried"] == carried
    about = json.loads(kernel.metadata.read_text())
    assert (about["enable_internet"], about["is_private"]) == (False, True)
    assert (about["enable_gpu"], about["machine_shape"]) == (True, "NvidiaTeslaT4")
    assert about["dataset_sources"] == ["ada/kit-tiny-small-train-files", "ada/lungs"]
    assert about["competition_sources"] == about["kernel_sources"] == []
    text = kernel.script.read_text()
    compile(text, "script", "exec")
    assert "TIME_LIMIT = 39600.0" in text
    assert "SESSION = 1 " in text


def test_a_later_session_is_a_new_version_with_the_output_of_the_one_before(kernel, bundle):
    wanted, chosen = recipes.load("small.yaml"), Settings(user="ada", competition="siim")
    try:
        train_on_kaggle.build(Workspace(), Order("tiny", wanted, chosen, [], 60.0), print, session=2)
        about = json.loads(kernel.metadata.read_text())
        assert about["kernel_sources"] == ["ada/kit-tiny-small-train"]
        assert (about["competition_sources"], about["dataset_sources"][1:]) == (["siim"], [])
        assert "SESSION = 2 " in kernel.script.read_text()
        assert {path.name: path.read_bytes() for path in kernel.bundle.iterdir()} == bundle
    finally:
        train_on_kaggle.build(Workspace(), Order("tiny", wanted, Settings(user="ada"), ["ada/lungs"]), print)


def test_a_training_notebook_is_a_separate_kernel(kernel, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(Path(), tmp_path / "home"))
    order = Order("tiny", recipes.load("small.yaml"), Settings(user="ada"), ["ada/lungs"])
    built = train_on_kaggle.build(Workspace(), order, print, session=2, notebook=True)
    about = json.loads(built.metadata.read_text())
    assert (about["title"], about["code_file"]) == ("kit-tiny-small-train-nb", "kit-tiny-small-train.ipynb")
    assert [about["id"]] == about["kernel_sources"] == ["ada/kit-tiny-small-train-nb"]
    assert about["dataset_sources"][0] == "ada/kit-tiny-small-train-files"


def test_pretrained_weights_are_bundled_and_found_on_kaggle(kernel, monkeypatch):
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
        ("start=other", r"runs/tiny/other: is not a run .*: run `make train` first"),
        ("start=other start_data=older", r"runs/older/other: is not a run .*: run `make train` first"),
        ("extra.data=more", r"extra.data=more: data/more is not a folder: name one in data/"),
    ],
)
def test_a_recipe_that_needs_files_that_kaggle_lacks_is_refused(kernel, overrides, told):
    wanted = recipes.load("small.yaml", f"{overrides} name=second")
    with pytest.raises(KitError, match=told):
        build(wanted)


def test_a_run_larger_than_kaggles_output_limit_is_refused(kernel, monkeypatch):
    monkeypatch.setattr(train_bundle, "OUTPUT", 1e5)
    with pytest.raises(KitError, match=r"the run takes up to .* GB, and Kaggle keeps 0 GB"):
        build(recipes.load("small.yaml"))


def test_a_misspelt_data_set_is_refused(kernel):
    with pytest.raises(KitError, match="--source lungs: is not OWNER/NAME"):
        build(recipes.load("small.yaml"), ["lungs"])


SAME = ["--sweep", "exp_4.yaml", "--sweep", "exp-4.yaml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "--on", "kaggle", "--fold", "1"], "--fold: does nothing with --on kaggle"),
        (["train", "--source", "ada/lungs"], "--source: does nothing without --on kaggle"),
        (["train", "--sweep", "demo"], "--sweep: does nothing without --on kaggle"),
        (["train", "--on", "kaggle", "--sweep", "exp4", "--recipe", "exp5"], "--recipe: does nothing with --sweep"),
        (["train", "--on", "moon", "--recipe", "demo"], "--on moon: choose here or kaggle"),
        (["train", "--on", "kagle", "--source", "x"], "--on kagle: choose here or kaggle; did you mean kaggle?"),
        (["train", "--on", "kaggle", "--sweep", "exp4", "--sweep", "exp4"], "--sweep: exp4 is given twice: give each"),
        (["train", "--on", "kaggle", "--data", "none", *SAME], "--sweep: exp_4 and exp-4 would be the same kernel"),
        (["kernel", "build", "--train", "--gpu"], "--gpu: does nothing with --train"),
    ],
)
def test_options_without_effect_are_refused(kit, arguments, said):
    for name in ("exp_4.yaml", "exp-4.yaml"):
        Path(name).write_text("extends: exp4\n")
    code, _, errors = kit(*arguments)
    assert (code, said in errors) == (2, True)


def test_a_sweep_with_duplicates_is_refused_before_slow_imports(home):
    """Neither the workflow nor the report is imported before."""
    code = "import sys; from kit import cli\ntry: cli.main()\n"
    code += "except SystemExit as end: print(end.code, 'torch' in sys.modules, 'pandas' in sys.modules)"
    words = ["train", "--on", "kaggle", "--sweep", "exp4", "--sweep", "exp4"]
    variables = os.environ | {"PYTHONPATH": str(trained_there.SOURCE)}
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, env=variables)
    assert done.stdout == "2 False False\n"
    assert len(done.stderr.splitlines()) == 1


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
    session.lay_out(root / "input" / "files", root / "input", tmp_path)
    theirs, ours = layout.open_folder(tmp_path / "data/tiny"), layout.open_folder("tiny")
    assert [path.read_bytes() for path in theirs.train.values()] == [path.read_bytes() for path in ours.train.values()]
    assert (theirs.labels, theirs.test.keys(), theirs.sample_ids) == (ours.labels, ours.test.keys(), ours.sample_ids)


@pytest.mark.parametrize("place", ["lungs", "datasets/ada/lungs", "competitions/lungs", "lungs.zip"])
def test_pictures_of_a_mirror_match_the_images_imported_from_them(kernel, bundle, tmp_path, monkeypatch, place):
    """The run counts as trained on the DICOM files of the import."""
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
    stand_ins = session.lay_out(root / "input" / "files", root / "input", tmp_path)
    theirs = layout.open_folder(tmp_path / "data/tiny")
    assert len(stand_ins) == len(theirs.train) + len(theirs.test)
    for path, other in zip(theirs.test.values(), ours.test.values(), strict=True):
        assert (pictures.read_image(path).pixels == pictures.read_image(other).pixels).all()
    assert cache.image_keys(theirs) != cache.image_keys(ours)
    (tmp_path / "stand-ins.json").write_text(json.dumps(stand_ins))
    monkeypatch.setenv(STAND_INS, str(tmp_path / "stand-ins.json"))
    monkeypatch.setattr(store, "_stand_ins", functools.cache(store._stand_ins.__wrapped__))
    assert cache.image_keys(theirs) == cache.image_keys(ours)


def test_pictures_that_an_import_has_enlarged_are_enlarged_on_kaggle(kernel, bundle, tmp_path):
    """The mirror has reduced images, with the rows of the originals."""
    ours = layout.open_folder("tiny")
    root = trained_there.mount(tmp_path / "kaggle", bundle, None, None)
    listed = json.loads((root / "input/files/images.json").read_text())
    for name, image in listed.items():
        small = pictures.read_image(Path(name.removeprefix("data/")))
        small = pictures.resized(small, (32, 32))
        Image.fromarray(small.pixels).save(root / "input" / f"{image['id']}.png")
        listed[name]["pixels"] = session.hash_pixels(pictures.resized(small, ours.shape).pixels)
    (root / "input/files/images.json").write_text(json.dumps(listed))
    assert len(session.lay_out(root / "input" / "files", root / "input", tmp_path)) == len(listed)
    assert layout.open_folder(tmp_path / "data/tiny").shape == ours.shape


def test_other_images_and_missing_ones_are_refused(kernel, bundle, tmp_path):
    root = trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), None)
    first, second = sorted((root / "input").rglob("*.dcm"))[:2]
    first.write_bytes(second.read_bytes())
    second.unlink()
    with pytest.raises(KitError, match=r"2 of 13 images are missing or differ from those of .*--source OWNER/NAME"):
        session.lay_out(root / "input" / "files", root / "input", tmp_path)


def test_extra_data_are_bundled_and_used_for_training_on_kaggle(kernel, tmp_path, monkeypatch):
    """Their images may come from any attached data set; their test images are left out."""
    monkeypatch.chdir(shutil.copytree(Path(), tmp_path / "home"))
    phantom.write("data/more", train=4, test=1, size=64, seed=5)
    ids = layout.open_folder("data/more").train
    files.write_csv(Path("data/more/patients.csv"), ["ImageId", "PatientId"], [(name, f"of {name}") for name in ids])
    wanted = recipes.load("small.yaml", "extra.data=more name=second")
    with pytest.raises(KitError, match=r"extra.data=data/more can only go to Kaggle from data/: .*data=more name"):
        build(recipes.load("small.yaml", "extra.data=data/more name=second"))
    content = {path.name: path.read_bytes() for path in build(wanted).bundle.iterdir()}
    root = trained_there.mount(tmp_path / "kaggle", content, Path("tiny"), None)
    for path in layout.open_folder("data/more").train.values():
        files.copy(path, root / "input/more/images" / path.name)
    session.lay_out(root / "input" / "files", root / "input", tmp_path)

    def trained_on(place, own):
        workspace, competition = Workspace(place), layout.open_folder(place / own)
        split = folds.read(place / "folds/tiny.csv", competition)
        (one,) = open_extra(workspace, competition, wanted, split).values()
        return one.key(cache.image_keys(one.competition))

    assert trained_on(tmp_path, "data/tiny") == trained_on(Path(), "tiny")


def test_without_a_gpu_only_a_rehearsal_trains(kernel, bundle, tmp_path, monkeypatch):
    """The output of the session before is kept for the next one."""
    monkeypatch.delenv(REHEARSAL)
    before = trained_there.played(last=9)({"text": "SESSION = 1"})
    root = trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), before)
    ended = go(root, least=2)
    assert (ended.state, ended.number) == ("failed", 2)
    assert ended.reason.startswith("Kaggle has granted no working GPU: check on kaggle.com that the account")
    assert ended.files == session.read(root / "input/before/session.json").files
    assert not list((root / "temp").rglob("*.dcm"))


def test_a_session_that_cannot_resume_says_why_and_keeps_the_run(kernel, bundle, tmp_path):
    with pytest.raises(KitError, match=r"the output of the version before, with its session.json, is not attached"):
        go(trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), None), least=2)
    before = trained_there.played(last=9)({"text": "SESSION = 1"})
    root = trained_there.mount(tmp_path / "kaggle", bundle, None, before)
    ended = go(root, least=2)
    assert (ended.number, ended.state) == (2, "failed")
    assert "images are missing or differ from those of the build" in ended.reason
    assert session.read(root / "working" / "session.json") == ended
    assert (root / "working/runs/tiny/small/fold0/stage1/weights.safetensors").read_bytes() == b"weights of session 1"
    before["runs/tiny/small/fold0/stage1/weights.safetensors"] += b"!"
    with pytest.raises(KitError, match=r"weights\.safetensors: has changed since session 1"):
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


def test_gpus_and_remaining_folds_decide_how_a_session_trains(kernel, bundle, tmp_path, monkeypatch):
    asked = []

    def launcher(wanted, left, devices):
        asked.append((wanted.name, left, devices))
        return ["-c", "raise SystemExit(1)"]

    monkeypatch.setattr(session, "launcher", launcher)
    run = Workspace(tmp_path / "kaggle/working").run(layout.open_folder("tiny"), "small")
    root = trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), None)
    go(root, devices=2)
    for path in (run.weights(0, 0), run.oof(0), run.oof(0, tta=False)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    go(root, devices=2)
    assert asked == [("small", 1, 2), ("small", 0, 2)]


def test_the_run_that_a_recipe_starts_from_is_bundled(kernel, tmp_path, monkeypatch):
    first, data = recipes.load("small.yaml", "name=first"), layout.open_folder("tiny")
    run = Workspace().run(data, first)
    run.write_recipe(first)
    inputs = lineage.inputs_of(cache.image_keys(data), "folds/tiny.csv")
    files.write_json(run.inputs_path, inputs.model_dump())
    wanted = recipes.load("small.yaml", "name=second start=first")
    with pytest.raises(KitError, match="runs/tiny/first: fold 0 is not fully trained: train it first"):
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


def test_a_session_without_progress_fails(kernel, bundle, tmp_path):
    ended = go(trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), None), deadline=-math.inf)
    assert ended.state == "failed"
    assert "allow more with --time-limit" in ended.reason


def test_a_sweep_trains_one_recipe_after_the_other(kaggle, impatient, tmp_path, monkeypatch):
    """Fetched runs are skipped; without waiting, the command ends once a session runs."""
    for module, name in ((push, "POLL"), (dataset, "POLL"), (acting, "PAUSE")):
        monkeypatch.setattr(module, name, 0.01)
    trained_there.write(tmp_path)
    kaggle.mirrors["ada/lungs"] = zipped({})
    kaggle.run_kernel = trained_there.chained(kaggle, last=2)
    wanted = [recipes.load("small.yaml", more) for more in ("", "name=second")]
    orders = [Order("tiny", one, Settings(user="ada", timeout=600), ["ada/lungs"]) for one in wanted]
    home, said = Workspace().run(layout.open_folder("tiny"), "small"), []

    def train_there(some, patient):
        runs = train_on_kaggle.train_there(Workspace(), some, said.append, patient=patient)
        return [run.folder for run in runs]

    assert train_there(orders[:1], False) == []
    assert any("session 1 begins" in line for line in said)
    assert not home.folder.exists()
    assert train_there(orders[:1], True) == train_there(orders, False) == [home.folder]
    assert {name: len(versions) for name, versions in kaggle.kernels.items()} == {
        "ada/kit-tiny-small-train": 2,
        "ada/kit-tiny-second-train": 1,
    }


@pytest.mark.parametrize(
    ("sources", "competition", "fault", "told"),
    [
        (["ada/lungs", "eve/mine"], None, None, "--source eve/mine: there is no such data set on Kaggle, or it is not"),
        ([], "siim", Fault("DownloadDataFiles", 403), r"competition siim\).*\(403\): .*accept the rules of its comp"),
        ([], "siim", Fault("DownloadDataFiles", 404), None),
    ],
)
def test_missing_access_to_the_images_is_reported_before_anything_is_sent(
    kaggle, impatient, tmp_path, sources, competition, fault, told
):
    trained_there.write(tmp_path)
    kaggle.mirrors["ada/lungs"] = zipped({})
    kaggle.run_kernel = trained_there.chained(kaggle, last=2)
    kaggle.faults = [fault] * bool(fault)
    order = Order("tiny", recipes.load("small.yaml"), Settings(competition=competition), sources)
    if told is None:  # it may have no files, and the images are elsewhere
        train_on_kaggle.train_there(Workspace(), [order], print, patient=False)
        assert len(kaggle.kernels) == 1
        return
    with pytest.raises(KitError, match=told):
        train_on_kaggle.train_there(Workspace(), [order], print, patient=False)
    assert kaggle.count("StartBlobUpload") == 0
    assert not Path("build").exists()


def test_prediction_with_an_unfinished_run_is_refused(kernel, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(Path(), tmp_path / "home"))
    wanted, data = recipes.load("small.yaml"), layout.open_folder("tiny")
    order = Order("tiny", wanted, Settings(), ["ada/lungs"], trains=False)
    run = Workspace().run(data, "small")

    def told():
        with pytest.raises(KitError) as error:
            train_on_kaggle.build(Workspace(), order, print)
        return str(error.value)

    assert re.fullmatch(r"runs/tiny/small: is not a run .*: run `make train` first", told())
    lineage.begin(run, wanted, lineage.inputs_of(cache.image_keys(data), "folds/tiny.csv"))
    assert told().endswith("there are no out-of-fold maps of every fold yet: run `make train` first")
    monkeypatch.setattr(train_on_kaggle, "check_maps", lambda opened: None)
    assert told() == "runs/tiny/small: no fold has finished stage1: run `make train` first"


@pytest.fixture(scope="module")
def whole(here, tmp_path_factory):
    """The session.json of a session without faults."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        content = {path.name: path.read_bytes() for path in Path("build/kernel/kit-tiny-small-train").iterdir()}
        for name, value in {"OMP_NUM_THREADS": "1", REHEARSAL: "1"}.items():
            patch.setenv(name, value)
        patch.setattr(session, "subprocess", started.starting())
        ended = go(trained_there.mount(tmp_path_factory.mktemp("whole") / "kaggle", content, Path("tiny"), None))
    assert ended.state == "done", ended.reason
    return ended


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        (started.LosesALoader, "a process that loads images was killed, as the system does where"),
        (started.FillsItsDisk, "cannot be written: the disk is full: make room, then run the same command again"),
    ],
)
def test_a_broken_session_gives_a_one_line_reason_and_the_next_one_resumes(
    whole, bundle, tmp_path, monkeypatch, request, kind, line
):
    """It ends with the same files as a session without faults."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(session, "POLL", 0.2)
    monkeypatch.setattr(session, "subprocess", started.starting(kind))
    root = trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), None)
    if kind is started.FillsItsDisk:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", root / "working"]).returncode:
            pytest.skip("no disk can be mounted here")
        places = [tmp_path / name / "working" for name in ("kaggle", "broken")]
        request.addfinalizer(lambda: [subprocess.run(["umount", "--lazy", one], capture_output=True) for one in places])
    ended = go(root)
    assert (ended.state, line in ended.reason, "\n" in ended.reason) == ("failed", True, False), ended.reason
    assert any(name.endswith("last.ckpt") for name in ended.files)
    (root / "working/other").unlink(missing_ok=True)
    left = trained_there.output(root.rename(tmp_path / "broken"))
    monkeypatch.setattr(session, "subprocess", started.starting())
    done = go(trained_there.mount(tmp_path / "kaggle", bundle, Path("tiny"), left), least=2)
    assert (done.state, done.number) == ("done", 2), done.reason
    kept = (".safetensors", ".npy", "thresholds.json", "submission.csv")
    assert [(name, done.files.get(name)) for name in whole.files if name.endswith(kept)] == [
        (name, digest) for name, digest in whole.files.items() if name.endswith(kept)
    ]
