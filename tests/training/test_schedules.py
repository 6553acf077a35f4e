"""Learning rates and early stopping, compared with torch's schedulers, Keras' plateau and the runner-up's rates."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, CosineAnnealingWarmRestarts, LinearLR, ReduceLROnPlateau

from kit.recipes.stage import Stage
from kit.training import schedules


def stage(epochs, **keys):
    return Stage(size=32, epochs=epochs, batch_size=1, **({"learning_rate": 0.1} | keys))


def rates(settings, watched=None):
    history = rows(watched or [0.0] * settings.epochs)
    return [schedules.learning_rate(settings, history[:epoch]) for epoch in range(settings.epochs)]


def rows(losses):
    return [{"validation_loss": loss, "score": -loss} for loss in losses]


def torch_rates(epochs, kind, **keys):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    scheduler, found = kind(optimizer, **keys), []
    for _ in range(epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_one_cosine_is_torchs():
    expected = torch_rates(7, CosineAnnealingLR, T_max=7, eta_min=0.01)
    assert rates(stage(7, schedule={"cosine": {"to": 0.01}})) == pytest.approx(expected)


def test_a_wave_is_torchs_cosine_beyond_its_end():
    expected = torch_rates(50, CosineAnnealingLR, T_max=8, eta_min=1e-3)
    found = rates(stage(50, schedule={"cosine": {"periods": [8], "restarts": False, "to": 1e-3}}))
    assert found == pytest.approx(expected, rel=1e-6)
    assert (found[0], found[8], found[16]) == (0.1, 1e-3, 0.1)


@pytest.mark.parametrize(("growth", "periods"), [(1, [5]), (2, [5, 10, 20])])
def test_restarts_are_torchs(growth, periods):
    expected = torch_rates(35, CosineAnnealingWarmRestarts, T_0=5, T_mult=growth, eta_min=1e-3)
    assert rates(stage(35, schedule={"cosine": {"periods": periods, "to": 1e-3}})) == pytest.approx(expected)


def test_waves_of_other_lengths_follow_each_other():
    found = rates(stage(14, schedule={"cosine": {"periods": [2, 3], "restarts": False}}))
    assert found == pytest.approx([0.1, 0.05, 0, 0.05, 0.1, 0.075, 0.025, 0, 0.025, 0.075, 0.1, 0.075, 0.025, 0])


def test_the_last_rates_are_given_and_shorten_the_cosine():
    found = rates(stage(6, schedule={"cosine": {"then": [0.003, 0.002]}}))
    assert found[:4] == pytest.approx(torch_rates(4, CosineAnnealingLR, T_max=4))
    assert found[4:] == [0.003, 0.002]


WATCHED = [5.0, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0, 3.99995, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]


def keras_rates(watched, rate, factor, patience, min_delta, min_lr):
    """ReduceLROnPlateau as Keras documents it: it counts epochs without improvement up to the patience."""
    found, best, wait = [rate], float("inf"), 0
    for value in watched:
        if value < best - min_delta:
            best, wait = value, 0
        else:
            wait += 1
            if wait >= patience:
                if rate > min_lr:
                    rate = max(rate * factor, min_lr)
                wait = 0
        found.append(rate)
    return found[:-1]


def test_plateau_falls_in_the_epoch_after_the_fifth_without_improvement():
    found = rates(stage(20, schedule={"plateau": {"to": 0.005}}), WATCHED)
    # Epochs 3 to 7 are five no better than epoch 2; from epoch 8 on the rate is a fifth.
    assert found[:7] == [0.1] * 7
    assert found[7] == pytest.approx(0.02)
    assert found == pytest.approx(keras_rates(WATCHED, 0.1, 0.2, 5, 1e-4, 0.005))
    assert found[-1] == 0.005


@pytest.mark.parametrize("patience", [1, 2, 3])
@pytest.mark.parametrize("threshold", [0, 1e-5, 0.5])
def test_plateau_is_keras_and_torchs_with_one_more_epoch(patience, threshold):
    plateau = {"factor": 0.5, "patience": patience, "threshold": threshold}
    found = rates(stage(20, schedule={"plateau": plateau}), WATCHED)
    assert found == pytest.approx(keras_rates(WATCHED, 0.1, 0.5, patience, threshold, 0))
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    keys = {"patience": patience - 1, "threshold": threshold, "threshold_mode": "abs", "eps": 0}
    scheduler, expected = ReduceLROnPlateau(optimizer, factor=0.5, **keys), []
    for value in WATCHED:
        expected.append(optimizer.param_groups[0]["lr"])
        scheduler.step(value)
    assert found == pytest.approx(expected)


def test_the_stage_is_over_when_patience_is_or_its_epochs_are():
    history = rows(WATCHED)
    for of in ("loss", "dice"):
        patient = stage(8, early_stopping={"patience": 3, "of": of})
        assert [schedules.is_over(patient, history[:epoch]) for epoch in range(6)] == [False] * 5 + [True]
        assert not schedules.is_over(patient, rows([1.0, 1.0, 1.0, 0.5]))
    assert not schedules.is_over(stage(8), history[:7])
    assert schedules.is_over(stage(8), history[:8])


def test_a_linear_fall_is_torchs():
    expected = torch_rates(5, LinearLR, start_factor=1, end_factor=0.1, total_iters=5)
    assert rates(stage(5, schedule={"linear": {"to": 0.01}})) == pytest.approx(expected)


def test_the_rate_warms_up_step_by_step_and_the_schedule_comes_after():
    warm = stage(7, warm_up=2, schedule={"cosine": {"to": 0.01}})
    steps = [schedules.learning_rate(warm, rows([1.0] * epoch), step / 4) for epoch in (0, 1) for step in (1, 2, 3, 4)]
    assert steps == pytest.approx([0.1 * step / 8 for step in range(1, 9)])
    assert rates(warm)[2:] == pytest.approx(rates(stage(5, schedule={"cosine": {"to": 0.01}})))
    for schedule in ("linear", "constant", {"plateau": {"patience": 1}}):
        later = rates(stage(20, warm_up=3, schedule=schedule), WATCHED)
        assert later[3:] == pytest.approx(rates(stage(17, schedule=schedule), WATCHED[3:]))
