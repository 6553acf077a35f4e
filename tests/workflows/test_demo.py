"""The demo as a newcomer runs it, trained in full: it has to convince. `make test ARGS="-m demo"` runs it alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit.submissions import ledger

ROOT = Path(__file__).parents[2]


@pytest.mark.demo
def test_the_demo_scores_far_above_an_empty_submission(tmp_path):
    """The floor holds for any seed and any arithmetic; what was measured stands in docs/getting-started.md."""
    for verb in ("folds", "train", "submit"):
        subprocess.run(
            [sys.executable, "-m", "kit", verb], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True
        )
    found = json.loads((tmp_path / "runs/demo/demo/thresholds.json").read_text())
    assert found["nested_dice"] >= 0.90
    assert found["dice_positives"] >= 0.65
    assert found["dice_all_empty"] < 0.80
    (submitted,) = ledger.entries(tmp_path / "submissions/ledger.jsonl")
    assert submitted.public >= 0.87
    assert submitted.private >= 0.87
