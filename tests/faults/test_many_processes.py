"""Several processes on one run: what they share, who writes, and what happens when one of them dies."""

import shutil
import signal

import numpy as np
import pandas as pd
import pytest
from faulty_disk import Fault, run, run_team
from safetensors.numpy import load_file

from kit import phantom

RECIPE = """
about: The smallest.
folds: {count: 2}
network: {encoder: tu-mobilenetv3_small_050, encoder_weights: null, decoder_channels: [8, 8, 8, 8, 8]}
stages:
  - {size: 32, epochs: 1, batch_size: 8}
"""
TRAIN = ["train", "--data", "tiny", "--recipe", "small.yaml", "--fold", "0"]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A run of one fold by one process: 14 images train, 13 validate, which neither 2 nor 4 processes share evenly."""
    work = tmp_path_factory.mktemp("alone") / "work"
    work.mkdir()
    phantom.write(work / "tiny", train=27, test=2, size=64, seed=2)
    (work / "small.yaml").write_text(RECIPE)
    assert run(work, ["folds", "--data", "tiny", "--recipe", "small.yaml"]).code == 0
    shutil.copytree(work, work.with_name("folds"))
    assert run(work, TRAIN).code == 0
    return work


def metrics(work) -> pd.DataFrame:
    return pd.read_csv(work / "runs/tiny/small/fold0/stage1/metrics.csv")


def assert_near(one: pd.DataFrame, other: pd.DataFrame) -> None:
    """On a CPU each process normalises batches by its own part: the losses of the epoch are near, and not equal."""
    assert one.columns.tolist() == other.columns.tolist()
    assert one.epoch.tolist() == other.epoch.tolist()
    assert abs(one.loss[0] - other.loss[0]) < 0.1 * one.loss[0]


def test_four_processes_share_the_maps_of_one_network_byte_for_byte(alone):
    work = shutil.copytree(alone, alone.with_name("maps"))
    made = {path.name: path.read_bytes() for path in (work / "runs/tiny/small/oof").iterdir() if path.name[0] != "."}
    shutil.rmtree(work / "runs/tiny/small/oof")
    for ended in run_team(work, TRAIN, [None] * 4):
        assert ended.code == 0, ended.said
    again = {path.name: path.read_bytes() for path in (work / "runs/tiny/small/oof").iterdir() if path.name[0] != "."}
    assert again == made


def test_two_processes_train_alike_each_time_and_nearly_as_one(alone):
    weights = []
    for number in range(2):
        work = shutil.copytree(alone.with_name("folds"), alone.with_name(f"two{number}"))
        first, second = run_team(work, TRAIN, [None, None])
        assert first.code == second.code == 0, first.said + second.said
        libraries = ("Initializing distributed", "[rank1]:[W", "[W")
        assert all(line.startswith(libraries) for line in second.said.splitlines()), second.said
        weights.append(load_file(work / "runs/tiny/small/fold0/stage1/weights.safetensors"))
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert_near(metrics(alone), metrics(work))


@pytest.mark.parametrize(("world", "rank", "at"), [(2, 0, 150), (2, 1, 8), (4, 3, 8)])
def test_when_a_process_dies_the_others_end_with_one_line_and_the_same_command_resumes(alone, world, rank, at):
    work = shutil.copytree(alone.with_name("folds"), alone.with_name(f"killed{world}-{rank}"))
    faults = [None] * world
    faults[rank] = Fault("signal", at, signal.SIGKILL)
    killed, *survivors = sorted(run_team(work, TRAIN, faults), key=lambda ended: ended.code)
    assert killed.code == -signal.SIGKILL
    for survivor in survivors:
        lines = [line for line in survivor.said.splitlines() if line.startswith("kit: ")]
        assert survivor.code == 2, survivor.said
        assert lines == ["kit: another process of this run has ended: see its message, then run the same command"]
        assert "Traceback" not in survivor.said
    for process in run_team(work, TRAIN, [None] * world):
        assert process.code == 0, process.said
    assert (work / "runs/tiny/small/oof/fold0.npy").is_file()
    assert_near(metrics(alone), metrics(work))
