"""The main job through the command line: folds, train, submit; again; killed; and with a user's mistakes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from faulty_disk import run_team
from tiny_run import SHORT

from kit import phantom, recipes
from kit.competition import submission
from kit.core.store import inputs_of as origin
from kit.inference import maps
from kit.workflows import kernel, submit
from kit.workflows.folds import make_folds
from kit.workflows.workspace import Workspace

ROOT = Path(__file__).parents[2]
RECIPE = """
about: Two stages at sizes for a test.
folds: {count: 2}
network: {encoder: tu-test_resnet, encoder_weights: null, decoder_channels: [16, 16, 8, 8, 8]}
stages:
  - {size: 32, epochs: 3, batch_size: 4, keep: {swa: {last: 2}}, positive_share: 0.5}
  - {size: 64, epochs: 1, batch_size: 4}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with the data and the recipe."""
    folder = tmp_path_factory.mktemp("work")
    phantom.write(folder / "tiny", train=32, test=8, size=128, seed=2)
    (folder / "test.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def working_folder(place):
    return place


RUN = ("--data", "tiny", "--recipe", "test.yaml")


def test_from_folds_to_a_score_and_then_nothing_to_do(kit, place, caplog):
    code, out, _ = kit("folds", *RUN)
    assert code == 0
    assert "folds/tiny.csv: written" in out
    assert "multiple" in out
    code, out, _ = kit("train", *RUN)
    assert code == 0
    said = out + caplog.text
    assert all(said.count(f"fold {fold} stage {stage}: Dice") == 1 for fold in (0, 1) for stage in (1, 2))
    assert re.search(r"rule \w+.*: nested Dice 0\.\d+ \[0\.\d+, [01]\.\d+\], all empty 0\.\d+ \(", out)
    assert said.index("will use up to") < said.index("epoch 1/3") < said.index("of training left")
    assert (
        next(line for line in out.splitlines() if line.startswith("rule "))
        in (place / "runs/tiny/test/log.txt").read_text()
    )
    code, out, _ = kit("submit", *RUN)
    assert code == 0
    assert "public " in out
    assert "private " in out

    run = place / "runs/tiny/test"
    table = pd.read_csv(place / "folds/tiny.csv")
    for fold in (0, 1):
        oof = maps.open_maps(run / f"oof/fold{fold}.npy")
        assert oof.array.dtype == np.uint8
        assert oof.array.shape[1:] == (64, 64)
        assert sorted(oof.ids) == table.image_id[table.fold == fold].tolist()
        for stage in (1, 2):
            files = {path.name for path in (run / f"fold{fold}/stage{stage}").iterdir()}
            assert {"weights.safetensors", "metrics.csv"} <= files
            assert "last.ckpt" not in files
    found = json.loads((run / "thresholds.json").read_text())
    assert found["recipe"] == "test"
    assert 0 <= found["interval"][0] <= found["nested_dice"] <= found["interval"][1] <= 1
    assert found["rules"] == ["image", "component", "triplet", "expected"]
    assert {"dice", "nested_choice"}.isdisjoint(found)
    assert 0 <= found["apparent_dice"] <= 1
    ids = tuple(pd.read_csv(place / "tiny/sample_submission.csv").ImageId)
    assert submission.validate(run / "submission.csv", ids, (128, 128)) == []
    assert (place / "submissions/tiny/test.csv").read_bytes() == (run / "submission.csv").read_bytes()

    before = {path: path.stat().st_mtime_ns for path in run.rglob("*.npy")} | {
        path: path.stat().st_mtime_ns for path in run.rglob("weights.safetensors")
    }
    for verb in ("folds", "train", "submit"):
        code, out, _ = kit(verb, *RUN)
        assert code == 0
        assert "nothing to do" in out
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_finished_training_has_nothing_to_do_without_loading_torch(place):
    script = (
        "import atexit, sys; from kit.cli import main; atexit.register(lambda: print('torch' in sys.modules)); main()"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, "train", *RUN]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert "nothing to do" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "False"


def test_two_processes_train_together_and_both_tell_every_bad_file(place):
    """As `torchrun` starts them: each caches, trains and predicts its share."""
    folder = place / "shared"
    phantom.write(folder / "data", train=16, test=2, size=64, seed=3)
    (folder / "test.yaml").write_text(SHORT)
    make_folds(Workspace(folder), folder / "data", recipes.load(folder / "test.yaml"))
    broken = sorted((folder / "data").rglob("dicom-images-train/**/*.dcm"), key=lambda path: path.stem)[:2]
    for path in broken:
        path.write_bytes(b"nonsense" * 40)
    train = ["train", "--data", "data", "--recipe", "test.yaml"]
    refused = run_team(folder, train, [None, None])
    assert [ended.code for ended in refused] == [2, 2]
    assert all(path.stem in "".join(ended.said for ended in refused) for path in broken)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "kit"]
    done = subprocess.run(
        [*launcher, *train, "--skip-bad"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert all(path.stem in done.stderr for path in broken)
    run = folder / "runs/data/test"
    metrics = pd.read_csv(run / "fold0/stage1/metrics.csv")
    assert metrics.weights.tolist() == ["epoch", "final"]
    assert (run / "thresholds.json").is_file()
    held = pd.read_csv(folder / "folds/data.csv").query("fold == 0").image_id
    assert sorted(maps.open_maps(run / "oof/fold0.npy").ids) == sorted(set(held) - {path.stem for path in broken})


def test_a_prediction_tells_of_settings_that_its_thresholds_were_not_searched_with(kit, place, caplog):
    before = (place / "runs/tiny/test/thresholds.json").read_bytes()
    assert kit("predict", *RUN, "--set", "prevalence=0.5 threshold.transfer=share threshold.smallest_contour=9")[0] == 0
    told = [record.getMessage() for record in caplog.records if "was searched with" in record.getMessage()]
    file, again = "runs/tiny/test/thresholds.json", "`make thresholds` with the same SET searches again"
    assert told == [
        f"{file}: was searched with prevalence=null, not 0.5: {again}",
        f"{file}: was searched with threshold.transfer=none, not share: {again}",
        f"{file}: was searched with threshold.smallest_contour=0, not 9: {again}",
    ]
    assert (place / "runs/tiny/test/thresholds.json").read_bytes() == before
    caplog.clear()
    assert kit("predict", *RUN)[0] == 0
    assert "was searched with" not in caplog.text


def test_what_is_changed_after_the_training_is_changed_everywhere(kit, place, monkeypatch):
    """The rule in use, the recipe that other verbs go by, and what the ledger promises."""
    run, promised, submit_local = place / "runs/tiny/test", [], submit.submit_local

    def noting(path, competition, ledger, oof, **options):
        promised.append((oof["nested_dice"], oof["rules"]))
        return submit_local(path, competition, ledger, oof, **options)

    monkeypatch.setattr(submit, "submit_local", noting)

    def known():
        kernel.find_run(Workspace(place), "tiny", "test.yaml", "tta=false threshold.rule=component")
        found = json.loads((run / "thresholds.json").read_text())
        recipe = recipes.load(run / "recipe.yaml")
        return found["rule"], found["rules"], set(found["hashes"]) - {"labels"}, recipe.tta, recipe.threshold.rule

    assert kit("submit", *RUN, "--set", "tta=false threshold.rule=component")[0] == 0
    plain = {"fold0-plain.npy", "fold1-plain.npy"}
    assert known() == ("component", ["component"], plain, False, "component")
    assert promised == [(json.loads((run / "thresholds.json").read_text())["nested_dice"], ("component",))]
    assert kit("predict", *RUN)[0] == 0
    back = recipes.load(run / "recipe.yaml")
    assert (back.tta, back.threshold.rule) == (True, "searched")
    assert known() == ("component", ["component"], plain, False, "component")  # a kernel goes by its own SET, too
    assert kit("predict", *RUN)[0] == 0
    assert set(json.loads((run / "thresholds.json").read_text())["hashes"]) == {"fold0.npy", "fold1.npy", "labels"}


def test_a_search_that_was_killed_is_made_again_whatever_was_asked_for_before(kit, place, monkeypatch):
    """Half of it may be of the settings of the killed call: nothing is current until it says what its content is."""
    searched = place / "runs/tiny/test/thresholds/search.json"

    def killed(*_, **__):
        raise KeyboardInterrupt

    before = origin(searched)
    with monkeypatch.context() as patch:
        patch.setattr("kit.workflows.thresholds.search", killed)
        assert kit("thresholds", *RUN, "--set", "prevalence=0.4")[0] == 130
    assert "content" in before
    assert "content" not in origin(searched)
    assert kit("thresholds", *RUN)[0] == 0
    assert origin(searched) == before


def test_the_report_is_one_page_with_its_pictures(kit, place):
    code, out, _ = kit("report", *RUN)
    page = (place / out.splitlines()[0]).read_text()
    assert code == 0
    assert page.count('role="img"') > 15
    assert 'src="http' not in page
    assert "Nested Dice" in page
    assert "stages:" in page
    assert len(pd.read_csv(place / "runs/tiny/test/report/cases.csv")) == 32


def test_any_folder_of_images_is_predicted_and_bad_files_are_told(kit, place, caplog):
    folder = place / "clinic"
    folder.mkdir()
    images = sorted((place / "tiny").rglob("dicom-images-test/**/*.dcm"))[:3]
    for number, image in enumerate(images):
        (folder / f"patient{number}.dcm").write_bytes(image.read_bytes())
    (folder / "patient1.dcm").write_bytes(b"nonsense" * 40)
    (folder / "patient3.dcm").symlink_to("gone.dcm")
    code, _, err = kit("predict", *RUN, "--images", "clinic", "--out", "answers")
    assert code == 2
    assert "patient1.dcm" in err
    assert "patient3.dcm" in err
    assert "--skip-bad" in err
    code, out, _ = kit("predict", *RUN, "--images", "clinic", "--out", "answers", "--skip-bad")
    assert code == 0
    assert "answers/submission.csv" in out
    assert "skipping" in caplog.text
    rows = submission.read(place / "answers/submission.csv")
    assert list(rows) == ["patient0", "patient1", "patient2", "patient3"]
    assert rows["patient1"] == rows["patient3"] == "-1"
    assert rows["patient0"] == submission.read(place / "runs/tiny/test/submission.csv")[images[0].stem]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", *RUN, "--fold", "7"), "--fold 7"),
        (("train", *RUN, "--set", "stages.0.epochs=9"), "was trained with other settings (stages.0.epochs: 3 → 9)"),
        (("predict", "--data", "tiny", "--recipe", "demo"), "run `kit train --data tiny --recipe demo` first"),
        (("thresholds", "--data", "tiny", "--recipe", "demo"), "run `kit train --data tiny --recipe demo` first"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(kit, arguments, message):
    code, out, err = kit(*arguments)
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("kit: ")
    assert err.count("\n") == 1


def test_broken_weights_cost_no_map_that_is_there(kit, place):
    kit("folds", *RUN), kit("train", *RUN)
    run = place / "runs/tiny/test"
    weights, before = run / "fold0/stage2/weights.safetensors", (run / "oof/fold0.npy").read_bytes()
    good = weights.read_bytes()
    weights.write_bytes(b"torn")
    try:
        code, _, err = kit("train", *RUN)
    finally:
        weights.write_bytes(good)
    assert code == 2
    assert err.count("\n") == 1
    assert "fold0/stage2/weights.safetensors: is damaged" in err
    assert "remove it and run" in err
    assert (run / "oof/fold0.npy").read_bytes() == before


def test_what_was_made_and_then_damaged_is_made_again(kit, place):
    kit("folds", *RUN), kit("train", *RUN), kit("predict", *RUN)
    run = place / "runs/tiny/test"
    files = [
        run / name for name in ("submission.csv", "test.ids.txt", "test.npy", "oof/fold1.ids.txt", "oof/fold1.npy")
    ]
    before = [file.read_bytes() for file in files]
    for damage in (b"", b"\xff\xfe", None):
        for file, content in zip(files, before, strict=True):
            file.write_bytes(content[:-9] if damage is None else damage)
        code, _, err = kit("thresholds", *RUN)
        assert code == 2
        assert "oof/fold1" in err
        assert "kit train" in err
        assert err.count("\n") == 1
        assert kit("train", *RUN)[0] == kit("predict", *RUN)[0] == kit("thresholds", *RUN)[0] == 0
        assert [file.read_bytes() for file in files] == before
