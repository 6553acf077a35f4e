"""The command line: version, levels of output, mistyped words, and signals."""

import errno
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import kit as package
from kit.cli.process import stoppable

HERE = os.environ | {"PYTHONPATH": str(Path(package.__file__).parents[1])}


def test_version(kit):
    assert kit("--version") == (0, f"kit {package.__version__}\n", "")


def test_a_call_from_make_is_run(kit):
    code, out, _ = kit("--make", "recipes lint", "lint:", "recipes", "RECIPE=demo", "SET=seed=7", "--", "--quiet")
    assert code == 0
    assert "\nseed: 7\n" in out
    assert kit("--make", "recipes lint", "lint:", "checked", "RECIPE=demo") == (0, "", "")


def test_without_a_verb_it_prints_the_help(kit):
    code, out, _ = kit()
    assert code == 0
    assert "thresholds" in out
    assert "<bool>" not in out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["train", "--recipie", "exp5"], "--recipe"),
        (["kernel", "biuld"], "Did you mean 'build'?"),
        (["recipes", "snedy"], "no such recipe; did you mean sneddy?"),
        (
            ["recipes", "demo", "--set", "stages.0.epoch=1"],
            "stages.0.epoch: is not a key of a recipe; did you mean epochs?",
        ),
        (["recipes", "demo", "--set", "stage.0.epochs=1"], "stage: is not a key of a recipe; did you mean stages?"),
        (["train", "--fold", "one"], "--fold one: is not a whole number (see `kit train --help`)"),
        (["folds", "--holdout=x"], "--holdout=x: is not a number (see `kit folds --help`)"),
        (["--make", "folds", "lint:", "folds", "FOLDS=two"], "kit: FOLDS=two: is not a whole number\n"),
        (["--make", "compare", "lint:", "compare"], "kit: make compare: give RUNS=…\n"),
        (["submit", "--to", "kaggle"], "--to kaggle: give the competition's folder"),
        (["--make", "folds train", "lint:", "folds", "FILE=x"], "make folds train does not take FILE"),
        (["submit", "--to", "kaggle", "--file", "mine.csv"], "--to kaggle: give the competition's folder"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(kit, arguments, complaint):
    code, out, errors = kit(*arguments)
    assert (code, out) == (2, "")
    assert complaint in errors
    assert errors.startswith("kit: ")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["thresholds", "--folds", "f.csv"], "--folds: does nothing without --maps: leave it out, or give --maps"),
        (["thresholds", "--masks", "m.npy"], "--masks: does nothing without --maps: leave it out, or give --maps"),
        *[
            (
                ["thresholds", "--maps", "m.npy", "--masks", "m.npy", "--out", "o", *words],
                f"{words[0]}: does nothing with --maps: leave one of them out",
            )
            for words in (["--recipe", "demo"], ["--set", "seed=1"], ["--data", "data/demo"])
        ],
        (["predict", "--out", "o"], "--out: does nothing without --images: leave it out, or give --images"),
        (["predict", "--trained-on", "x", "--images", "i"], "--images: does nothing with --trained-on: leave one of"),
        (["train", "--fold", "0", "--jobs", "2"], "--jobs: does nothing with --fold"),
        (["recipes", "--set", "seed=1"], "--set: does nothing without RECIPE: leave it out, or give RECIPE"),
        (["validate", "f.csv", "--sample", "s.csv", "--data", "d"], "--data: does nothing with --sample"),
        (["kernel", "build", "--run", "r", "--recipe", "demo"], "--recipe: does nothing with --run"),
        (["kernel", "push", "--run", "r", "--set", "seed=1"], "--set: does nothing with --run"),
        (["submit", "--yes"], "--yes: does nothing without --to kaggle: leave it out, or give --to kaggle"),
        (["submit", "--to", "local", "--kernel", "a/b/1"], "--kernel: does nothing without --to kaggle"),
        (["submit", "--file", "f.csv", "--recipe", "demo"], "--recipe: does nothing with --file"),
        (["download", "--dataset", "a/b", "--competition", "c"], "--competition: does nothing with --dataset"),
    ],
)
def test_an_option_without_an_effect_is_refused(kit, arguments, said, tmp_path):
    code, out, errors = kit(*arguments)
    assert (code, out) == (2, "")
    assert errors.startswith(f"kit: {said}")
    assert len(errors.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


VERBS_OF_A_RECIPE = ("folds", "train", "thresholds", "predict", "export", "report", "submit")


@pytest.mark.parametrize("verb", [*VERBS_OF_A_RECIPE, "kernel build", "kernel check", "kernel push", "view x"])
def test_other_data_than_the_demo_need_a_recipe(kit, verb, tmp_path):
    (tmp_path / "own").mkdir()
    code, out, errors = kit(*verb.split(), "--data", "own")
    assert (code, out) == (2, "")
    assert errors.startswith("kit: own: give a recipe with --recipe: exp5 with a GPU, small without ")
    assert "demo" not in errors
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    "verb",
    [
        *VERBS_OF_A_RECIPE[2:],
        "kernel build",
        "kernel check",
        "view x",
        "compare a b",
        "validate f.csv --data data/demo",
    ],
)
def test_a_verb_that_follows_a_training_draws_no_demo(kit, verb, tmp_path, monkeypatch):
    monkeypatch.setattr("kit.phantom.write", lambda *_: pytest.fail("draws the demo"))
    code, out, errors = kit(*verb.split())
    assert (code, out) == (2, "")
    assert errors.startswith("kit: data/demo: there is no demo yet: `kit folds")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("verb", "given", "by_kit", "by_make"),
    [
        ("train", {"--data": "own"}, "give a recipe with --recipe: exp5 ", "give a recipe with RECIPE=: exp5 "),
        ("import", {"own": "own"}, "Missing option '--out'. (see `kit import --help`)", "make import: give OUT=…"),
        ("compare", {}, "Missing argument", "make compare: give RUNS=…"),
        ("submit", {"--to": "kaggle"}, "--to kaggle: give the competition's folder with --data", "folder with DATA="),
        ("submit", {"--to": "kaggle"}, "--to kaggle: ", "TO=kaggle: give the competition's folder"),
        ("submit", {"--to": "kagle"}, "kit: --to kagle: choose local or", "kit: TO=kagle: choose local or"),
        ("train", {"--on": "kagle"}, "kit: --on kagle: choose", "kit: ON=kagle: choose"),
        ("predict", {"--save": "dicom-sek"}, "--save dicom-sek: is none", 'ARGS="--save dicom-sek": is none'),
        ("folds", {"--folds": "2", "--holdout": "0.1"}, "--folds 2 --holdout 0.1: ", 'FOLDS=2 ARGS="--holdout 0.1": '),
        (
            "report",
            {"--data": "tiny", "--recipe": "demo", "--set": "name=a seed=1"},
            "run `kit train --data tiny --recipe demo --set 'name=a seed=1'` first",
            'run `make train DATA=tiny RECIPE=demo SET="name=a seed=1"` first',
        ),
        (
            "train",
            {"--data": "tiny", "--recipe": "demo"},
            "run `kit folds --data tiny --recipe demo` with this recipe first",
            "run `make folds DATA=tiny RECIPE=demo` with this recipe first",
        ),
        ("compare", {"a": "a"}, "no demo yet: `kit folds && kit train` draws", "no demo yet: `make folds train` draws"),
        ("recipes", {"a.yaml": "a.yaml"}, "see `kit recipes exp5`", "see `make recipes RECIPE=exp5`"),
    ],
)
def test_commands_and_options_are_spelled_as_typed(kit, tmp_path, phantoms, verb, given, by_kit, by_make):
    (tmp_path / "own").mkdir()
    (tmp_path / "tiny").symlink_to(phantoms.folder)
    (tmp_path / "a.yaml").write_text("[]")
    words = [word for name, value in given.items() for word in ([name, value] if name != value else [value])]
    assert by_kit in kit(verb, *words)[2]
    assert by_make in kit("--make", verb, "", verb, "--", *words)[2]


