import subprocess
import sys
from pathlib import Path


def test_killed_submissions_and_pushes_take_effect_once(home):
    """A short run; `python tests/kaggle/kills.py 100` is the long one."""
    script = Path(__file__).with_name("kills.py")
    done = subprocess.run([sys.executable, str(script), "4"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("{'submit': ")
