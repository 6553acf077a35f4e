"""A stage trained on sixteen tiny images, and one that is killed on the way."""

import lightning_fabric
import numpy as np
import pandas as pd
import pytest
import torch
from lightning_fabric.plugins.precision import MixedPrecision
from safetensors.torch import load_file

from kit import networks, recipes
from kit.data.cache import Cache
from kit.data.dataset import FoldData
from kit.training import fabric_setup, fit, hooks

BASE = (
    "network.encoder=tu-test_resnet network.decoder_channels=[16,16,8,8,8] stages.0.size=32 stages.1.size=32 "
    "stages.0.epochs=3 stages.1.epochs=3 stages.0.batch_size=4 stages.1.batch_size=4 "
    "stages.0.keep.swa.last=2 stages.1.keep.swa.last=2 stages.0.validate_every=1 stages.1.validate_every=1 "
)


def data(count=16, size=32, extra=0, unknown=()):
    random = np.random.default_rng(0)
    images = random.integers(100, 200, (count, size, size), np.uint8)
    masks = np.zeros((count, size, size), np.uint8)
    masks[: count // 2, 8:24, 8:24] = 1
    images[masks > 0] //= 4
    cache = Cache(images, masks, (b"",) * count, np.zeros(count, bool))
    training = np.arange(0, count, 2)
    positive = masks[training].any(axis=(1, 2))
    return FoldData(cache, training, np.arange(1, count, 2), positive, extra, np.array(unknown, int))


def train(folder, overrides="", number=0, start=None, name="demo", fabric=None, given=None):
    loaded = recipes.load(name, BASE + overrides)
    task = fit.Task(loaded, number, 0, given or data(), folder, start)
    fit.fit(fabric or fabric_setup.launch(loaded), task, hooks.make_hooks(folder, task.data, loaded))
    return load_file(folder / "weights.safetensors"), pd.read_csv(folder / "metrics.csv")


def mixed_precision():
    """What a GPU trains with, on the CPU: float16 and a gradient scaler."""
    return lightning_fabric.Fabric(accelerator="cpu", devices=1, plugins=MixedPrecision("16-mixed", "cpu"))


class Killed(Exception):
    pass


def killed_in_the_second_epoch(monkeypatch, folder, overrides="", fabric=None, given=None):
    validate, calls = fit.validate, []

    def kill(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise Killed
        return validate(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "validate", kill)
        with pytest.raises(Killed):
            train(folder, overrides, fabric=fabric, given=given)
    assert not (folder / "weights.safetensors").exists()


def outputs(weights, name="demo", overrides=""):
    """Probabilities of the validation images by some weights, (N, H, W)."""
    loaded, fold = recipes.load(name, BASE + overrides), data()
    network = networks.build(loaded.network)
    network.load_state_dict(weights)
    images = torch.from_numpy(np.array(fold.cache.images[fold.validation]))[:, None]
    with torch.no_grad():
        return network.eval()(images)[0].sigmoid()[:, 0].numpy()
