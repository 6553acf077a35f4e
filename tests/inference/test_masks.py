import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kit.inference.masks import MaskEncoder, rank_quantiles
from kit.inference.rules import ComponentRule, ExpectedRule, ImageRule, TripletRule

EXAMPLES = [
    ImageRule(0.5, 300000),
    ComponentRule(0.5, 60000),
    ComponentRule(0.2, 200000),
    TripletRule(0.7, 0.3, 100000),
    ExpectedRule(np.linspace(0, 1, 256).tolist(), 0.9, [51, 153], [0.4, 0.5], -6.0),
]


@pytest.mark.parametrize("rule", EXAMPLES, ids=lambda rule: f"{rule.name}-{EXAMPLES.index(rule)}")
def test_the_candidate_is_the_mask_where_its_evidence_reaches_the_cut(rule, problem):
    cut = 1 if rule.name == "expected" else rule.removal
    reached = set()
    for seed in range(20):
        for levels in problem(seed)[0]:
            mask, evidence = rule.candidate(levels)
            assert mask.any() or evidence < cut
            expected = mask if evidence >= cut else np.zeros_like(mask)
            assert (rule.mask(levels) == expected).all()
            reached.add(evidence >= cut)
    assert reached == {True, False}


def test_the_largest_component_is_kept_where_none_is_large_enough():
    levels = np.zeros((32, 32), np.uint8)
    levels[2:4, 2:4] = levels[10, 10] = 255
    mask, evidence = ComponentRule(0.5, 10**6).candidate(levels)
    assert mask.sum() == 4
    assert evidence == 4 * 1024


def test_a_shut_gate_leaves_no_evidence():
    levels = np.full((8, 8), 255, np.uint8)
    rule = ImageRule(0.5, 0, gate=0.4)
    assert rule.candidate(levels, 0.5)[1] == 1024 * 1024
    assert rule.candidate(levels, 0.3)[1] == 0


@given(st.permutations(range(1, 30)), st.floats(0, 1))
def test_the_share_gives_the_number_of_masks(evidence, share):
    chosen = rank_quantiles(np.array(evidence, float)) <= share
    assert abs(chosen.sum() - share * len(evidence)) <= 0.5 + 1e-9
    assert sorted(np.array(evidence)[chosen]) == sorted(evidence)[len(evidence) - chosen.sum() :]


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.floats(0, 1), st.randoms())
def test_the_order_of_images_does_not_matter_and_ties_are_treated_alike(evidence, share, random):
    before = dict(zip(evidence, (rank_quantiles(np.array(evidence, float)) <= share).tolist(), strict=True))
    random.shuffle(evidence)
    assert [before[value] for value in evidence] == (rank_quantiles(np.array(evidence, float)) <= share).tolist()
    assert not before.get(0, False)


def test_the_share_counts_weights():
    evidence, weights = np.array([4.0, 3.0, 2.0, 1.0]), np.array([0.5, 0.5, 0.5, 2.5])
    assert (rank_quantiles(evidence, weights) <= 0.25).tolist() == [True, True, False, False]
    assert (rank_quantiles(evidence) <= 0.25).tolist() == [True, False, False, False]


class TestMaskEncoder:
    """`MaskEncoder`, with and without a share."""

    LEVELS = {name: np.full((8, 8), 200, np.uint8) for name in "abcd"}  # noqa: RUF012

    def decided(self, share):
        found = MaskEncoder(ImageRule(0.5, 10000), share)
        for index, (name, levels) in enumerate(self.LEVELS.items()):
            levels = levels.copy()
            levels[index:] = 0  # the areas grow: 0, 1, 2 and 3 rows
            found.add(name, levels)
        assert len(found) == 4
        assert "a" in found
        assert "e" not in found
        return [name for name, text in found.rle().items() if text != "-1"]

    def test_without_a_share_each_image_is_decided_alone(self):
        assert self.decided(None) == ["b", "c", "d"]

    def test_with_a_share_the_images_with_the_most_evidence_get_masks(self):
        assert self.decided(0.5) == ["c", "d"]
        assert self.decided(0.25) == ["d"]
        assert self.decided(0.0) == []
        assert self.decided(1.0) == ["b", "c", "d"]  # none without evidence
