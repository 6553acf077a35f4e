"""What trackers are told of a stage: by packages that stand in for theirs, and write down what they are called with."""

import sys
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest

from kit import recipes
from kit.core.errors import KitError
from kit.training import loggers

PNG = cv2.imencode(".png", np.arange(12, dtype=np.uint8).reshape(3, 4))[1].tobytes()


class Told:
    """Takes any call, and remembers name and arguments."""

    def __init__(self, **answers):
        self.calls, self._answers = [], answers

    def __getattr__(self, name):
        def call(*arguments, **options):
            self.calls.append((name, arguments, options))
            return self._answers.get(name)

        return call

    def of(self, *names):
        return [(name, arguments, options) for name, arguments, options in self.calls if name in names]


def install(monkeypatch, name, **content):
    module = ModuleType(name)
    module.__spec__ = SimpleNamespace(name=name)
    vars(module).update(content)
    monkeypatch.setitem(sys.modules, name, module)


def follow(folder, tracker, first=1):
    """An epoch of a stage."""
    curves = loggers.opened(folder / "runs/siim/exp5/fold0/stage2", recipes.load("exp5"), first, tracker)
    for logger in curves:
        logger.add_scalar("loss", 0.5, first)
        logger.add_image("cases", PNG, first)
        logger.close()
    return curves


def test_wandb_has_a_run_a_stage_that_a_resumed_one_goes_on_with(monkeypatch, tmp_path):
    run, began = Told(), []
    install(monkeypatch, "wandb", init=lambda **options: began.append(options) or run, Image=lambda image: image.size)
    for first in (1, 3):
        follow(tmp_path, "wandb", first)
    assert {options["id"] for options in began} == {"siim-exp5-fold0-stage2"}
    assert [options["resume"] for options in began] == [None, "allow"]
    assert began[0]["config"]["network"]["encoder"] == "resnet34"
    assert run.of("log", "finish") == [
        call
        for step in (1, 3)
        for call in (
            ("log", ({"loss": 0.5},), {"step": step}),
            ("log", ({"cases": (4, 3)},), {"step": step}),
            ("finish", (), {}),
        )
    ]


def test_a_tracker_that_is_lost_costs_its_curves_alone(monkeypatch, tmp_path, caplog):
    class Gone(Told):
        def log(self, *_, **__):
            raise ConnectionError("no route\n to host")

    run = Gone()
    install(monkeypatch, "wandb", init=lambda **_: run, Image=lambda image: image)
    follow(tmp_path, "wandb")
    assert caplog.messages == ["--logger wandb: lost (no route to host): the training goes on, TensorBoard has all"]
    assert run.calls == []  # not closed either: that would wait for the server
    assert list((tmp_path / "runs/siim/exp5/fold0/stage2/tensorboard").iterdir())


def test_mlflow_has_a_run_a_stage_that_a_resumed_one_goes_on_with(monkeypatch, tmp_path):
    stored = SimpleNamespace(info=SimpleNamespace(run_id="a-run"))
    client = Told(get_experiment_by_name=SimpleNamespace(experiment_id="7"), create_run=stored, search_runs=[stored])
    install(monkeypatch, "mlflow", MlflowClient=lambda: client)
    for first in (1, 3):
        follow(tmp_path, "mlflow", first)
    [(_, arguments, options)] = client.of("create_run")
    assert arguments == ("7",)
    assert options["run_name"] == "siim/exp5/fold0/stage2"
    assert [(*arguments, options["step"]) for _, arguments, options in client.of("log_metric")] == [
        ("a-run", "loss", 0.5, 1),
        ("a-run", "loss", 0.5, 3),
    ]
    [first, *_] = client.of("log_image")
    assert (first[1][0], first[1][1].size, first[1][2]) == ("a-run", (4, 3), "cases-0001.png")
    assert client.of("set_terminated") == [("set_terminated", ("a-run",), {})] * 2


def test_a_tracker_that_cannot_begin_is_one_line(monkeypatch, tmp_path):
    def fail(**_):
        raise RuntimeError("No API key\nconfigured")

    install(monkeypatch, "wandb", init=fail)
    with pytest.raises(KitError, match=r"^--logger wandb: cannot begin \(No API key configured\): "):
        follow(tmp_path, "wandb")


def test_without_a_tracker_nothing_but_tensorboard_is_told(tmp_path):
    assert len(follow(tmp_path, None)) == 1


def test_a_tracker_that_is_unknown_or_not_installed_is_refused_before_a_training(monkeypatch):
    loggers.check(None)
    with pytest.raises(KitError, match=r"--logger wandm: give one of wandb, mlflow; did you mean wandb\?"):
        loggers.check("wandm")
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda _: None)
    for name in loggers.TRACKERS:
        with pytest.raises(KitError, match=f"--logger {name}: is not installed: pip install {name} into"):
            loggers.check(name)


def test_the_command_that_shows_the_curves_can_be_typed_as_it_stands(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.setattr(loggers.shutil, "which", lambda name: None)
    assert loggers.tensorboard_command("runs/a") == ".venv/bin/tensorboard --logdir runs/a"
    monkeypatch.setattr(loggers.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert loggers.tensorboard_command("runs/a") == "tensorboard --logdir runs/a"
