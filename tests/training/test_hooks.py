"""Hooks: what they receive, and that their failures never stop a stage."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from staging import data
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from kit import networks, recipes
from kit.core.errors import KitError
from kit.training import hooks
from kit.training.validation import UNKNOWN


class Told:
    """Records the name and arguments of any call."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *arguments, **options: self.calls.append((name, arguments, options))


def install(monkeypatch, init):
    module = ModuleType("wandb")
    module.__spec__ = SimpleNamespace(name="wandb")
    module.init, module.Image = init, lambda pixels: pixels.shape
    monkeypatch.setitem(sys.modules, "wandb", module)


def rows(first=1, epochs=2):
    """Rows of metrics.csv: epochs, of which only the last is validated, and the final weights."""
    found = [
        {"epoch": epoch, "weights": "epoch", "learning_rate": 0.1, "loss": 1 / epoch} | UNKNOWN
        for epoch in range(first, epochs + 1)
    ]
    found[-1] |= {"dice": 0.5, "validation_loss": 0.25}
    return [*found, found[-1] | {"weights": "final", "loss": None}]


def follow(folder, logger=None, first=1):
    """Runs a stage of three rows; returns the hooks that are still active."""
    recipe = recipes.load("demo", "network.encoder=tu-test_resnet network.decoder_channels=[16,16,8,8,8]")
    stage = folder / "runs/siim/exp5/fold0/stage2"
    network, told = (
        networks.build(recipe.network, pretrained=False),
        list(hooks.make_hooks(stage, data(), recipe, logger)),
    )
    for row in rows(first):
        hooks.call_all(told, network, row)
    return stage, told


def test_tensorboard_logs_metrics_and_pictures(tmp_path):
    for first in (1, 2):  # gone on from the second epoch: what the first process wrote of it is void
        stage, _ = follow(tmp_path, first=first)
    shown = EventAccumulator(str(stage / "tensorboard"), {"images": 0, "scalars": 0}).Reload()
    scalars = {name: [(event.step, event.value) for event in shown.Scalars(name)] for name in shown.Tags()["scalars"]}
    assert scalars.pop("learning_rate") == [(1, pytest.approx(0.1)), (2, pytest.approx(0.1))]
    assert scalars == {
        "loss": [(1, 1.0), (2, 0.5)],
        "dice": [(2, 0.5)],
        "validation_loss": [(2, 0.25)],
        "final_dice": [(2, 0.5)],
        "final_validation_loss": [(2, 0.25)],
    }
    assert {name: [event.step for event in shown.Images(name)] for name in ("cases", "final_cases")} == {
        "cases": [2],
        "final_cases": [2],
    }


def test_wandb_has_one_run_a_stage_which_is_resumed(monkeypatch, tmp_path):
    run, began = Told(), []
    install(monkeypatch, lambda **options: began.append(options) or run)
    for first in (1, 2):
        follow(tmp_path, "wandb", first)
    assert {options["id"] for options in began} == {"siim-exp5-fold0-stage2"}
    assert [options["resume"] for options in began] == [None, "allow"]
    assert began[0]["config"]["network"]["encoder"] == "tu-test_resnet"
    told = [(*figures, options["step"]) for name, figures, options in run.calls if name == "log"]
    assert told[1] == ({"learning_rate": 0.1, "loss": 0.5, "dice": 0.5, "validation_loss": 0.25, "cases": (128, 96)}, 2)
    assert told[2][0]["final_cases"] == (128, 96)  # four cases of 32 pixels, three panels
    assert [name for name, *_ in run.calls].count("finish") == 2


@pytest.mark.parametrize("when", ["at its start", "on the way"])
def test_a_failing_hook_loses_only_its_charts(monkeypatch, tmp_path, caplog, when):
    class Gone(Told):
        def log(self, *_, **__):
            raise ConnectionError("no route\n to host")

    def init(**_):
        if when == "at its start":
            raise RuntimeError("no route to\nhost")
        return Gone()

    install(monkeypatch, init)
    stage, left = follow(tmp_path, "wandb")
    assert caplog.messages == ["--logger wandb: lost (no route to host): the training goes on without it"]
    assert [hook.name for hook in left] == ["TensorBoard"]
    assert list((stage / "tensorboard").iterdir())


def test_a_disk_that_refuses_charts_does_not_stop_the_training(tmp_path, caplog):
    (tmp_path / "runs/siim/exp5/fold0/stage2").mkdir(parents=True)
    (tmp_path / "runs/siim/exp5/fold0/stage2/tensorboard").write_text("a file where the folder belongs")
    _, left = follow(tmp_path)
    assert not left
    assert [line.partition(" (")[0] for line in caplog.messages] == ["TensorBoard: lost"]


def test_a_logger_that_is_unknown_or_not_installed_is_refused_before_a_training(monkeypatch):
    hooks.check(None)
    with pytest.raises(KitError, match="--logger wandm: give wandb"):
        hooks.check("wandm")
    monkeypatch.setattr(hooks.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(KitError, match="--logger wandb: is not installed: pip install wandb into"):
        hooks.check("wandb")


def test_the_tensorboard_command_runs_as_printed(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.setattr(hooks.shutil, "which", lambda name: None)
    assert hooks.tensorboard_command("runs/a") == ".venv/bin/tensorboard --logdir runs/a"
    monkeypatch.setattr(hooks.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert hooks.tensorboard_command("runs/a") == "tensorboard --logdir runs/a"
