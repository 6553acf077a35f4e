"""make passes each verb of the kit the variables and options that it takes, and refuses those that none takes."""

import re
import shutil

import pytest
import typer
from make_calls import MAKEFILE, call, ready_folder

from kit import phantom
from kit.cli import app, make
from reproduce import __main__ as reproduced

OTHERS = dict(
    other.split(":")
    for other in re.search(r"OTHERS := ((?:.*\\\n)*.*)", MAKEFILE.read_text())[1].split()
    if ":" in other
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return ready_folder(tmp_path_factory.mktemp("make"))


def test_every_verb_is_in_make_and_on_its_page():
    commands = {verb.name for verb in (*app.registered_commands, *app.registered_groups)}
    table = (MAKEFILE.parent / "docs/reference/make.md").read_text().partition("\n## ")[0]
    documented = {
        name
        for line in table.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`([\w-]+)(?: [^`]*)?`", line.split("|")[1])
    }
    rules = {
        name
        for names in re.findall(r"^([\w -]+):(?! *=)", MAKEFILE.read_text(), re.MULTILINE)
        for name in names.split()
    }
    assert set(OTHERS) == rules - {"checked"}
    assert not commands & set(OTHERS)
    assert commands <= documented <= commands | set(OTHERS) | set(make.SPELLINGS)


@pytest.mark.parametrize("verb", [verb.name for verb in reproduced.app.registered_commands])
def test_make_lists_the_variables_of_the_verbs_of_reproduce(verb):
    command = typer.main.get_command(reproduced.app).commands[verb]
    assert set(OTHERS[verb].split(",")) - {"ARGS"} == set(make.variables(command))


@pytest.fixture
def called(place, monkeypatch, caplog):
    def run(*words, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        code, lines, errors = call(place, *words)
        return code, lines, errors + caplog.text

    return run


@pytest.mark.parametrize("verb", ["experiments", "study", "claims", "curve"])
def test_verbs_of_reproduce_get_their_variables(called, verb):
    code, calls, _ = called(verb, "DATA=x", "SET=seed=1 a='b c'")
    assert (code, calls) == (0, [[verb, "--data", "x", "--set", "seed=1 a='b c'"]])


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["train"], [["train"]]),
        (["train", "FOLD=1", "RECIPE=exp5"], [["train", "--recipe", "exp5", "--fold", "1"]]),
        (["train", "ON=kaggle", "ARGS=--no-wait"], [["train", "--on", "kaggle", "--no-wait"]]),
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
        (["scores", "ARGS=--quiet --verbose"], [["scores", "--quiet", "--verbose"]]),
        (["folds", "train", "ARGS=--jobs 2 --allow-missing"], [["folds", "--allow-missing"], ["train", "--jobs", "2"]]),
        (["train", "ARGS=--help"], [["train", "--help"]]),
        (["train", "test", "ARGS=-k x --jobs=2"], [["train", "--jobs=2"]]),
        (["view", "ARGS=a.dcm 'b c.dcm' --out o"], [["view", "a.dcm", "b c.dcm", "--out", "o"]]),
        (
            ["kernel", "kernel-check", "ARGS=--gpu --time-limit 60 --images i"],
            [["kernel", "build", "--gpu", "--time-limit", "60"], ["kernel", "check", "--images", "i"]],
        ),
        (["kernel", "kernel-check", "push"], [["kernel", "build"], ["kernel", "check"], ["kernel", "push"]]),
    ],
)
def test_a_verb_gets_its_variables(called, given, wanted):
    code, calls, errors = called(*given)
    assert (code, calls, errors) == (0, wanted, "")


def test_each_of_several_verbs_gets_its_variables(called):
    code, calls, _ = called("folds", "train", "submit", "RECIPE=exp5", "TO=local", "FOLDS=2")
    assert code == 0
    assert calls == [
        ["folds", "--recipe", "exp5", "--folds", "2"],
        ["train", "--recipe", "exp5"],
        ["submit", "--recipe", "exp5", "--to", "local"],
    ]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["train", "RECIPIE=exp5"], "make train does not take RECIPIE; did you mean RECIPE?"),
        (["folds", "train", "data=../siim"], "make folds train does not take data; did you mean DATA?"),
        (["submit", "FIEL=mine.csv", "TO=kaggle"], "make submit does not take FIEL; did you mean FILE?"),
        (["train", "FODL=1"], "make train does not take FODL; did you mean FOLD?"),
        (["stats", "RECIPE=exp5"], "make stats does not take RECIPE"),
        (["train", "RECIPES=exp5"], "make train does not take RECIPES; did you mean RECIPE?"),
        (["folds", "train", "FILE=mine.csv"], "does not take FILE (it takes DATA RECIPE SET FOLDS FOLD"),
        (["train", "lint", "FILE=mine.csv"], "make train lint does not take FILE"),
        (["folds", "train", "submit", "FILE=mine.csv"], "make folds train submit does not take FILE: submit would use"),
        (["curve", "ARGS=--jbos 2"], "make curve does not take --jbos; did you mean --jobs?"),
        (["folds", "trian"], "there is no verb trian; did you mean train?"),
        (["tset"], "there is no verb tset; did you mean test?"),
        (["validate", "stats", "FILE=mine.csv"], "make validate stats does not take FILE: validate would use"),
        (["folds", "train", "ARGS=--jbos 2"], "make folds train does not take --jbos; did you mean --jobs?"),
        (["folds", "train", "ARGS=again"], "make folds train does not take again"),
        (["lint", "ARGS=x"], "make lint does not take ARGS"),
        (["compare", "RUNS=exp2 'exp5"], "RUNS=exp2 'exp5: is not a list of words: No closing quotation"),
        (["scores", "XYZZY=1"], "make scores does not take XYZZY (it takes ARGS)"),
        (["lint", "DATA=x"], "make lint does not take DATA (it takes no variable)"),
        (["DATA=x"], "make help does not take DATA"),
        (["submit", "FILE=", "TO=kaggle"], "FILE= is empty: give it a value, or leave it out"),
        (["train", "RECIPE="], "RECIPE= is empty"),
    ],
)
def test_a_variable_that_no_verb_takes_is_an_error_before_anything_runs(called, given, complaint):
    code, calls, errors = called(*given)
    assert (code, calls) == (2, [])
    assert complaint in errors
    assert len(errors.splitlines()) == 1


def test_the_environment_changes_nothing_and_is_warned_about(called):
    code, calls, errors = called("submit", FILE="mine.csv", FOLDS="3")
    assert (code, calls) == (0, [["submit"]])
    assert "FILE of the environment is ignored: give it after `make submit`" in errors
    assert "FOLDS" not in errors


def test_clean_removes_the_drawn_demo_and_keeps_real_data(called, place):
    folders = [place / folder / name for folder in ("data", "data/cache", "runs") for name in ("demo", "siim")]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "file").touch()
    assert called("clean")[0] == 0
    assert all(folder.exists() for folder in folders)
    shutil.rmtree(place / "data/demo")
    phantom.write(place / "data/demo", train=1, test=1, size=64)
    assert called("clean")[0] == 0
    assert [folder.name for folder in folders if folder.exists()] == ["siim"] * 3
