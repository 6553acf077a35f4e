"""What every test stands on; helpers of more than one room lie in `support/`."""

import ctypes
import logging
import platform
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parent / "support"))

from command_line import kit, working_folder
from kaggle_fixtures import client, competition, csv, home, impatient, kaggle
from slow_rules import problem, slow
from tiny_recipes import tiny_competition, tiny_folder

from kit import phantom
from kit.competition import layout

__all__ = ["client", "competition", "csv", "home", "impatient", "kaggle", "kit", "phantoms", "problem", "slow"]
__all__ += ["tiny_competition", "tiny_folder", "working_folder"]

SLOW = (
    "docs",
    "faults",
    "kaggle",
    "kernel",
    "phantom",
    "report",
    "reproduce",
    "submissions",
    "training/stage",
    "workflows",
    "cli",
    "competition/test_broken_dicom.py",
    "core/test_compiled.py",
    "inference/test_export.py",
    "inference/test_model_file.py",
    "inference/test_predict.py",
    "inference/test_thresholds_file.py",
    "thresholds/test_cleaning.py",
    "thresholds/test_gate.py",
    "thresholds/test_honesty.py",
    "thresholds/test_matching.py",
    "thresholds/test_search.py",
    "test_bench.py",
    "test_face.py",
    "test_makefile.py",
    "test_networks.py",
    "test_package.py",
)
"""Files and folders of tests that train, draw, wait or start processes; `make test-fast` does without them."""
LONG = (
    "docs/test_no_gpu.py",
    "faults/test_changes.py",
    "faults/test_documents.py",
    "faults/test_every_operation.py",
    "faults/test_full_disk.py",
    "faults/test_many_processes.py",
    "kaggle/test_kills.py",
    "kernel/push/test_training.py",
    "kernel/test_notebook.py",
    "kernel/test_rehearsal.py",
    "kernel/test_train_rehearsal.py",
    "report/test_browser.py",
    "thresholds/test_honesty.py",
    "workflows/test_jobs.py",
    "workflows/test_learning.py",
)
"""Slow tests that loop over faults, kills or simulated data sets, rehearse whole kernels, train in several processes or
drive a browser; `make test-long` runs them alone."""


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Does not even import what `make test-fast` does without."""
    here = Path(__file__).parent
    skipped = config.option.markexpr == "not slow" and collection_path in [here / place for place in SLOW]
    return True if skipped else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        for marker, places in (("slow", SLOW), ("long", LONG)):
            if any(item.path.is_relative_to(here / place) for place in places):
                item.add_marker(marker)
    # What is quick comes last, so that no process waits for another that has begun a slow file at the end.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


# The networks of the tests are tiny: a second thread would only wait for the first.
torch.set_num_threads(1)


# Tests press Ctrl-C, which the background of a shell ignores, and so would all processes started there.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """What a verb run within a test sets of the kit's log ends with the test."""
    log = logging.getLogger("kit")
    level, handlers = log.level, log.handlers[:]
    yield
    log.setLevel(level)
    log.handlers[:] = handlers


@pytest.fixture(scope="module", autouse=True)
def freed_memory() -> Iterator[None]:
    """What the tests of a file have freed goes back to the system, which `kit.core.allocator` keeps it from."""
    yield
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error) -> None:
    """Says how a worker of xdist died, which itself says only that one did: -9 is what the system does for memory."""
    if error:
        process = node.gateway._io.popen
        sys.stderr.write(f"\nworker {node.gateway.id} ended with {process.wait(10)}\n")


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> layout.Competition:
    """A small phantom competition, to be read only."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    phantom.write(folder, train=40, test=8, size=128, seed=1)
    return layout.open_folder(folder)
