"""The remaining time: exact if every pixel takes the same time, empty before the first measurement."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.training import eta as clocks
from kit.training.eta import EtaEstimator


@pytest.fixture
def now(monkeypatch):
    time = [0.0]
    monkeypatch.setattr(clocks.time, "monotonic", lambda: time[0])
    return time


def test_before_the_first_measurement_the_text_is_empty():
    clock = EtaEstimator(300)
    clock.begin(3, 100)
    assert clock.remaining() is None
    assert clock.format_remaining() == ""


@given(
    rate=st.floats(1e-3, 10),
    stages=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 1000)), min_size=1, max_size=3),
)
def test_with_a_constant_rate_the_estimate_is_exact(rate, stages):
    left = sum(epochs * pixels for epochs, pixels in stages)
    clock = EtaEstimator(left)
    for epochs, pixels in stages:
        clock.begin(epochs, pixels)
        for _ in range(epochs):
            clock.end_epoch(pixels * rate)
            left -= pixels
            assert clock.remaining() == pytest.approx(left * rate, abs=1e-6)
        clock.end()


def test_steps_of_the_first_epoch_give_an_estimate(now):
    clock = EtaEstimator(4 * 100 + 2 * 400)
    clock.begin(4, 100)
    now[0] = 5.0
    assert clock.remaining(0.25) == pytest.approx(20 * 4 + 80 * 2 - 5)
    assert clock.format_remaining(0.25) == ", about 3 min 55 s of training left"


def test_before_an_epoch_of_the_largest_size_the_estimate_is_a_bound():
    clock = EtaEstimator(2 * 100 + 2 * 400, largest=400)
    for pixels, said in ((100, "up to"), (400, "about")):
        clock.begin(2, pixels)
        clock.end_epoch(pixels / 10)
        assert clock.format_remaining().startswith(f", {said} ")
        clock.end_epoch(pixels / 10)
        clock.end()


def test_resumed_epochs_count_and_skipped_epochs_do_not():
    clock = EtaEstimator(20 * 100)
    clock.begin(10, 100)
    for _ in range(6):
        clock.end_epoch(2.0)
    assert clock.remaining() == pytest.approx(4 * 2 + 20)
    clock.end()
    assert clock.remaining() == pytest.approx(20)
