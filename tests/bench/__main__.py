"""`make bench`: ours, the reference and the limit in one run, the bottleneck named, and every goal that was missed.

Each `bench_*.py` here has a function `rows()` that gives a `measure.Row` a measurement. Names given on the command line
(`make bench ARGS="rle training"`) run those alone.
"""

import importlib
import os
import platform
import sys
import time
import traceback
from pathlib import Path

from kit.core.progress import progress

COLUMNS = ["what", "ours: median [quartiles]", "processor", "reference", "×", "limit", "of it", "bottleneck"]


def main(wanted: list[str]) -> None:
    """Runs the benchmarks of these names, or all, and prints a Markdown table as they end.

    One that fails is told at the end, and takes no other's rows with it.
    """
    known = sorted(file.stem.removeprefix("bench_") for file in Path(__file__).parent.glob("bench_*.py"))
    if strange := sorted(set(wanted) - set(known)):
        sys.exit(f"no such benchmark: {', '.join(strange)}: choose from {', '.join(known)}")
    seconds, missed, failed = {}, [], []
    print(f"{_processor()}, {os.cpu_count()} cores\n")
    for cells in (COLUMNS, ["---"] * len(COLUMNS)):
        print(f"| {' | '.join(cells)} |", flush=True)
    for name in progress([name for name in known if name in wanted or not wanted], "measuring", unit="part"):
        began = time.monotonic()
        try:
            for row in importlib.import_module(f"tests.bench.bench_{name}").rows():
                print(f"| {' | '.join(row.cells())} |", flush=True)
                missed += [row.missed] if row.missed else []
        except Exception:
            failed.append(f"{name} failed:\n{traceback.format_exc()}")
        seconds[name] = time.monotonic() - began
    parts = ", ".join(f"{name} {took:.0f} s" for name, took in seconds.items())
    print(f"\n{sum(seconds.values()):.0f} s: {parts}")
    if missed or not failed:
        print("\nGoals not reached:" if missed else "\nEvery goal is reached.")
    for line in missed:
        print(f"- {line}")
    if failed:
        sys.exit("\n".join(["", *failed]))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


main(sys.argv[1:])
