"""How soon a verb that needs no network begins: processor time of its whole process, against 1.5 s."""

import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.measure import REPEATS, Measure, Row

LIMIT = 1.5
VERBS = ("scores", "validate mine.csv", "folds --help", "recipes", "download --competition none")


def rows() -> list[Row]:
    """A row a verb; `download` ends where it finds no credentials."""
    return [
        Row(
            f"start of `kit {verb}`",
            _measure(verb.split()),
            limit=Measure((LIMIT,), (LIMIT,)),
            bound=f"{LIMIT} s of processor time",
            share=1.0,
            why="look for heavy imports with `python -X importtime`",
        )
        for verb in VERBS
    ]


def _measure(arguments: list[str]) -> Measure:
    walls, processors = [], []
    with TemporaryDirectory() as folder:
        (Path(folder) / "mine.csv").write_text("ImageId,EncodedPixels\na,-1\n")
        environment = {"PYTHONPATH": str(Path.cwd()), "HOME": folder, "PATH": "/usr/bin:/bin"}
        for _ in range(REPEATS):
            began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run(
                [sys.executable, "-m", "kit", *arguments], cwd=folder, env=environment, capture_output=True, check=False
            )
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            walls.append(time.perf_counter() - began)
            processors.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return Measure(tuple(walls), tuple(processors))
