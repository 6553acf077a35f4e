from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from kit.phantom.anatomy import SIDES, lung, vertebrae
from kit.phantom.film import Film, area


def spread(values):
    low, high = np.quantile(list(values), (0.05, 0.95))
    return high - low


def test_patients_differ_in_build_breath_and_turn(cases):
    chests = [case.chest for case in cases]
    assert spread(chest.half_width for chest in chests) > 0.05
    assert spread(chest.height for chest in chests) > 0.12
    assert spread(chest.fat for chest in chests) > 0.15
    assert spread(chest.heart for chest in chests) > 0.2
    assert spread(chest.turn for chest in chests) > 0.15
    assert spread(np.arctan2(case.pose[1, 0], case.pose[0, 0]) for case in cases) > 0.1
    assert spread(case.pixels(64).mean() for case in cases[:30]) > 30


def test_two_films_of_a_patient_show_one_build_in_two_breaths(cases):
    pairs = [(case, case.patient) for case in cases if case.patient is not case]
    assert len(pairs) > 10
    for name in ("half_width", "fat", "breast", "seed"):
        assert all(getattr(one.chest, name) == getattr(other.chest, name) for one, other in pairs)
    assert all(one.chest.turn != other.chest.turn for one, other in pairs)


@pytest.mark.parametrize("turn", [-0.2, 0.0, 0.2])
def test_a_turned_chest_shifts_front_against_back_and_keeps_its_walls(cases, turn):
    chest = replace(cases[0].chest, turn=turn)
    front, back = (chest.place(1, (0.0, 0.5), depth)[0] for depth in (1.0, -1.0))
    assert front - back == pytest.approx(2 * turn * chest.half_width)
    assert chest.place(1, (1.2, 0.5), 1.0)[0] == pytest.approx(chest.place(1, (1.2, 0.5))[0])


def test_lungs_are_dark_and_of_a_lungs_size(cases):
    for case in [case for case in cases[:30] if not case.regions]:
        assert all(0.06 < area(lung(case.chest, side)) < 0.25 for side in SIDES)
        film, pixels = Film(128, case.pose), case.pixels(128).astype(float)
        inside = np.any([film.mask(lung(case.chest, side)) for side in SIDES], axis=0)
        middle = film.mask(case.chest.across([(0.06, 0.3), (0.06, 0.9)]))
        assert pixels[inside].mean() < pixels[middle].mean() - 40


def test_the_spine_is_seen(cases):
    """Bodies and discs alternate in the middle of the film, in the rhythm in which they are drawn."""
    seen = []
    for case in cases[:8]:
        film, pixels = Film(512, case.pose), case.pixels(512).astype(float)
        bodies = vertebrae(case.chest)
        gaps = [np.vstack((one[2:4], other[[-1, 0]])) for one, other in pairwise(bodies)]
        body, gap = (np.any([film.mask(line) for line in lines], axis=0) for lines in (bodies, gaps))
        seen.append(pixels[body & (pixels < 250)].mean() - pixels[gap & ~body & (pixels < 250)].mean())
    assert np.mean(np.array(seen) > 0) > 0.7
    assert np.mean(seen) > 2
