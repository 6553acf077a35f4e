"""Compiled functions work without a writable cache."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_without_a_writable_cache_each_process_compiles(tmp_path):
    for name in ("__pycache__", "home"):
        (tmp_path / name).touch()  # files, below which nobody can write, not even root
    script = tmp_path / "script.py"
    script.write_text(
        "from kit.core.compiled import compiled\n"
        "@compiled()\n"
        "def double(value):\n"
        "    return 2 * value\n"
        "print(double(21))\n"
    )
    around = {key: value for key, value in os.environ.items() if not key.startswith(("NUMBA_", "XDG_"))}
    around |= {"HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], env=around, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("42\n", 0), done.stderr
