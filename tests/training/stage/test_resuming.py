"""A killed stage resumes to the same weights, bit for bit; invalid checkpoints are refused."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from staging import Killed, data, killed_in_the_second_epoch, mixed_precision, train

from kit import networks
from kit.core.errors import KitError
from kit.training import fabric_setup, state


@pytest.mark.parametrize(
    "overrides",
    [
        "stages.0.schedule={plateau: {patience: 1, threshold: 9}} stages.0.frozen_epochs=2",  # swa of the last two
        "stages.0.keep={swa: {epochs: [1,3]}}",
        "stages.0.keep={ema: {decay: 0.5}} stages.0.warm_up=2 stages.0.schedule=linear "
        "stages.0.positive_share=[0.8,0.4]",
        "stages.0.keep={best: {of: loss}} optimizer.name=sgd optimizer.momentum=0.9 optimizer.nesterov=true",
        "stages.0.keep={best: {epochs: 2}}",
        "stages.0.keep={best: {epochs: 2, average: predictions}}",
        "stages.0.keep=last stages.0.epochs=9 stages.0.early_stopping={patience: 2, of: dice} "
        "threshold.binarization=1 stages.0.schedule.cosine.periods=[1,2]",  # a score of 0.5 for ever
    ],
)
def test_a_killed_stage_resumes_to_the_same_weights(tmp_path, monkeypatch, overrides):
    whole, whole_metrics = train(tmp_path / "whole", overrides)
    killed_in_the_second_epoch(monkeypatch, tmp_path / "killed", overrides)
    resumed, resumed_metrics = train(tmp_path / "killed", overrides)
    assert whole.keys() == resumed.keys()
    for path in (tmp_path / "whole").glob("*.safetensors"):
        one, other = load_file(path), load_file(tmp_path / "killed" / path.name)
        assert all(torch.equal(one[name], other[name]) for name in one)
    pd.testing.assert_frame_equal(whole_metrics.drop(columns="seconds"), resumed_metrics.drop(columns="seconds"))


def test_mixed_precision_learns_and_resumes_with_its_loss_scale(tmp_path, monkeypatch):
    few = data(8)  # a processor takes its time in half precision
    whole, metrics = train(tmp_path / "whole", fabric=mixed_precision(), given=few)
    assert metrics.loss[2] < metrics.loss[0]
    full, _ = train(tmp_path / "full", given=few)
    assert not all(torch.equal(whole[name], full[name]) for name in whole)
    killed_in_the_second_epoch(monkeypatch, tmp_path / "killed", fabric=mixed_precision(), given=few)
    resumed, _ = train(tmp_path / "killed", fabric=mixed_precision(), given=few)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    "overrides",
    [
        "network.encoder=efficientnet-b0 stages.0.epochs=2 stages.0.keep.swa.last=2",  # drops connections at random
        "stages.0.keep.swa.last=2 stages.0.frozen_epochs=3",
    ],
)
def test_a_stage_killed_after_its_last_epoch_ends_in_the_same_weights(tmp_path, monkeypatch, overrides):
    whole, whole_metrics = train(tmp_path / "whole", overrides)

    def kill(path, network):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(networks, "save_weights", kill)
        with pytest.raises(Killed):
            train(tmp_path / "killed", overrides)
    torch.manual_seed(99)
    resumed, resumed_metrics = train(tmp_path / "killed", overrides)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    pd.testing.assert_frame_equal(whole_metrics.drop(columns="seconds"), resumed_metrics.drop(columns="seconds"))


@pytest.mark.parametrize("fabric", [None, mixed_precision])
def test_no_gradient_exceeds_the_clip(tmp_path, monkeypatch, fabric):
    def norms(folder, overrides):
        seen = []

        class Watched(torch.optim.Adam):
            def step(self, *args, **kwargs):
                gradients = [weight.grad for group in self.param_groups for weight in group["params"]]
                seen.append(torch.cat([g.flatten() for g in gradients if g is not None]).norm().item())
                return super().step(*args, **kwargs)

        monkeypatch.setitem(state.OPTIMIZERS, "adam", Watched)
        train(folder, overrides, fabric=fabric and fabric())
        return np.array(seen)

    free, clipped = (
        norms(tmp_path / clip, f"optimizer.clip={clip} stages.0.epochs=1 stages.0.keep=last")
        for clip in ("null", "0.1")
    )
    assert free.max() > 0.2
    np.testing.assert_allclose(clipped.max(), 0.1, rtol=1e-3)


def test_no_stage_depends_on_the_loss_scale_of_another():
    fabric = mixed_precision()
    fresh = fabric.strategy.precision.state_dict()
    fabric_setup.set_loss_scale(fabric, fresh | {"scale": 2.0, "_growth_tracker": 7})
    assert fabric.strategy.precision.state_dict()["scale"] == 2.0
    fabric_setup.set_loss_scale(fabric, {})
    assert fabric.strategy.precision.state_dict() == fresh


@pytest.mark.parametrize("first_mixed", [True, False])
def test_a_stage_resumes_with_another_precision(tmp_path, monkeypatch, first_mixed):
    """As when a training moves from a CPU to a GPU, or back."""
    killed_in_the_second_epoch(monkeypatch, tmp_path, fabric=mixed_precision() if first_mixed else None)
    _, metrics = train(tmp_path, fabric=None if first_mixed else mixed_precision())
    assert metrics.weights.tolist() == ["epoch"] * 3 + ["final"]
    assert np.isfinite(metrics.validation_loss).all()


def test_a_broken_checkpoint_is_refused_in_one_line(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(KitError, match=r"last\.ckpt: is not a checkpoint"):
        train(tmp_path)


def test_a_checkpoint_of_another_training_is_refused_in_one_line(monkeypatch, tmp_path):
    killed_in_the_second_epoch(monkeypatch, tmp_path)
    with pytest.raises(KitError, match=r"last\.ckpt: is not a checkpoint of this stage"):
        train(tmp_path, " network.decoder_channels=[16,8,8,8,8]")
    torch.save({"history": []}, tmp_path / "last.ckpt")
    with pytest.raises(KitError, match=r"last\.ckpt: is not a checkpoint of this stage"):
        train(tmp_path)
