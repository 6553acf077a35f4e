"""A small run and its kernel, and copies of both for tests that change them."""

import os
import shutil
from pathlib import Path

import pytest
import small_run

from kit.competition import layout
from kit.kernel import bundle
from kit.kernel.sandbox import can_isolate


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """A folder with data, a run, and its kernel."""
    here = tmp_path_factory.mktemp("kernel")
    run = small_run.write(here)
    before = Path.cwd()
    os.chdir(here)
    try:
        bundle.build(run, user="ada", competition="siim")
    finally:
        os.chdir(before)
    return here


@pytest.fixture
def here(built, tmp_path, monkeypatch):
    """A copy of that folder, which a test may change, as the working folder."""
    shutil.copytree(built, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def kernel(here):
    return bundle.kernel_of(small_run.Run(Path("runs/tiny/small")))


@pytest.fixture
def images(here):
    return layout.open_folder(Path("data/tiny")).test


@pytest.fixture
def isolated():
    if not can_isolate():
        pytest.skip("this system gives no namespaces")
