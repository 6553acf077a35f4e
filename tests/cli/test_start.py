"""A verb that computes nothing starts at once: it loads none of the libraries that take a second or more."""

import os
import subprocess
import sys
from pathlib import Path

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
SCRIPT = f"""
import sys
from kit.cli import main
for verb in {VERBS}:
    sys.argv = ["kit", *verb.split()]
    try: main()
    except SystemExit as end:
        print("ended", end.code or 0, sorted({HEAVY} & set(sys.modules)), "kit.cli.app" in sys.modules)
"""


def test_it_loads_nothing_heavy(tmp_path):
    (tmp_path / "mine.csv").write_text("ImageId,EncodedPixels\na,-1\n")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(kit.__file__).parents[1]), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    ended = [line for line in done.stdout.splitlines() if line.startswith("ended ")]
    assert len(ended) == len(VERBS), done.stderr
    assert set(ended) <= {"ended 0 [] True", "ended 2 [] True"}
