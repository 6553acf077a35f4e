"""The verbs for Kaggle on the command line: their output and exit codes."""

import os
import subprocess
import sys
from pathlib import Path

import made_kernel
import pytest

from kit import cli, phantom
from kit.competition import layout, submission
from kit.core import files
from kit.core.errors import KitError
from kit.kaggle import settings
from kit.run import Run
from kit.workflows import kernel as kernels
from kit.workflows.workspace import Workspace

RULE = {"rule": "image", "binarization": 0.5, "removal": 0}
MEASURES = {"rules": ["image"], "nested_dice": 0.8, "interval": [0.7, 0.9], "apparent_dice": 0.9, "masked": 0.2}
MEASURES |= {"dice_all_empty": 0.7, "dice_positives": 0.3, "negatives_empty": 0.95}


@pytest.fixture
def guess(tmp_path, home):
    """A valid submission to a small competition: every image empty."""
    phantom.write(Path("tiny"), train=2, test=3, size=64)
    path = tmp_path / "guess.csv"
    submission.write(path, [(image_id, "-1") for image_id in layout.open_folder(Path("tiny")).sample_ids])
    return path


def test_a_file_goes_to_the_local_leaderboard_and_is_listed(kit, guess):
    code, out, _ = kit("submit", "--data", "tiny", "--file", str(guess))
    assert code == 0
    assert "submitted to local/tiny: public" in out
    code, out, _ = kit("submit", "--data", "tiny", "--file", str(guess))
    assert (code, "nothing to do" in out) == (0, True)
    code, out, _ = kit("scores")
    assert "local/tiny" in out


def test_a_file_goes_to_kaggle_as_kaggle_yaml_says(kit, guess, kaggle, impatient, caplog):
    Path("kaggle.yaml").write_text("competition: siim\nuser: ada\ntimeout: 5\n")
    arguments = ("submit", "--data", "tiny", "--file", str(guess), "--to", "kaggle")
    code, _, err = kit(*arguments)
    assert code == 2
    assert "5 submissions left today" in caplog.text
    assert err.strip().endswith("not confirmed: --yes skips the question")
    code, out, _ = kit(*arguments, "--yes")
    assert code == 0
    assert "submitted to kaggle/siim: public 0.5000 · private 0.2500" in out
    assert len(kaggle.submissions) == 1
    assert "kaggle/siim" in kit("scores")[1]


def test_scores_are_shown_when_kaggle_cannot_be_asked(kit, guess, kaggle, impatient, monkeypatch, caplog):
    kaggle.polls_until_scored = 10**9
    monkeypatch.setattr("kit.submissions.kaggle.PATIENCE", 0.0)
    kit("submit", "--data", "tiny", "--file", str(guess), "--to", "kaggle", "--yes", "--competition", "siim")
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    code, out, _ = kit("scores")
    assert (code, "kaggle/siim" in out) == (0, True)
    assert "no credentials" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--to", "moon"), "--to moon: choose local or kaggle"),
        (("--to", "kaggle"), "kaggle.yaml: is not there: write `competition: NAME`"),
        (("--to", "kaggle", "--competition", "siim"), "no credentials"),
        (("--kernel", "ada/k/1"), "--kernel: does nothing without --to kaggle"),
        (("--kernel", "ada/k/1", "--to", "kaggle"), "--kernel: does nothing with --file"),
    ],
)
def test_mistakes_are_one_line_and_exit_with_two(kit, guess, arguments, message):
    code, out, err = kit("submit", "--data", "tiny", "--file", str(guess), *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_an_address_instead_of_a_competition_name_is_explained(kit, guess):
    Path("kaggle.yaml").write_text("competition: https://www.kaggle.com/c/siim-acr-pneumothorax-segmentation\n")
    _, _, err = kit("submit", "--data", "tiny", "--file", str(guess))
    assert "is an address: give its last part, 'siim-acr-pneumothorax-segmentation'" in err


def test_another_kernels_output_is_not_credited_to_the_run(kit, guess, kaggle, impatient):
    run = Path("runs/tiny/demo")
    files.write_json(run / "thresholds.json", RULE | {"recipe": "demo"} | MEASURES)
    for owner, slug, credited in (("ada", "another", False), ("bob", "kit-tiny-demo", False)):
        kaggle.kernels[f"{owner}/{slug}"] = [{"output": {"submission.csv": guess.read_bytes()}}]
        arguments = ("submit", "--data", "tiny", "--to", "kaggle", "--competition", "siim", "--yes", "--again")
        assert kit(*arguments, "--kernel", f"{owner}/{slug}/1")[0] == 0
        assert ("0.8000" in kit("scores")[1]) == credited


def test_a_kernel_version_is_submitted(kit, guess, kaggle, impatient):
    kaggle.kernels["ada/kit-tiny"] = [{"output": {"submission.csv": guess.read_bytes()}}]
    arguments = ("submit", "--data", "tiny", "--to", "kaggle", "--competition", "siim", "--yes")
    code, _, err = kit(*arguments, "--kernel", "ada/kit-tiny")
    assert code == 2
    assert "is not OWNER/SLUG/VERSION" in err
    assert kit(*arguments, "--kernel", "ada/kit-tiny/1")[0] == 0
    assert (kaggle.count("CreateCodeSubmission"), len(kaggle.submissions)) == (1, 1)


def test_a_dry_run_of_a_push_needs_no_account(kit, home):
    made_kernel.write()
    code, out, _ = kit("kernel", "push", "--run", "runs/lungs/exp5", "--dry-run", "--user", "ada")
    assert code == 0
    assert '"slug": "ada/kit-lungs-exp5"' in out
    assert '"enableInternet": false' in out


def push():
    run, chosen = Run(Path("runs/lungs/exp5")), settings.load()
    return kernels.push(Workspace(), run, Path("tiny"), chosen, "", print)


def test_another_user_than_the_account_is_refused_before_anything_is_sent(kit, guess, kaggle, impatient):
    made_kernel.write()
    Path("kaggle.yaml").write_text("competition: siim\nuser: bob\n")
    told = "kaggle.yaml: user is bob, and the credentials are those of ada: correct either"
    code, _, err = kit("submit", "--to", "kaggle", "--yes", "--data", "tiny", "--file", str(guess))
    assert (code, err) == (2, f"kit: {told}\n")
    with pytest.raises(KitError, match=told):
        push()
    assert {method for method, _ in kaggle.log} == {"IntrospectToken"}


def test_a_kernel_of_another_competition_is_not_pushed(guess, kaggle, impatient):
    made_kernel.write()
    Path("kaggle.yaml").write_text("competition: rsna\n")
    with pytest.raises(KitError, match=r"the kernel was built for siim, and kaggle\.yaml names rsna"):
        push()
    Path("kaggle.yaml").unlink()
    kaggle.files = {"sample_submission.csv": b"Id,Label\n"}
    with pytest.raises(KitError, match=r"and siim has sample_submission\.csv of 9 bytes"):
        push()
    assert kaggle.kernels == kaggle.datasets == {}


def test_verbs_that_only_use_kaggle_do_not_load_pytorch(guess, kaggle):
    kaggle.files = {"a.csv": b"x"}
    verbs = (["scores"], ["download", "--competition", "siim"], ["submit", "--data", "tiny", "--file", str(guess)])
    code = f"""
import sys
from kit import cli
for verb in {verbs}:
    sys.argv = ["kit", *verb]
    try: cli.main()
    except SystemExit: print(verb[0], "torch" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    said = done.stdout.splitlines()
    assert all(f"{verb} False" in said for verb in ("scores", "download", "submit")), done.stdout + done.stderr