def test_the_next_command_works_word_for_word(kit, phantoms):
    for arguments in (["check", phantoms.folder], ["--make", "check", "", "check", f"DATA={phantoms.folder}"]):
        (told,) = kit(*arguments)[1].strip().rpartition("next: ")[2:]
        first = told.partition(" && ")[0].split()
        if first[0] == "make":
            goals, given = [word for word in first[1:] if "=" not in word], [word for word in first if "=" in word]
            assert goals == ["folds", "train"]
            assert kit("--make", " ".join(goals), "", "folds", *given)[0] == 0
        else:
            assert kit(*first[1:])[0] == 0


class TestValidate:
    @pytest.fixture(autouse=True)
    def files(self, tmp_path):
        (tmp_path / "sample.csv").write_text("ImageId,EncodedPixels\na,-1\nb,-1\n")
        (tmp_path / "mine.csv").write_text("ImageId,EncodedPixels\nx,-1\n")

    def test_without_data_it_checks_the_form_alone_and_says_so(self, kit, tmp_path):
        code, out, _ = kit("validate", "mine.csv")
        assert code == 0
        assert out.startswith("mine.csv: valid\nchecked: its form alone, ")
        assert not (tmp_path / "data").exists()

    def test_it_says_what_it_compares_the_file_with(self, kit):
        code, out, _ = kit("validate", "mine.csv", "--sample", "sample.csv")
        assert code == 2
        assert out.endswith("\nchecked: form and ids, against sample.csv\n")

    def test_of_many_problems_it_prints_twenty_and_a_count(self, kit, tmp_path):
        (tmp_path / "mine.csv").write_text("ImageId,EncodedPixels\n" + "".join(f"x{n},?\n" for n in range(1000)))
        code, out, _ = kit("validate", "mine.csv")
        assert code == 2
        assert len(out.splitlines()) == 22
        assert "\nand 980 more problems\n" in out


