import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.core.errors import KitError
from kit.data.sampler import batches, drawn, epoch_order, repeats


@given(st.integers(1, 60), st.integers(1, 60), st.floats(0.05, 0.95), st.integers(0, 5))
def test_positives_have_their_share_and_each_is_shown(positives, negatives, share, epoch):
    positive = np.arange(positives + negatives) < positives
    order = epoch_order(positive, share, 7, epoch)
    assert abs(positive[order].sum() - share * len(order)) <= 1
    assert len(order) >= 0.1 * len(positive) - 1
    times = np.bincount(order, minlength=len(positive))
    for kind in (positive, ~positive):  # none once more before all have come
        assert np.ptp(times[kind]) <= 1
    assert times[positive].min() >= 1
    assert bool(repeats(positive, share)) == (times.max() > 1)


def old_order(positive, share, seed, epoch):
    """With enough of both kinds: every positive, and negatives without replacement."""
    random = np.random.default_rng([seed, epoch])
    positives, negatives = np.flatnonzero(positive), np.flatnonzero(~positive)
    negatives = random.choice(negatives, round(len(positives) * (1 - share) / share), replace=False)
    return random.permutation(np.concatenate([positives, negatives]))


@given(st.integers(10, 50), st.sampled_from([0.4, 0.45, 0.5, 0.8]), st.integers(0, 5))
def test_the_order_without_repeats_is_as_before(positives, share, epoch):
    positive = np.arange(125) % 125 < positives
    assert (epoch_order(positive, share, 3, epoch) == old_order(positive, share, 3, epoch)).all()
    assert repeats(positive, share) == ""


@pytest.mark.parametrize(
    ("positives", "negatives", "least", "message"),
    [
        (498, 2, 498, "2 negatives are too few for positive_share 0.5: in an epoch of 996 images each comes about 249"),
        (2, 498, 50, "2 positives are too few for positive_share 0.5: in an epoch of 50 images each comes about 12.5"),
        (500, 0, 500, "no image is negative: positive_share 0.5 has no effect"),
        (0, 500, 500, "no image is positive: positive_share 0.5 has no effect"),
    ],
)
def test_too_few_of_a_kind_are_repeated_and_reported(positives, negatives, least, message):
    positive = np.arange(positives + negatives) < positives
    order = epoch_order(positive, 0.5, 0, 0)
    assert len(order) >= least
    assert set(order[positive[order]]) == set(range(positives))
    assert repeats(positive, 0.5).startswith(message)


def test_without_a_share_every_image_comes_once():
    order = epoch_order(np.arange(50) < 10, None, 0, 0)
    assert sorted(order.tolist()) == list(range(50))


def test_an_order_depends_only_on_seed_and_epoch():
    positive = np.arange(100) < 30
    assert (epoch_order(positive, 0.5, 1, 2) == epoch_order(positive, 0.5, 1, 2)).all()
    assert set(epoch_order(positive, 0.5, 1, 2)) != set(epoch_order(positive, 0.5, 1, 3))
    assert set(epoch_order(positive, 0.5, 1, 2)) != set(epoch_order(positive, 0.5, 2, 2))


@pytest.mark.parametrize("world", [1, 2, 4])
def test_steps_hold_the_same_images_for_any_number_of_processes(world):
    order = np.random.default_rng(0).permutation(30)
    shares = [batches(order, 8, rank, world) for rank in range(world)]
    steps = [np.concatenate(parts) for parts in zip(*shares, strict=True)]
    assert [set(step) for step in steps] == [set(step) for step in order[:24].reshape(3, 8)]


def test_a_set_smaller_than_a_batch_is_one_step():
    assert [step.tolist() for step in batches(np.arange(3), 8)] == [[0, 1, 2]]


def test_a_set_smaller_than_a_batch_is_shared_evenly():
    shares = [batches(np.arange(5), 8, rank, 2) for rank in range(2)]
    assert [[step.tolist() for step in share] for share in shares] == [[[0, 2]], [[1, 3]]]


@pytest.mark.parametrize("order", [np.arange(0), np.arange(1)])
def test_fewer_images_than_processes_are_one_line(order):
    with pytest.raises(KitError, match=f"an epoch has {len(order)} images, too few for 2 processes"):
        batches(order, 8, 0, 2)


def test_a_share_of_one_shows_only_positives():
    positive = np.arange(50) % 5 == 0
    assert sorted(epoch_order(positive, 1.0, seed=0, epoch=0)) == np.flatnonzero(positive).tolist()


class TestExtra:
    @given(st.integers(1, 30), st.integers(0, 30), st.floats(0.01, 1), st.sampled_from([None, 0.4]), st.integers(0, 3))
    def test_an_epoch_has_all_own_images_and_that_share_of_the_extra_ones(self, own, extra, weight, share, epoch):
        positive = np.random.default_rng(own + 31 * extra).random(own + extra) < 0.5
        rows = drawn(positive, extra, weight, 7, epoch)
        assert np.unique(rows).tolist() == rows.tolist()
        assert rows[:own].tolist() == list(range(own))
        for kind in (True, False):
            there = int((positive[own:] == kind).sum())
            assert 0 <= (positive[rows[own:]] == kind).sum() - weight * there < 1
        order = epoch_order(positive, share, 7, epoch, extra, weight)
        assert set(order.tolist()) <= set(rows.tolist())
        if share is None:
            assert sorted(order.tolist()) == rows.tolist()
        elif positive[rows].any() and not positive[rows].all():
            assert set(np.flatnonzero(positive)) & set(rows.tolist()) <= set(order.tolist())
            assert abs(positive[order].sum() - share * len(order)) <= 1

    def test_draws_depend_on_seed_and_epoch_and_every_image_is_drawn_eventually(self):
        positive = np.arange(60) % 3 == 0
        seen = [set(drawn(positive, 40, 0.25, seed, epoch)) for seed in (1, 2) for epoch in range(20)]
        assert seen[0] == set(drawn(positive, 40, 0.25, 1, 0))
        assert seen[0] != seen[1]
        assert seen[0] != seen[20]
        assert len(set.union(*seen[:20])) == 60

    def test_with_all_extra_images_an_epoch_is_that_of_one_data_set(self):
        positive = np.arange(50) % 4 == 0
        for share in (None, 0.4):
            assert (epoch_order(positive, share, 1, 2, 20, 1.0) == epoch_order(positive, share, 1, 2)).all()
