"""A diverged training ends with a message, and weights that are not finite are never kept as best."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from staging import BASE, data, mixed_precision, train

from kit import networks, recipes
from kit.core.errors import KitError
from kit.recipes.stage import Stage
from kit.training import fabric_setup, fit, schedules
from kit.training.averaging import Checkpoints
from kit.training.validation import validate

DIVERGED = r"fold 0 stage 1 \(32 px\) epoch 1/3: the loss is not finite any more, at a learning rate of 1e\+30 in "


def test_too_high_a_rate_ends_with_a_message(tmp_path):
    with pytest.raises(
        KitError, match=rf"{DIVERGED}32-true: lower stages\.0\.learning_rate, or set optimizer\.clip=1$"
    ):
        train(tmp_path, "stages.0.learning_rate=1.0e+30")
    assert not list(tmp_path.glob("*.safetensors")) + list(tmp_path.glob("last.ckpt"))


def test_in_bfloat16_the_message_suggests_full_precision(tmp_path):
    loaded = recipes.load("demo", "precision=bf16-mixed")
    with pytest.raises(KitError, match=rf"{DIVERGED}bf16-mixed: .* or precision=32-true$"):
        train(tmp_path, "stages.0.learning_rate=1.0e+30", fabric=fabric_setup.launch(loaded))


def test_a_single_step_that_diverges_leaves_no_weights(tmp_path):
    """Loss and weights are finite; only the predictions are not."""
    overrides = "stages.0.epochs=1 stages.0.batch_size=8 stages.0.learning_rate=1.0e+30 stages.0.keep=last"
    with pytest.raises(KitError, match="its predictions are not finite any more"):
        train(tmp_path, overrides)
    assert not list(tmp_path.glob("*.safetensors"))


def test_skipped_steps_are_logged_and_change_nothing(tmp_path, caplog):
    fabric, forward = mixed_precision(), networks.Segmenter.forward
    seen = []

    def overflowing(self, images):
        seen.append(self.training)
        if self.training and len(seen) == 2:
            images = images.float() * 1e30
        return forward(self, images)

    with pytest.MonkeyPatch.context() as patch, caplog.at_level("INFO"):
        patch.setattr(networks.Segmenter, "forward", overflowing)
        weights, metrics = train(tmp_path, "stages.0.keep=last stages.0.epochs=1", fabric=fabric)
    assert [line for line in caplog.messages if "skipped" in line] == [
        "fold 0 stage 1 (32 px) epoch 1/1: skipped 1 step because gradients overflowed in half precision"
    ]
    assert all(tensor.isfinite().all() for tensor in weights.values() if tensor.is_floating_point())
    assert np.isfinite(metrics.loss[0])


def test_half_precision_that_skips_every_step_ends_with_a_message(tmp_path, monkeypatch):
    monkeypatch.setattr(fit.step, "MOST_SKIPPED", 2)
    fabric = mixed_precision()
    with pytest.raises(KitError, match=r"the gradients are not finite any more, .* in 16-mixed: .*precision=32-true"):
        train(tmp_path, "stages.0.learning_rate=1.0e+30 network.normalisation=unit stages.0.epochs=9", fabric=fabric)


class Nonsense(torch.nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, images):
        return torch.full(images.shape, self.value), torch.full((len(images),), self.value)


@pytest.mark.parametrize("candidates", ["", "threshold.candidates=[[0.5,0,0.5]]"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_diverged_network_has_the_lowest_score(value, candidates):
    """NaN ≥ t is False, so such a network would score like one that predicts nothing, 0.5 here."""
    loaded = recipes.load("demo", BASE + candidates)
    fabric = fabric_setup.launch(loaded)
    assert validate(fabric, [Nonsense(value)], loaded, loaded.stages[0], data())["score"] == -math.inf
    assert validate(fabric, [Nonsense(-9.0)], loaded, loaded.stages[0], data())["score"] == 0.5


@pytest.mark.parametrize("nonsense", [math.nan, math.inf, -math.inf])
def test_an_epoch_with_a_nan_score_is_never_the_best(nonsense):
    loaded = recipes.load("demo", BASE + "stages.0.keep={best: {epochs: 2}}")
    best, network = Checkpoints(loaded.stages[0]), networks.build(loaded.network)
    name, parameter = next(iter(network.named_parameters()))
    for epoch, score in enumerate((nonsense, 0.1, nonsense, 0.3, nonsense)):
        torch.nn.init.constant_(parameter, epoch)
        best.add(network, epoch, {"score": score})
    assert [float(state[name].flatten()[0]) for _, _, state in best._best] == [3, 1]


@pytest.mark.parametrize("nonsense", [math.nan, math.inf])
@pytest.mark.parametrize("place", range(5))
def test_a_single_nan_ends_no_stage_and_lowers_no_rate(nonsense, place):
    """A stage with falling losses continues; a stalled one ends as it would without the value."""
    falling, still = [5.0, 4.0, 3.0, 2.0, 1.0], [5.0, 1.0, 2.0, 2.0, 2.0]
    falling[place] = nonsense

    def rows(losses):
        return [{"validation_loss": loss} for loss in losses]

    patient = Stage(size=32, epochs=9, batch_size=1, early_stopping={"patience": 3}, schedule="plateau")
    assert not any(schedules.is_over(patient, rows(falling[:epoch])) for epoch in range(6))
    if place != 1:
        still[place] = nonsense
        assert [schedules.is_over(patient, rows(still[:epoch])) for epoch in range(6)] == [False] * 5 + [True]
    assert schedules.learning_rate(patient, rows(falling)) == patient.learning_rate


def test_few_images_of_a_class_give_a_warning(tmp_path, monkeypatch, caplog):
    import staging

    few = data()
    few.positive[:] = True
    monkeypatch.setattr(staging, "data", lambda: few)
    train(tmp_path, "stages.0.epochs=1 stages.0.keep=last")
    assert "fold 0 stage 1 (32 px): no image is negative: positive_share 0.5 has no effect" in caplog.messages


def test_members_have_their_own_random_numbers(tmp_path):
    whole = recipes.load("demo", "members.a.role=segment members.b.role=segment")
    seeds = [fit.Task(part, 0, 0, data(), tmp_path).seed for part in (recipes.load("demo"), *whole.parts())]
    assert seeds[0] == int(np.random.SeedSequence([0, 0, 0]).generate_state(1)[0])
    assert len(set(seeds)) == 3


def test_without_memory_for_a_step_the_message_says_what_to_set(tmp_path, monkeypatch):
    def forward(self, images):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(networks.Segmenter, "forward", forward)
    with pytest.raises(KitError, match=r"fold 0 stage 1 .* 4 images at a time: set stages\.0\.micro_batch=2,"):
        train(tmp_path)
    with pytest.raises(KitError, match=r"2 images at a time: set stages\.0\.micro_batch=1,"):
        train(tmp_path, "stages.0.micro_batch=2")


def test_a_stage_in_micro_batches_gives_nearly_the_same_weights(tmp_path):
    """Except batch norm, which normalises each micro-batch by itself."""
    whole, metrics = train(tmp_path / "whole", "stages.0.batch_size=8 stages.0.epochs=3")
    parts, found = train(tmp_path / "parts", "stages.0.batch_size=8 stages.0.epochs=3 stages.0.micro_batch=4")
    same, _ = train(tmp_path / "same", "stages.0.batch_size=8 stages.0.epochs=3 stages.0.micro_batch=8")
    assert all(torch.equal(whole[name], same[name]) for name in whole)
    assert not all(torch.equal(whole[name], parts[name]) for name in whole)
    assert found.loss[0] == pytest.approx(metrics.loss[0], rel=0.1)
    assert load_file(tmp_path / "parts/weights.safetensors").keys() == whole.keys()


@pytest.mark.parametrize(
    ("asked", "gpu", "native", "expected"),
    [
        ("auto", False, False, "32-true"),
        ("auto", True, True, "bf16-mixed"),
        ("auto", True, False, "16-mixed"),
        ("16-mixed", True, True, "16-mixed"),
        ("32-true", True, True, "32-true"),
    ],
)
def test_the_precision_is_that_of_the_device(monkeypatch, asked, gpu, native, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: native or including_emulation)
    made = []
    monkeypatch.setattr(fabric_setup.lightning_fabric, "Fabric", lambda **how: made.append(how) or Launched())
    fabric_setup.launch(recipes.load("demo", f"precision={asked}"))
    assert (made[0]["precision"], made[0]["accelerator"]) == (expected, "cuda" if gpu else "cpu")


class Launched:
    def launch(self):
        """Nothing to start."""
