"""Optima of bootstrap draws against a search of each draw, and the draws against their definition."""

import numpy as np
import pytest

from kit.inference.rules import parameters
from kit.thresholds import draws
from kit.thresholds.selection import choose, search_of
from kit.thresholds.tables import Components, Histograms


def tables_of(maps, masks):
    tables = Histograms(len(maps)), Components(len(maps))
    for index, (levels, mask) in enumerate(zip(maps, masks, strict=True)):
        for table in tables:
            table.add(index, levels, mask)
    return tables


@pytest.mark.parametrize("kind", ["image", "component", "triplet"])
@pytest.mark.parametrize("seed", range(3))
def test_each_draw_s_rule_is_as_good_as_its_own_search_finds(kind, seed, problem):
    maps, masks = problem(seed, count=40)
    search = search_of(kind, *tables_of(maps, masks), None)
    drawn = draws.patient_draws(np.linspace(0.5, 2, 40), [str(i // 2) for i in range(40)], 70, seed)
    for rule, weights in zip(draws.optima(search, drawn), drawn, strict=True):
        assert type(rule) is search.kind
        best = weights @ search.dice(search.best(weights))
        assert weights @ search.dice(rule) == pytest.approx(best, rel=1e-5)


@pytest.mark.parametrize("kind", ["image", "component", "triplet"])
def test_what_the_mask_of_a_rule_scores_is_what_was_best(kind, problem, slow):
    maps, masks = problem(7, count=8)
    search = search_of(kind, *tables_of(maps, masks), None)
    [weights] = draws.patient_draws(np.ones(8), list("abcdefgh"), 1)
    [rule] = draws.optima(search, weights[None])
    scored = [slow.dice(rule.mask(levels), mask) for levels, mask in zip(maps, masks, strict=True)]
    levels = np.unique(maps)
    settings = [
        slow.mean_dice(kind, maps, masks, removal, level, top, weights=weights)
        for level in levels
        for top in (levels if kind == "triplet" else [None])
        for removal in (0, 20_000, 50_000, 90_000, 200_000)
    ]
    assert np.average(scored, weights=weights) >= max(settings) - 1e-5


def test_patients_are_drawn_with_all_their_images():
    weights = np.array([1.0, 2.0, 3.0, 1.0, 1.0])
    drawn = draws.patient_draws(weights, ["a", "a", "b", "c", "c"], 200)
    counts = drawn / weights  # (200, N)
    assert (counts[:, 0] == counts[:, 1]).all()
    assert (counts[:, 3] == counts[:, 4]).all()
    assert (counts[:, [0, 2, 3]].sum(axis=1) == 3).all()
    assert counts[:, 2].mean() == pytest.approx(1, abs=0.2)
    assert (drawn == draws.patient_draws(weights, ["a", "a", "b", "c", "c"], 200)).all()


def test_a_choice_tells_how_far_its_thresholds_move(problem):
    maps, masks = problem(3, count=30)
    patients = [str(i) for i in range(30)]
    found = choose(maps, masks, patients, None, ["image", "triplet", "expected"], draws=50)
    assert found["expected"].spread == {}
    for kind in ("image", "triplet"):
        result = found[kind]
        assert result.spread.keys() == result.plateau.keys() == parameters(result.rule).keys() - {"rule"}
        for low, middle, high in result.spread.values():
            assert low <= middle <= high
        search = search_of(kind, *tables_of(maps, masks), None)
        rules = [search.best(w) for w in draws.patient_draws(np.ones(30), patients, 50)]
        spread = np.percentile([rule.removal for rule in rules], [2.5, 97.5])
        assert result.spread["removal"][0] <= spread[1]
        assert result.spread["removal"][2] >= spread[0]
    assert choose(maps, masks, patients)["image"].spread is None
