import numpy as np

from kit.phantom.anatomy import lung
from kit.phantom.competition import Case
from kit.phantom.film import area


def test_air_is_darkest_where_it_is_deep(cases):
    regions = [region for case in cases for region in case.regions]
    small, large = (
        np.mean([region.contrast for region in regions if (area(region.outline) > 0.05) == big])
        for big in (False, True)
    )
    assert large > small + 0.1
    assert 0.05 < min(region.contrast for region in regions) < 0.18
    assert max(region.contrast for region in regions) < 0.85


def test_a_lungs_edge_is_round(cases):
    """From one point of the pleura to the next the line turns by little, where the wall has corners."""
    sharpest = []
    for region in (region for case in cases for region in case.regions):
        along = np.diff(region.pleura[2:-2], axis=0)
        along = along[np.hypot(*along.T) > 1e-3]
        turn = np.diff(np.unwrap(np.arctan2(along[:, 1], along[:, 0])))
        sharpest.append(np.quantile(np.abs(turn), 0.95))
    assert np.median(sharpest) < 0.25
    assert np.quantile(sharpest, 0.95) < 0.6


def test_in_bed_air_now_and_then_deepens_the_angle_and_is_found_there():
    deep = [case for case in (Case(5, 0, index) for index in range(400)) if case.chest.deep]
    assert 2 <= len(deep) <= 40
    for case in deep:
        assert case.anteroposterior
        assert case.regions
        lowest = [lung(case.chest, side)[:, 1].max() for side in (case.chest.deep, -case.chest.deep)]
        assert lowest[0] > lowest[1] + 0.05
        assert any(region.outline[:, 1].max() > lowest[0] - 0.02 for region in case.regions)


def test_in_a_decubitus_film_air_lies_up(cases):
    lying = [case for case in (Case(7, 0, index) for index in range(600)) if case.upper]
    assert 3 <= len(lying) <= 40
    for case in lying:
        assert case.anteroposterior
        up, down = (case.pose @ (*case.chest.at(side, 0.6, 0.5), 1) for side in (case.upper, -case.upper))
        assert up[1] < down[1] - 0.2
        for region in case.regions[:1]:
            middle = case.pose @ (*region.outline.mean(axis=0), 1)
            assert middle[1] < (case.pose @ (0.5, 0.5, 1))[1]


def test_regions_go_from_tiny_to_large(cases):
    areas = [np.any(case.masks(256), axis=0).mean() for case in cases if case.regions]
    assert min(areas) < 0.01
    assert max(areas) > 0.07
    assert 0.02 < np.median(areas) < 0.07
