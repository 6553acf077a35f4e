"""`kit.train`; a training by it runs in the tour (tests/docs/test_pages.py)."""

import logging
import sys
from pathlib import Path

import kit
from kit.core.progress import Bar, Lines, progress
from kit.run import Run
from kit.workflows import notebook


def test_it_makes_folds_trains_and_opens_the_run(monkeypatch, tmp_path, capsys):
    steps = []

    def made(workspace, data, recipe):
        steps.append(("folds", workspace.root, data, recipe.seed))
        logging.getLogger("kit.workflows").info("folds are made")

    def trained(workspace, job):
        steps.append(("train", workspace.root, job.data, job.recipe.seed))
        logging.getLogger("kit.workflows").info("trained")
        return Run(tmp_path / "run"), True

    monkeypatch.setattr(notebook, "make_folds", made)
    monkeypatch.setattr(notebook, "train_run", trained)
    monkeypatch.setattr(notebook, "load", lambda run: f"model of {run.folder.name}")
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # as in a notebook
    logger = logging.getLogger("kit")
    level = logger.level

    assert kit.train("data/tiny", "demo", "seed=7", workspace=tmp_path) == "model of run"
    assert steps == [(name, Path(tmp_path), "data/tiny", 7) for name in ("folds", "train")]
    assert capsys.readouterr().err == "folds are made\ntrained\n"
    assert (logger.handlers, logger.level) == ([], level)


def test_a_notebook_has_bars(monkeypatch):
    assert isinstance(progress([], "x"), Lines)
    monkeypatch.setitem(sys.modules, "ipykernel", None)
    assert type(progress([], "x")) is Bar
