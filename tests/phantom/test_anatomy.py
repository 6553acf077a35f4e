from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from kit.phantom.anatomy import vertebrae
from kit.phantom.film import Film


def test_patients_differ_in_build_breath_and_turn(cases):
    def spread(values):
        low, high = np.quantile(list(values), (0.05, 0.95))
        return high - low

    chests = [case.chest for case in cases]
    assert spread(chest.half_width for chest in chests) > 0.05
    assert spread(chest.height for chest in chests) > 0.12
    assert spread(chest.fat for chest in chests) > 0.25
    assert spread(chest.heart for chest in chests) > 0.25
    assert spread(chest.turn for chest in chests) > 0.2
    assert spread(np.arctan2(case.pose[1, 0], case.pose[0, 0]) for case in cases if not case.upper) > 0.15
    levels = np.array([case.pixels(64).mean() for case in cases[:30]])
    assert spread(levels) > 40


def test_two_films_of_a_patient_show_one_build_in_two_breaths(cases):
    pairs = [(case, case.patient) for case in cases if case.patient is not case]
    assert len(pairs) > 10
    for name in ("female", "half_width", "taper", "fat", "breast", "bone"):
        assert all(getattr(one.chest, name) == getattr(other.chest, name) for one, other in pairs)
    assert all(one.chest.turn != other.chest.turn for one, other in pairs)


@pytest.mark.parametrize("turn", [-0.2, 0.0, 0.2])
def test_a_turned_chest_shifts_front_against_back_and_keeps_its_walls(cases, turn):
    chest = replace(cases[0].chest, turn=turn)
    front, back = (chest.at(1, 0.0, 0.5, depth)[0] for depth in (1.0, -1.0))
    assert front - back == pytest.approx(2 * turn * chest.half_width)
    assert chest.at(1, 1.2, 0.5, 1.0)[0] == pytest.approx(chest.at(1, 1.2, 0.5)[0])


def test_the_spine_is_seen(cases):
    """Bodies and discs alternate in the middle of the film, in the rhythm in which they are drawn."""
    seen = []
    for case in [case for case in cases[:60] if not case.upper][:8]:
        film, pixels = Film(512, case.pose), case.pixels(512).astype(float)
        bodies = vertebrae(case.chest)[0]
        gaps = [np.vstack((one[2:4], other[[-1, 0]])) for one, other in pairwise(bodies)]
        body, gap = (np.any([film.mask(line) for line in lines], axis=0) for lines in (bodies, gaps))
        seen.append(pixels[body & (pixels < 250)].mean() - pixels[gap & ~body & (pixels < 250)].mean())
    assert np.mean(np.array(seen) > 0) > 0.7
    assert np.mean(seen) > 2
