"""`make bench`: ours, the reference and the limit in one run, the bottleneck named, and every goal that was missed.

Each `bench_*.py` here has a function `rows()` that gives a `measure.Row` a measurement. Names given on the command line
(`make bench ARGS="rle training"`) run those alone.
"""

import importlib
import os
import platform
import sys
import time
from pathlib import Path

from kit.core.progress import progress

COLUMNS = ["what", "ours: median [quartiles]", "processor", "reference", "×", "limit", "of it", "bottleneck"]


def main(wanted: list[str]) -> None:
    """Runs the benchmarks of these names, or all, and prints a Markdown table."""
    known = sorted(file.stem.removeprefix("bench_") for file in Path(__file__).parent.glob("bench_*.py"))
    if strange := sorted(set(wanted) - set(known)):
        sys.exit(f"no such benchmark: {', '.join(strange)}: choose from {', '.join(known)}")
    seconds, rows = {}, []
    for name in progress([name for name in known if name in wanted or not wanted], "measuring", unit="part"):
        began = time.monotonic()
        rows += importlib.import_module(f"tests.bench.bench_{name}").rows()
        seconds[name] = time.monotonic() - began
    parts = ", ".join(f"{name} {took:.0f} s" for name, took in seconds.items())
    print(f"{_processor()}, {os.cpu_count()} cores; {sum(seconds.values()):.0f} s: {parts}\n")
    for cells in (COLUMNS, ["---"] * len(COLUMNS), *(row.cells() for row in rows)):
        print(f"| {' | '.join(cells)} |")
    missed = [row.missed for row in rows if row.missed]
    print("\nGoals not reached:" if missed else "\nEvery goal is reached.")
    for line in missed:
        print(f"- {line}")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


main(sys.argv[1:])
