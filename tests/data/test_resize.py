import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.data.resize import resize_image, resize_mask


def test_each_pixel_of_an_image_is_the_mean_of_its_area():
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256), np.uint8)
    expected = pixels.reshape(64, 4, 64, 4).mean(axis=(1, 3))
    assert np.abs(resize_image(pixels, 64) - expected).max() <= 0.5 + 1e-6


def test_a_pixel_is_foreground_if_at_least_half_is_covered():
    mask = cv2.circle(np.zeros((256, 256), np.uint8), (100, 120), 60, 1, -1).astype(bool)
    covered = mask.reshape(64, 4, 64, 4).mean(axis=(1, 3))
    assert (resize_mask(mask, 64) == (covered >= 0.5)).all()


@pytest.mark.parametrize("size", [64, 96, 104, 100, 300])
@pytest.mark.parametrize("order", ["C", "F"])
def test_the_surroundings_of_a_mask_do_not_matter(size, order):
    mask = cv2.circle(np.zeros((256, 256), np.uint8), (70, 190), 40, 1, -1).astype(bool)
    whole = cv2.resize(mask.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) >= 0.5
    assert (resize_mask(np.array(mask, order=order), size) == whole).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 127), st.integers(0, 127), st.integers(1, 9), st.integers(1, 9)), max_size=6),
    st.sampled_from([32, 64, 96, 128]),
)
def test_no_component_vanishes(boxes, size):
    mask = np.zeros((128, 128), bool)
    for top, left, height, width in boxes:
        mask[top : top + height, left : left + width] = True
    small = resize_mask(mask, size)
    assert small.shape == (size, size)
    assert small.dtype == bool
    assert small.any() == mask.any()
    count, components = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    for component in range(1, count):
        touched = (
            cv2.resize((components == component).astype(np.float32), (size, size), interpolation=cv2.INTER_AREA) > 0
        )
        assert (small & touched).any()


@pytest.mark.parametrize("how", ["area", "bilinear", "touched"])
def test_the_same_size_is_the_same_mask(how):
    mask = np.random.default_rng(1).random((64, 64)) > 0.7
    assert (resize_mask(mask, 64, how) == mask).all()


@pytest.mark.parametrize("size", [16, 24, 25, 32, 75])
def test_bilinear_is_foreground_wherever_one_of_four_pixels_is(size):
    mask = cv2.circle(np.zeros((64, 64), np.uint8), (18, 47), 10, 1, -1).astype(bool)
    wanted = np.zeros((size, size), bool)
    for row in range(size):
        for column in range(size):
            y, x = ((place + 0.5) * 64 / size - 0.5 for place in (row, column))
            for r, c in ((a, b) for a in {np.floor(y), np.ceil(y)} for b in {np.floor(x), np.ceil(x)}):
                wanted[row, column] |= mask[int(np.clip(r, 0, 63)), int(np.clip(c, 0, 63))]
    found = resize_mask(mask, size, "bilinear")
    assert np.count_nonzero(found != wanted) <= 2  # where a weight is rounded to nothing
    assert found.sum() > resize_mask(mask, size).sum()


@pytest.mark.parametrize("size", [64, 100])
def test_touched_is_foreground_wherever_any_of_a_pixel_is(size):
    mask = cv2.circle(np.zeros((256, 256), np.uint8), (70, 190), 40, 1, -1).astype(bool)
    wanted = np.zeros((size, size), bool)
    for row, column in np.argwhere(mask):
        first, last = (
            [at * size // 256 for at in (row, column)],
            [((at + 1) * size - 1) // 256 for at in (row, column)],
        )
        wanted[first[0] : last[0] + 1, first[1] : last[1] + 1] = True
    assert (resize_mask(mask, size, "touched") == wanted).all()


def test_no_component_vanishes_between_the_pixels_that_bilinear_looks_at():
    mask = np.zeros((256, 256), bool)
    mask[100, 100] = mask[40:80, 40:80] = True  # of rows 100 to 103 bilinear looks at 101 and 102
    assert resize_mask(mask, 64, "bilinear")[25, 25]
