"""A new user who follows the page's commands to a score, against our own Kaggle."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import tiny_run
from faulty_disk import run
from kaggle_server import TOKEN, USER

from kit import phantom

ROOT = Path(__file__).parents[2]


def section(title):
    """The lines of a section of the competition's page that are indented: commands and files."""
    text = (ROOT / "docs/how-to/competition.md").read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


@pytest.fixture
def workplace(kaggle, home, tmp_path, monkeypatch):
    """A checkout with a small recipe, `../siim`, the token in its file, and what the page's table of files says."""
    here = tmp_path / "checkout"
    here.mkdir()
    for name in ("Makefile", "kit", "requirements.txt", "requirements-dev.txt", ".venv"):
        (here / name).symlink_to(ROOT / name)
    monkeypatch.chdir(here)
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    (home / ".kaggle").mkdir()
    token = home / ".kaggle" / "access_token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    (here / "exp5.yaml").write_text(tiny_run.RECIPE)
    phantom.write(tmp_path / "siim", train=10, test=3, size=64, seed=2)
    return here


def make(line):
    """Runs a command of the page as it stands there, with the smallest recipe of that name in place of exp5."""
    command = f"{line} RECIPE=exp5.yaml" if "DATA=" in line else line
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=os.environ | {"CI": "true"})
    return done.returncode, done.stdout + done.stderr


def test_a_new_user_ends_with_a_score(workplace, kaggle, tmp_path):
    if not (ROOT / ".venv" / "ready").exists():
        pytest.skip("no environment in .venv to follow the page with")
    *settings, by_file, build, push, by_kernel = section("From a run to a Kaggle score")
    Path("kaggle.yaml").write_text("\n".join(settings).replace("your-name", USER) + "\n")
    assert all(line.startswith("make ") for line in (by_file, build, push, by_kernel))

    for verb in ("folds", "train"):
        ended = run(workplace, [verb, "--data", "../siim", "--recipe", "exp5.yaml"])
        assert ended.code == 0, ended.said
    code, told = make(by_file)
    assert (code, "not confirmed: --yes skips the question" in told) == (2, True), told
    code, told = make(f"{by_file} ARGS=--yes")
    assert code == 0, told
    assert "public 0.5000" in told
    assert "of 1,475" in told

    kaggle.run_kernel = lambda request: {"submission.csv": Path("runs/siim/exp5/submission.csv").read_bytes()}
    code, told = make(build.replace(" kernel-check", ""))
    assert code == 0, told
    code, told = make(push)
    assert code == 0, told
    printed = re.search(r"submit it with: (make .*)", told)[1]
    assert re.search(rf"--kernel {USER}/kit-siim-exp5/1", printed)
    code, told = make(printed.replace("ARGS='", "ARGS='--yes --again "))
    assert code == 0, told
    assert len(kaggle.submissions) == 2
    assert kaggle.count("CreateCodeSubmission") == 1
    code, told = make("make scores")
    assert told.count("kaggle/siim-acr-pneumothorax-segmentation") == 2
    assert TOKEN not in "".join(path.read_text(errors="replace") for path in workplace.rglob("*.json*"))


def test_without_data_nothing_goes_to_kaggle(kaggle, home, tmp_path, monkeypatch, capsys):
    from kit import recipes
    from kit.core.errors import KitError
    from kit.workflows import submit
    from kit.workflows.workspace import Workspace

    for name in ("DATA", "RECIPE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(KitError, match="needs DATA: data/demo holds phantoms"):
        submit.submit(Workspace(), Path("data/demo"), recipes.load("demo"), "kaggle", yes=True)
    assert kaggle.submissions == []
    assert kaggle.log == []
