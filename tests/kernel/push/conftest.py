"""A kernel to push, and the fake Kaggle that runs it."""

import made_kernel
import pytest

from kit.kaggle import dataset
from kit.kaggle.client import connect
from kit.kernel import push


@pytest.fixture
def site(kaggle, csv, monkeypatch):
    monkeypatch.setattr(push, "POLL", 0.01)
    monkeypatch.setattr(dataset, "POLL", 0.01)
    kaggle.run_kernel = lambda request: {"other.txt": b"x", "submission.csv": csv.read_bytes()}
    return kaggle


@pytest.fixture
def kernel(home):
    return made_kernel.write()


@pytest.fixture
def go(site, impatient, kernel, competition):
    told = []

    def call():
        return push.push(connect(timeout=0.5), kernel, "ada", competition, told.append)[0]

    call.told = told
    return call
