"""What lies beside a fold file: typed, or refused with its name, its key and what was expected."""

import json

from kit.data import folds
from kit.data.folds import Split

MADE = {"labels": "0" * 64, "content": "1" * 64, "data": "/tiny", "folds": None, "holdout": 0.2, "seed": 3}


def write(folder, content):
    (folder / "tiny.origin.json").write_text(json.dumps(content))
    return folder / "tiny.csv"


def test_what_was_written_is_read(tmp_path):
    path = write(tmp_path, MADE | {"images": 5})
    assert folds.made_as(path) == Split(holdout=0.2, seed=3)


def test_of_a_file_by_hand_nothing_is_known(tmp_path):
    assert folds.made_as(tmp_path / "tiny.csv") is None
