"""Paths of a run's files."""

import pytest

from kit import recipes
from kit.core.files import write_text
from kit.run import Run


@pytest.fixture
def run(tmp_path):
    """Two folds of two stages, and copies made by a person."""
    names = ["fold0/stage1", "fold0/stage2", "fold1/stage1", "fold1/stage2", "fold0-old/stage2", "fold1/stage2 (copy)"]
    for name in names:
        write_text(tmp_path / name / "weights.safetensors", "")
    for name in ("weights-2", "weights-old", "best"):
        write_text(tmp_path / f"fold0/stage2/{name}.safetensors", "")
    return Run(tmp_path)


def test_copies_of_folds_or_weights_are_ignored(run):
    assert run.finished_stages() == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert [path.relative_to(run.folder).as_posix() for path in run.final_weights(recipes.load("exp5"))] == [
        "fold0/stage2/weights-2.safetensors",
        "fold0/stage2/weights.safetensors",
        "fold1/stage2/weights.safetensors",
    ]
