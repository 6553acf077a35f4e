"""A verb that computes nothing starts at once: it loads none of the libraries that take a second or more."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kit

HEAVY = {"torch", "torchvision", "timm", "sklearn", "scipy", "pandas", "matplotlib", "numba", "albumentations"}


@pytest.mark.parametrize(
    "verb",
    [
        "scores",
        "validate mine.csv",
        "folds --help",
        "recipes",
        "download --competition none",
        "--make train lint: train FILE=x",
    ],
)
def test_it_loads_nothing_heavy(verb, tmp_path):
    (tmp_path / "mine.csv").write_text("ImageId,EncodedPixels\na,-1\n")
    script = "import sys\nfrom kit.cli import main\ntry: main()\nfinally: print('loaded', *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script, *verb.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(kit.__file__).parents[1]), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 2), done.stderr
    loaded = done.stdout.rpartition("loaded ")[2].split()
    assert "kit.cli.app" in loaded
    assert HEAVY.isdisjoint(loaded)
