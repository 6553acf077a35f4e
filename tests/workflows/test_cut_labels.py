"""A truncated label file, or one of other images: every verb that reads it refuses it in one line."""

import shutil

import pytest

from kit import phantom, recipes
from kit.workflows.folds import make_folds
from kit.workflows.workspace import Workspace

VERBS = {
    "folds": ["folds", "--data", "tiny"],
    "stats": ["stats", "--data", "tiny"],
    "check": ["check", "tiny"],
    "import": ["import", "tiny", "--out", "copy"],
    "train": ["train", "--data", "tiny"],
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A folder with a small data set and its folds."""
    folder = tmp_path_factory.mktemp("whole")
    phantom.write(folder / "tiny", train=12, test=2, size=64, seed=2)
    make_folds(Workspace(folder), folder / "tiny", recipes.load("demo"), count=2)
    return folder


@pytest.fixture
def working_folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path, dirs_exist_ok=True)


def rows(tmp_path):
    """Returns the path of the label file, and its lines with the longest row last."""
    path = tmp_path / "tiny" / "train-rle.csv"
    header, *rows = path.read_text().splitlines(keepends=True)
    return path, [header, *sorted(rows, key=len)]


def refused(kit, verb, said, listed=""):
    """Asserts that a verb fails with one line; `check` lists the problems before its line."""
    code, out, errors = kit(*VERBS[verb])
    lines = [line for line in errors.splitlines() if line.startswith("kit: ")]
    assert (code, len(lines)) == (2, 1), errors
    if verb == "check" and listed:
        assert listed in out, out
    else:
        assert all(words in lines[0] for words in ("train-rle.csv", said)), lines


@pytest.mark.parametrize("verb", VERBS)
def test_a_row_that_was_cut_is_refused(kit, tmp_path, verb):
    path, table = rows(tmp_path)
    text = "".join(table).rstrip("\n")
    path.write_text(text[: text.rindex(" ")])
    refused(kit, verb, "was the file cut?", "has a gap but no length")


@pytest.mark.parametrize("verb", VERBS)
def test_rows_of_unknown_images_are_refused(kit, tmp_path, verb):
    path, table = rows(tmp_path)
    path.write_text("".join([*table, "somebody, -1\n", "else, 3 4\n"]))
    said = "has changed since the folds were made" if verb == "train" else "2 of 14 labelled images have no"
    refused(kit, verb, said, "has label rows, but no file")


def test_a_cut_between_rows_leaves_images_without_labels(kit, tmp_path, caplog):
    path, (header, *table) = rows(tmp_path)
    path.write_text("".join([header, *table[3:]]))  # the shortest are of negative images, which have one each
    assert kit("folds", "--data", "tiny", "--out", "new.csv", "--folds", "2")[0] == 0
    assert "3 of 12 training images have no row there, and are left out" in caplog.text
