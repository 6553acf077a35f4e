"""The Makefile hands on what it is given and refuses the rest; the kit itself is replaced by an echo."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kit import phantom
from kit.cli import app

MAKEFILE = Path(__file__).parents[1] / "Makefile"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder where the environment looks ready, each file newer than those that it is made from."""
    folder = tmp_path_factory.mktemp("make")
    (folder / ".venv").mkdir()
    for age, name in enumerate((".venv/dev", ".venv/ready", "requirements-dev.txt", "requirements.txt")):
        (folder / name).touch()
        os.utime(folder / name, (1e9 - age, 1e9 - age))
    return folder


def test_makefile_and_readme_have_the_verbs_of_the_command_line():
    commands = {verb.name for verb in (*app.registered_commands, *app.registered_groups)}
    taken = set(re.findall(r"^takes_([\w-]+)", MAKEFILE.read_text(), re.MULTILINE))
    table = (MAKEFILE.parent / "README.md").read_text().partition("## Verbs")[2].partition("\n## ")[0]
    told = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([\w-]+)(?: [^`]*)?`", line.split("|")[1])
    }
    assert commands <= taken
    assert commands <= told <= taken


@pytest.fixture
def make(place):
    def run(*arguments, **environment):
        """Exit code, the kit's arguments as lists of words, and what make complains about."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "ARGS"))}
        done = subprocess.run(
            ["make", "-f", MAKEFILE, r"KIT=printf '%s\n' kit", *arguments],
            cwd=place,
            env=clean | environment,
            capture_output=True,
            text=True,
        )
        calls = [call.split("\n") for call in f"\n{done.stdout.rstrip()}".split("\nkit\n")[1:]]
        return done.returncode, calls, done.stderr

    return run


@pytest.mark.parametrize("verb", ["experiments", "study", "claims"])
def test_what_reproduces_the_paper_is_no_part_of_the_package(make, verb):
    code, calls, _ = make(verb, "DATA=x", "SET=seed=1 a='b c'", r"REPRODUCE=printf '%s\n' kit")
    assert (code, calls) == (0, [[verb, "--data", "x", "--set", "seed=1 a='b c'"]])


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["train"], [["train"]]),
        (["train", "FOLD=1", "RECIPE=exp5"], [["train", "--recipe", "exp5", "--fold", "1"]]),
        (["train", "SET=seed=1 name='a b'"], [["train", "--set", "seed=1 name='a b'"]]),
        (["train", "SET="], [["train"]]),
        (["folds", "SET=seed=1", "FOLDS=3"], [["folds", "--set", "seed=1", "--folds", "3"]]),
        (["recipes"], [["recipes"]]),
        (["recipes", "RECIPE=exp5"], [["recipes", "exp5"]]),
        (["validate", "FILE=mine.csv"], [["validate", "mine.csv"]]),
        (["submit", "FILE=mine.csv", "TO=kaggle"], [["submit", "--to", "kaggle", "--file", "mine.csv"]]),
        (["compare", "RUNS=exp2 exp5", "DATA=x"], [["compare", "exp2", "exp5", "--data", "x"]]),
        (["view", "IMAGE=a.dcm"], [["view", "a.dcm"]]),
        (["stats", "DATA=my data"], [["stats", "--data", "my data"]]),
        (["stats", "DATA=it's, $$HOME"], [["stats", "--data", "it's, $HOME"]]),
        (["scores", "ARGS=--one --two"], [["scores", "--one", "--two"]]),
        (["kernel", "kernel-check", "push"], [["kernel", "build"], ["kernel", "check"], ["kernel", "push"]]),
    ],
)
def test_a_verb_gets_what_is_given(make, given, wanted):
    code, calls, errors = make(*given)
    assert (code, calls, errors) == (0, wanted, "")


def test_of_several_verbs_each_gets_what_it_takes(make):
    code, calls, _ = make("folds", "train", "submit", "RECIPE=exp5", "TO=local", "FOLDS=2")
    assert code == 0
    assert calls == [
        ["folds", "--recipe", "exp5", "--folds", "2"],
        ["train", "--recipe", "exp5"],
        ["submit", "--recipe", "exp5", "--to", "local"],
    ]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["train", "RECIPIE=exp5"], "make train takes no RECIPIE; did you mean RECIPE?"),
        (["folds", "train", "data=../siim"], "make folds train takes no data; did you mean DATA?"),
        (["submit", "FIEL=mine.csv", "TO=kaggle"], "make submit takes no FIEL; did you mean FILE?"),
        (["train", "FODL=1"], "make train takes no FODL; did you mean FOLD?"),
        (["stats", "RECIPE=exp5"], "make stats takes no RECIPE"),
        (["train", "FILE=mine.csv"], "make train takes no FILE"),
        (["scores", "XYZZY=1"], "make scores takes no XYZZY (it takes ARGS)"),
        (["lint", "DATA=x"], "make lint takes no DATA (it takes none)"),
        (["DATA=x"], "make help takes no DATA"),
        (["trian"], "there is no verb trian; did you mean train?"),
        (["submit", "FILE=", "TO=kaggle"], "FILE= is given without a value"),
        (["train", "RECIPE="], "RECIPE= is given without a value"),
    ],
)
def test_what_no_verb_takes_is_an_error_before_anything_runs(make, given, complaint):
    code, calls, errors = make(*given)
    assert (code, calls) == (2, [])
    assert complaint in errors
    assert len(errors.splitlines()) == 1


def test_the_environment_changes_nothing_and_is_warned_about(make):
    code, calls, errors = make("submit", FILE="mine.csv", FOLDS="3")
    assert (code, calls) == (0, [["submit"]])
    assert "FILE of the environment is ignored: give it after `make submit`" in errors
    assert "FOLDS" not in errors


def test_clean_takes_the_drawn_demo_and_leaves_real_data_alone(make, place):
    folders = [place / folder / name for folder in ("data", "data/cache", "runs") for name in ("demo", "siim")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "file").touch()
    assert make("clean")[0] == 0
    assert all(folder.exists() for folder in folders)
    shutil.rmtree(place / "data/demo")
    phantom.write(place / "data/demo", train=1, test=1, size=64)
    assert make("clean")[0] == 0
    assert [folder.name for folder in folders if folder.exists()] == ["siim"] * 3
