import json
from fractions import Fraction

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from kit.core import store
from kit.core.errors import KitError
from kit.core.store import key_of
from kit.inference import ensemble, maps


def verdicts(count=60, seed=0):
    """Probabilities by two members, for images with even numbers positive."""
    random = np.random.default_rng(seed)
    positive = np.arange(count) % 2 == 0
    members = 1 / (1 + np.exp(-(random.normal(0, 2, (count, 2)) + np.where(positive, 1, -1)[:, None])))
    return members, positive


def test_the_stack_is_scikit_learns_regression_on_logits():
    members, positive = verdicts()
    reference = LogisticRegression(max_iter=1000).fit(np.log(members / (1 - members)), positive)
    stack = ensemble.fit_stack(["a", "b"], members, positive)
    expected = reference.predict_proba(np.log(members / (1 - members)))[:, 1]
    np.testing.assert_allclose(stack.probability(members), expected, atol=1e-12)


def test_a_written_stack_is_plain_numbers_and_reads_back(tmp_path):
    stack = ensemble.fit_stack(["a", "b"], *verdicts())
    stack.write(tmp_path / "stack.json")
    assert json.loads((tmp_path / "stack.json").read_text())["members"] == ["a", "b"]
    assert ensemble.read_stack(tmp_path / "stack.json", ["a", "b"]) == stack


def test_labels_of_a_fold_do_not_change_its_own_probabilities():
    members, positive = verdicts()
    groups = np.arange(60) % 3
    nested = ensemble.nested_probability(members, positive, groups)
    changed = np.where(groups == 1, ~positive, positive)
    again = ensemble.nested_probability(members, changed, groups)
    assert (nested[groups == 1] == again[groups == 1]).all()
    assert (nested[groups != 1] != again[groups != 1]).all()


def test_images_of_one_class_cannot_be_stacked():
    members, positive = verdicts()
    with pytest.raises(KitError, match="all of one kind"):
        ensemble.fit_stack(["a", "b"], members[positive], positive[positive])


def member(path, size, ids=("x", "y"), version="1"):
    random = np.random.default_rng(size)
    array = store.Array(path, ids, [key_of(image_id, version) for image_id in ids], (size, size))
    store.fill([array], lambda rows: [(row, [random.integers(0, 256, (size, size), np.uint8)]) for row in rows])
    return path, np.load(path)


def test_maps_are_averaged_at_the_largest_size_and_made_once(tmp_path):
    (one, small), (two, large) = member(tmp_path / "a.npy", 16), member(tmp_path / "b.npy", 32)
    assert maps.write_mean([one, two], tmp_path / "mean.npy")
    mean = maps.open_maps(tmp_path / "mean.npy")
    assert mean.ids == ("x", "y")
    for i in range(2):
        expected = (maps.upsample(np.array(small[i]), (32, 32)).astype(float) + large[i]) / 2
        assert abs(mean[i] - expected).max() <= 0.5
    assert not maps.write_mean([one, two], tmp_path / "mean.npy")
    member(one, 16, version="2")
    assert maps.write_mean([one, two], tmp_path / "mean.npy")


def test_maps_of_other_images_are_refused(tmp_path):
    sources = [member(tmp_path / "a.npy", 16)[0], member(tmp_path / "b.npy", 16, ("x", "z"))[0]]
    with pytest.raises(KitError, match=r"b\.npy: has other images"):
        maps.write_mean(sources, tmp_path / "mean.npy")


def test_a_weighted_mean_is_exact():
    random = np.random.default_rng(0)
    stacks = random.integers(0, 256, (3, 5, 8, 8), np.uint8)
    weights = (0.4, 0.2, 0.15)
    for index in range(5):
        found = maps.mean_map(stacks[:, index], weights)
        for place in np.ndindex(8, 8):
            exact = sum(
                Fraction(str(w)) * int(v) for w, v in zip(weights, stacks[(slice(None), index, *place)], strict=True)
            )
            assert found[place] == exact / Fraction("0.75") // 1
