"""The time that is left: exact where epochs take what those before have taken, and honest where nothing is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.training import clock as clocks
from kit.training.clock import Clock, Work


@pytest.fixture
def now(monkeypatch):
    time = [0.0]
    monkeypatch.setattr(clocks.time, "monotonic", lambda: time[0])
    return time


def test_before_anything_was_measured_nothing_is_said():
    clock = Clock({("a", 0, 0): Work(3, 100)})
    clock.begin(("a", 0, 0))
    assert clock.left() is None
    assert clock.words() == ""


@given(
    rates=st.lists(st.floats(1e-3, 10), min_size=2, max_size=3),
    stages=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 1000)), min_size=1, max_size=3),
    folds=st.integers(1, 3),
)
def test_with_a_constant_rate_it_is_what_is_left(rates, stages, folds):
    """Each member of an ensemble has its own pace; the first fold of each is enough to know the rest."""
    members = [f"m{number}" for number in range(len(rates))]
    rate = dict(zip(members, rates, strict=True))
    works = {
        (member, fold, number): Work(epochs, pixels)
        for member in members
        for fold in range(folds)
        for number, (epochs, pixels) in enumerate(stages)
    }
    cost = {key: work.epochs * work.pixels * rate[key[0]] for key, work in works.items()}
    clock, last = Clock(works), members[-1]
    done = 0.0
    for key, work in works.items():
        clock.begin(key)
        for _ in range(work.epochs):
            clock.end_epoch(work.pixels * rate[key[0]])
            done += work.pixels * rate[key[0]]
            if key[0] == last:  # every member was measured
                assert clock.left() == pytest.approx(sum(cost.values()) - done, abs=1e-6)
        clock.end()
    assert clock.left() == pytest.approx(0, abs=1e-6)


def test_steps_of_the_first_epoch_tell_already(now):
    clock = Clock({("a", 0, 0): Work(4, 100), ("a", 0, 1): Work(2, 400)})
    clock.begin(("a", 0, 0))
    now[0] = 5.0
    assert clock.left(0.25) == pytest.approx(20 * 4 + 80 * 2 - 5)
    assert clock.words(0.25) == ", about 3 min 55 s of training left"


def test_a_resumed_stage_counts_its_epochs_and_one_that_stops_early_gives_back_the_rest():
    works = {("a", 0, 0): Work(10, 100), ("a", 1, 0): Work(10, 100)}
    clock = Clock(works)
    clock.begin(("a", 0, 0), [2.0] * 6)
    assert clock.left() == pytest.approx(4 * 2 + 20)
    clock.end()
    assert clock.left() == pytest.approx(20)
