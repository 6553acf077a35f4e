"""The loop: it learns, and a killed one goes on to the same weights, bit for bit."""

import lightning_fabric
import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from safetensors.torch import load_file

from kit import engine, networks, recipes
from kit.data.cache import Cache
from kit.errors import KitError
from kit.training import stage
from kit.training.averaging import Average

BASE = (
    "network.encoder=resnet18 network.decoder_channels=[16,16,8,8,8] stages.0.size=32 stages.1.size=32 "
    "stages.0.epochs=3 stages.1.epochs=3 stages.0.batch_size=4 stages.1.batch_size=4 "
)


def data(count=16, size=32):
    random = np.random.default_rng(0)
    images = random.integers(100, 200, (count, size, size), np.uint8)
    masks = np.zeros((count, size, size), np.uint8)
    masks[: count // 2, 8:24, 8:24] = 1
    images[masks > 0] //= 4
    cache = Cache(images, masks, (b"",) * count, np.zeros(count, bool))
    return stage.FoldData(cache, np.arange(0, count, 2), np.arange(1, count, 2))


def train(folder, overrides="", number=0, start=None, name="demo", fabric=None):
    loaded = recipes.load(name, BASE + overrides)
    stage.train(fabric or engine.launch(loaded), loaded, number, 0, data(), folder, start)
    return load_file(folder / "weights.safetensors"), pd.read_csv(folder / "metrics.csv")


def mixed_precision():
    """What a GPU trains with, on the CPU: float16 and a gradient scaler."""
    return lightning_fabric.Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu"))


class Killed(Exception):
    pass


def killed_in_the_second_epoch(monkeypatch, folder, overrides="", fabric=None):
    validate, calls = stage.validate, []

    def kill(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return validate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stage, "validate", kill)
        with pytest.raises(Killed):
            train(folder, overrides, fabric=fabric)
    assert not (folder / "weights.safetensors").exists()


@pytest.mark.parametrize(
    "overrides",
    [
        "stages.0.swa_epochs=2",
        "stages.0.swa_epochs=0",
        "stages.0.swa_epochs=0 stages.0.best_checkpoints=2",
        "stages.0.schedule=plateau stages.0.frozen_epochs=2",
    ],
)
def test_a_killed_stage_goes_on_to_the_same_weights(tmp_path, monkeypatch, overrides):
    whole, whole_metrics = train(tmp_path / "whole", overrides)
    killed_in_the_second_epoch(monkeypatch, tmp_path / "killed", overrides)
    resumed, resumed_metrics = train(tmp_path / "killed", overrides)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    pd.testing.assert_frame_equal(whole_metrics.drop(columns="seconds"), resumed_metrics.drop(columns="seconds"))


def test_mixed_precision_learns_and_goes_on_with_its_loss_scale(tmp_path, monkeypatch):
    whole, metrics = train(tmp_path / "whole", fabric=mixed_precision())
    assert metrics.loss[2] < metrics.loss[0]
    full, _ = train(tmp_path / "full")
    assert not all(torch.equal(whole[name], full[name]) for name in whole)
    killed_in_the_second_epoch(monkeypatch, tmp_path / "killed", fabric=mixed_precision())
    resumed, _ = train(tmp_path / "killed", fabric=mixed_precision())
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("first_mixed", [True, False])
def test_a_stage_goes_on_with_another_precision(tmp_path, monkeypatch, first_mixed):
    """As on a GPU after a CPU, or the other way round."""
    killed_in_the_second_epoch(monkeypatch, tmp_path, fabric=mixed_precision() if first_mixed else None)
    _, metrics = train(tmp_path, fabric=None if first_mixed else mixed_precision())
    assert metrics.weights.tolist() == ["epoch"] * 3 + ["final"]
    assert np.isfinite(metrics.validation_loss).all()


def test_it_learns_and_writes_what_it_did(tmp_path):
    _, metrics = train(tmp_path, "stages.0.epochs=30 stages.0.learning_rate=0.003 stages.0.swa_epochs=2")
    assert metrics.weights.tolist() == ["epoch"] * 30 + ["final"]
    assert metrics.loss[29] < metrics.loss[0] - 0.3
    assert metrics.dice.iloc[-1] > 0.7
    expected = 0.003 * (1 + np.cos(np.pi * np.arange(30) / 30)) / 2
    np.testing.assert_allclose(metrics.learning_rate[:30], expected)
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_second_stage_starts_from_the_given_weights(tmp_path):
    first, _ = train(tmp_path / "one")
    second, _ = train(
        tmp_path / "two",
        "stages.1.learning_rate=1e-12 stages.1.swa_epochs=0",
        1,
        tmp_path / "one" / "weights.safetensors",
    )
    name = "net.decoder.blocks.0.conv1.0.weight"
    assert torch.allclose(first[name], second[name], atol=1e-6)


def test_an_encoder_frozen_all_along_does_not_change(tmp_path):
    first, _ = train(tmp_path / "one")
    frozen, _ = train(
        tmp_path / "two", "stages.1.frozen_epochs=3 stages.1.swa_epochs=0", 1, tmp_path / "one" / "weights.safetensors"
    )
    changed = {name.split(".")[1] for name in first if not torch.equal(first[name], frozen[name])}
    assert changed == {"decoder", "segmentation_head"}


@pytest.mark.parametrize("key", ["swa_epochs", "best_checkpoints"])
def test_averages_are_means_of_the_chosen_epochs(key):
    settings = {"swa_epochs": 0, "best_checkpoints": 0} | {key: 2}
    loaded = recipes.load("demo", BASE + " ".join(f"stages.0.{name}={value}" for name, value in settings.items()))
    average, states = Average(loaded.stages[0]), []
    for epoch, dice in enumerate((0.9, 0.1, 0.5)):
        torch.manual_seed(epoch)
        network = networks.build(loaded.network)
        states.append({name: tensor.clone() for name, tensor in network.named_parameters()})
        average.add(network, epoch, dice)
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    average.load_into(network, [(images, images)])
    chosen = (1, 2) if key == "swa_epochs" else (0, 2)
    for name, parameter in network.named_parameters():
        expected = torch.stack([states[epoch][name] for epoch in chosen]).double().mean(0)
        assert torch.allclose(parameter.double(), expected, atol=1e-6)
    # Batch-norm statistics are those of the data under the averaged weights.
    seen = []
    network.net.encoder.conv1.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network.eval()(images)
    assert torch.allclose(network.net.encoder.bn1.running_mean, seen[0].mean((0, 2, 3)), rtol=1e-3, atol=1e-3)


def test_a_broken_checkpoint_is_one_clear_line(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(KitError, match=r"last\.ckpt: is not a checkpoint"):
        train(tmp_path)
