"""Two processes make of a batch what one does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "support" / "two_processes.py"


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What one process alone has found, and what each of two."""
    folder = tmp_path_factory.mktemp("two")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for before in ([], launcher):
        done = subprocess.run(
            [sys.executable, *before, str(SCRIPT), str(folder)],
            env=os.environ | {"PYTHONPATH": str(SCRIPT.parents[2]), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"{name}.pt") for name in ("0-of-1", "0-of-2", "1-of-2")]


@pytest.mark.parametrize("case", ["image None", "image 1", "batch None", "batch 1"])
def test_loss_and_gradient_are_those_of_the_whole_batch(found, case):
    alone, *both = found
    for one in both:
        torch.testing.assert_close(one[case], alone[case], rtol=1e-4, atol=1e-7)


def test_batch_norm_of_an_average_is_shared(found):
    alone, *both = found
    assert [one["statistics"]["seen"] for one in found] == [8, 4, 4]
    for one in both:
        torch.testing.assert_close(one["statistics"]["mean"], alone["statistics"]["mean"])


def test_each_process_drops_out_by_itself_and_the_first_as_one_alone(found):
    alone, first, second = (one["dropout"] for one in found)
    assert torch.equal(first, alone)
    assert not torch.equal(second, alone)
