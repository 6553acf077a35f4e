"""`make bench`: ours and the reference in one run, as a ratio, with the limit beside it.

Each `bench_*.py` here has a function `rows()` that gives a dict a measurement: `what`, `ours`, `reference`, `ratio`
and `limit`, all text. Names given on the command line (`make bench ARGS=rle`) run those alone.
"""

import importlib.util
import sys
from pathlib import Path

import pandas as pd

from kit.core.progress import progress

COLUMNS = ["what", "ours", "reference", "ratio", "limit"]


def main(wanted: list[str]) -> None:
    files = sorted(Path(__file__).parent.glob("bench_*.py"))
    chosen = [file for file in files if not wanted or file.stem.removeprefix("bench_") in wanted]
    if not chosen:
        sys.exit(f"no such benchmark: choose from {', '.join(file.stem.removeprefix('bench_') for file in files)}")
    rows = []
    for file in progress(chosen, "measuring", unit="file"):
        spec = importlib.util.spec_from_file_location(file.stem, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        rows += module.rows()
    print(pd.DataFrame(rows, columns=COLUMNS).fillna("").to_string(index=False))


main(sys.argv[1:])
