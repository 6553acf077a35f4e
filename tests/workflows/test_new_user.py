"""A new user who follows the page's commands to a score, against a fake Kaggle."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import tiny_run
from kaggle_server import TOKEN, USER
from make_calls import call, ready_folder

from kit import phantom, recipes
from kit.core.errors import KitError
from kit.kaggle import dataset
from kit.kernel import push
from kit.workflows import submit
from kit.workflows.workspace import Workspace

ROOT = Path(__file__).parents[2]


def section(title):
    """Returns the indented lines of a section of docs/how-to/competition.md: commands and files."""
    text = (ROOT / "docs/how-to/competition.md").read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    return [line.strip() for line in text.splitlines() if line.startswith("    ")]


@pytest.fixture
def working_folder(kaggle, home, impatient, tmp_path, monkeypatch):
    """A checkout with a small recipe, `../siim`, and the token in its file."""
    here = tmp_path / "checkout"
    here.mkdir()
    for name in ("Makefile", "kit", "requirements.txt", "requirements-dev.txt", ".venv"):
        (here / name).symlink_to(ROOT / name)
    monkeypatch.delenv("KAGGLE_API_TOKEN")
    for module in (push, dataset):
        monkeypatch.setattr(module, "POLL", 0.01)
    (home / ".kaggle").mkdir()
    token = home / ".kaggle" / "access_token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    (here / "exp5.yaml").write_text(tiny_run.SHORT)
    phantom.write(tmp_path / "siim", train=10, test=3, size=64, seed=2)
    return here


@pytest.fixture
def make(kit, tmp_path_factory):
    """Runs a command of the page as make does, with a tiny recipe instead of exp5; returns exit code and output."""
    folder = ready_folder(tmp_path_factory.mktemp("make"))

    def run(line):
        code, calls, told = call(folder, *shlex.split(f"{line} RECIPE=exp5.yaml" if "DATA=" in line else line)[1:])
        assert (code, told) == (0, "")
        for arguments in calls:
            code, *said = kit(*arguments)
            told += "".join(said)
            if code:
                break
        return code, told

    return run


def test_a_new_user_ends_with_a_score(make, kit, kaggle, working_folder):
    *settings, by_file, build, send, by_kernel = section("From a run to a Kaggle score")
    Path("kaggle.yaml").write_text("\n".join(settings).replace("your-name", USER) + "\n")
    assert all(line.startswith("make ") for line in (by_file, build, send, by_kernel))

    code, told = make("make folds train DATA=../siim")
    assert code == 0, told
    code, told = make(by_file)
    assert (code, "not confirmed: --yes skips the question" in told) == (2, True), told
    code, told = make(f"{by_file} ARGS=--yes")
    assert code == 0, told
    assert "public 0.5000" in told
    assert "of 1,475" in told

    kaggle.run_kernel = lambda request: {"submission.csv": Path("runs/siim/exp5/submission.csv").read_bytes()}
    code, told = make(build.replace(" kernel-check", ""))
    assert code == 0, told
    code, told = make(send)
    assert code == 0, told
    printed = re.search(r"submit it with: (make .*)", told)[1]
    assert re.search(rf"--kernel {USER}/kit-siim-exp5/1", printed)
    code, told = make(printed.replace("ARGS='", "ARGS='--yes --again "))
    assert code == 0, told
    assert len(kaggle.submissions) == 2
    assert kaggle.count("CreateCodeSubmission") == 1
    assert kit("scores")[1].count("kaggle/siim-acr-pneumothorax-segmentation") == 2
    if (ROOT / ".venv" / "ready").exists():  # else there is no environment that make would not install first
        done = subprocess.run(["make", "scores"], capture_output=True, text=True, env=os.environ | {"CI": "true"})
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("kaggle/siim-acr-pneumothorax-segmentation") == 2
    assert TOKEN not in "".join(path.read_text(errors="replace") for path in working_folder.rglob("*.json*"))


def test_without_data_nothing_goes_to_kaggle(kaggle, monkeypatch):
    for name in ("DATA", "RECIPE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(KitError, match="--to kaggle: data/demo holds phantoms: give a"):
        submit.submit(Workspace(), Path("data/demo"), recipes.load("demo"), "kaggle", yes=True)
    assert kaggle.submissions == []
    assert kaggle.log == []
