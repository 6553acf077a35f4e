import cv2
import numpy as np
import pytest

from kit.phantom.anatomy import SIDES, lung
from kit.phantom.film import Film
from kit.phantom.radiograph import expose


@pytest.fixture(scope="module")
def positives(cases):
    return [case for case in cases if case.regions]


def test_regions_are_large_enough_to_be_learned(positives):
    areas = [np.any(case.masks(256), axis=0).mean() for case in positives]
    assert min(areas) > 0.01
    assert 0.03 < np.median(areas) < 0.06
    assert max(areas) < 0.2


def test_two_regions_lie_one_in_each_lung(positives):
    for case in positives:
        middles = sorted(region.outline[:, 0].mean() for region in case.regions)
        if len(middles) == 2:
            assert middles[0] < 0.5 < middles[1]


def test_masks_lie_inside_a_lung_along_its_wall(positives):
    for case in positives[:30]:
        film = Film(256, case.pose)
        lungs = np.any([film.mask(lung(case.chest, side)) for side in SIDES], axis=0).astype(np.uint8)
        wide, narrow = cv2.dilate(lungs, np.ones((3, 3))) > 0, cv2.erode(lungs, np.ones((7, 7))) > 0
        for mask in case.masks(256):
            assert (mask & wide).sum() > 0.98 * mask.sum()
            assert (mask & ~narrow).sum() > 0.05 * mask.sum()


def test_the_rim_is_dark_and_bare(positives):
    """Compared with the same film of the same chest without a pneumothorax, which is equal elsewhere."""
    for case in positives[:16]:
        sick = case.pixels(256).astype(float)
        well = expose(case.chest, [], case.pose, 256, case.stream("film")).astype(float)
        mask = np.any(case.masks(256), axis=0).astype(np.uint8)
        air, far = cv2.erode(mask, np.ones((5, 5))) > 0, cv2.dilate(mask, np.ones((99, 99))) == 0
        assert (well - sick)[air].mean() > 15
        assert np.abs(well - sick)[far].mean() < 3
        rough = [np.abs(x - cv2.blur(x, (3, 3)))[air].mean() for x in (well, sick)]
        assert rough[1] < rough[0]
