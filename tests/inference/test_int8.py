"""Networks in 8 bits: the cases of `int8_cases.py`, here and in `workflows/`, each file in a process of its own.

A worker that had run hundreds of other tests was ended by the system (SIGSEGV, without a trace) within a second after
NNCF's in the same process, in about every second run of the suite; in processes of their own none was.
"""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("room", ["inference", "workflows"])
def test_every_case_passes_in_a_process_of_its_own(room):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", str(TESTS / room / "int8_cases.py")]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout
