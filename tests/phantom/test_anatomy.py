import numpy as np

from kit.phantom.anatomy import SIDES, lung
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


def test_lungs_are_dark_and_of_realistic_size(cases):
    for case in [case for case in cases[:30] if not case.regions]:
        assert all(0.06 < area(lung(case.chest, side)) < 0.25 for side in SIDES)
        film, pixels = Film(128, case.pose), case.pixels(128).astype(float)
        inside = np.any([film.mask(lung(case.chest, side)) for side in SIDES], axis=0)
        middle = film.mask(case.chest.across([(0.06, 0.3), (0.06, 0.9)]))
        assert pixels[inside].mean() < pixels[middle].mean() - 40
