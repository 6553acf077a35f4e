"""A verb that computes nothing starts at once, without the libraries that take a second or more to load."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kit

HEAVY = {"torch", "torchvision", "timm", "sklearn", "scipy", "pandas", "matplotlib", "numba", "albumentations"}


VERBS = [
    "scores",
    "validate mine.csv",
    "folds --help",
    "recipes",
    "download --competition none",
    "--make train lint: train FILE=x",
]
REFUSED = [
    "train --data tiny --recipe demo",
    "train --data tiny --recipe demo --on kaggle --source a/b",
    "predict --data tiny --recipe demo",
    "report --data tiny --recipe demo",
    "compare a b --data tiny",
]
"""Calls that must fail, since a run or its folds are missing."""
SCRIPT = """
import sys
from kit.cli import main
for verb in {verbs}:
    sys.argv = ["kit", *verb.split()]
    try: main()
    except SystemExit as end:
        print("ended", end.code or 0, sorted({heavy} & set(sys.modules)), "kit.cli.app" in sys.modules)
"""


@pytest.mark.parametrize(("verbs", "heavy"), [(VERBS, HEAVY), (REFUSED, {"torch", "torchvision", "timm"})])
def test_it_loads_nothing_heavy(tmp_path, phantoms, verbs, heavy):
    (tmp_path / "mine.csv").write_text("ImageId,EncodedPixels\na,-1\n")
    (tmp_path / "tiny").symlink_to(phantoms.folder)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(verbs=verbs, heavy=heavy)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(kit.__file__).parents[1]), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    ended = [line for line in done.stdout.splitlines() if line.startswith("ended ")]
    assert len(ended) == len(verbs), done.stderr
    assert set(ended) <= {"ended 0 [] True", "ended 2 [] True"}, done.stderr
