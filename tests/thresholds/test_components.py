import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from kit.thresholds.components import sweep
from kit.thresholds.tables import Components


def labelled(levels, truth, level):
    """The rows of one level, computed by labelling its components."""
    labels, count = ndimage.label(levels >= level, np.ones((3, 3)))
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    overlaps = np.bincount(labels[truth], minlength=count + 1)[1:]
    distinct = sorted(set(areas.tolist()), reverse=True)
    return [[level, area, areas[areas >= area].sum(), overlaps[areas >= area].sum()] for area in distinct]


def assert_equal_to_labelling(levels, truth, lowest=0):
    want = [row for level in range(255, lowest - 1, -1) for row in labelled(levels, truth, level)]
    assert sweep(levels, truth, lowest).tolist() == want


FEW_LEVELS = st.sampled_from([0, 1, 2, 128, 254, 255])


@settings(max_examples=40, deadline=None)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=FEW_LEVELS),
    st.integers(0, 2**32 - 1),
)
def test_any_map_equals_labelling_each_level(levels, seed):
    assert_equal_to_labelling(levels, np.random.default_rng(seed).random(levels.shape) < 0.4)


def test_single_pixels_give_the_largest_number_of_components():
    levels = np.zeros((9, 9), np.uint8)
    levels[::2, ::2] = 200
    levels[0, 0] = 100
    assert_equal_to_labelling(levels, levels > 0)


def test_the_lowest_levels_can_be_left_out(problem):
    levels, truth = (stack[1] for stack in problem(2))
    assert_equal_to_labelling(levels, truth, lowest=13)


def test_the_table_adds_up_to_the_dice_of_every_level_and_size(problem, slow):
    maps, masks = problem(5)
    table = Components(len(maps))
    for index, (levels, mask) in enumerate(zip(maps, masks, strict=True)):
        table.add(index, levels, mask)
    for level in range(0, 256, 15):
        image, size, gain = table.steps(level)
        for removal in np.unique(size):
            stands = size >= removal
            dice = table.empty + np.bincount(image[stands], gain[stands], minlength=len(maps))
            want = [
                slow.dice(slow.mask("component", levels, removal, level), mask)
                for levels, mask in zip(maps, masks, strict=True)
            ]
            np.testing.assert_allclose(dice, want, atol=1e-12)