def test_a_full_disk_is_one_line(kit, monkeypatch):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x.npy")

    monkeypatch.setattr("kit.recipes.names", full)
    assert kit("recipes")[::2] == (2, "kit: runs/x.npy: the disk is full: make room, then run the same command again\n")


def test_set_may_be_repeated_and_its_values_may_hold_spaces(kit):
    code, out, _ = kit(
        "recipes", "demo", "--set", "seed=3 precision=32-true", "--set", "network.encoder_weights=my w.pt"
    )
    assert code == 0
    assert "\nseed: 3\n" in out
    assert "precision: 32-true" in out
    assert "encoder_weights: my w.pt" in out


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        (["recipes"], logging.INFO),
        (["recipes", "--quiet"], logging.WARNING),
        (["--quiet", "recipes"], logging.WARNING),
        (["recipes", "--verbose"], logging.DEBUG),
    ],
)
def test_levels_of_output(kit, arguments, level):
    assert kit(*arguments)[0] == 0
    assert logging.getLogger("kit").level == level


def test_verbose_shows_where_an_error_came_from(kit, caplog):
    code, _, errors = kit("recipes", "exp99", "--verbose")
    assert code == 2
    assert errors.endswith("or the path of a .yaml file\n")
    assert "Traceback" in caplog.text


def test_all_processes_but_the_first_are_silent(kit, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    code, out, _ = kit("recipes", "--verbose")
    assert (code, out) == (0, "")
    assert logging.getLogger("kit").level == logging.CRITICAL


def test_a_shell_can_complete_options(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "kit"],
        env=HERE | {"_KIT_COMPLETE": "complete_bash", "COMP_WORDS": "kit recipes --s", "COMP_CWORD": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["--set"]


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_says_how_to_resume(number, code, word, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-m", "kit", "demo", "--out", "d", "--train", "100000"],
        cwd=tmp_path,
        env=HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not any(tmp_path.rglob("*")):  # it has begun
        assert process.poll() is None, process.communicate()
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code
    assert errors == f"\nkit: {word}: run the same command to resume\n"


def test_an_exception_during_cleanup_hides_no_signal():
    with pytest.raises(SystemExit) as ended, stoppable():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            raise RuntimeError("unexpected pos")  # as torch.save's archive does
    assert ended.value.code == 143
