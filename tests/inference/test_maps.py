import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kit.core.errors import KitError
from kit.inference.maps import open_maps, save, to_levels, upsample


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_level_l_or_more_means_p_of_l_over_255_or_more(dtype):
    rng = np.random.default_rng(0)
    edges = (np.arange(256) / 255).astype(dtype)
    around = np.concatenate([edges, np.nextafter(edges[1:], dtype(0)), np.nextafter(edges[:-1], dtype(1))])
    probabilities = np.concatenate([around, rng.random(5000).astype(dtype)])[None]
    levels = to_levels(probabilities)
    assert levels.dtype == np.uint8
    for level in range(256):
        assert ((levels >= level) == (probabilities >= edges[level])).all()


@settings(max_examples=50, deadline=None)
@given(hnp.arrays(np.uint8, (3, 4)), st.sampled_from([np.float16, np.float32, np.float64]))
def test_levels_survive_as_probabilities(levels, dtype):
    assert (to_levels((levels / 255).astype(dtype)) == levels).all()
    assert to_levels(levels) is levels


@pytest.mark.parametrize("bad", [np.nan, -0.001, 1.001, np.inf])
def test_values_outside_0_to_1_are_refused(bad):
    with pytest.raises(KitError, match="give values in"):
        to_levels(np.array([[0.5, bad]]))


def test_maps_are_kept_with_their_ids_and_read_one_at_a_time(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)
    save(tmp_path / "fold0.npy", ["a", "b", "c"], array)
    maps = open_maps(tmp_path / "fold0.npy")
    assert (maps.ids, maps.named, len(maps)) == (("a", "b", "c"), True, 3)
    assert isinstance(maps.array, np.memmap)
    assert (np.stack(list(maps)) == array).all()
    assert (maps[1] == array[1]).all()


def test_maps_without_ids_are_numbered(tmp_path):
    np.save(tmp_path / "maps.npy", np.zeros((2, 3, 3), np.float32))
    maps = open_maps(tmp_path / "maps.npy")
    assert (maps.ids, maps.named) == (("0", "1"), False)


def test_an_error_names_file_and_image(tmp_path):
    array = np.zeros((2, 3, 3))
    array[1, 0, 0] = np.nan
    save(tmp_path / "maps.npy", ["first", "second"], array)
    with pytest.raises(KitError, match=r"maps\.npy: image second: .*NaN"):
        list(open_maps(tmp_path / "maps.npy"))


def test_upsampling_is_bilinear_and_gives_the_shape():
    levels = np.array([[0, 200]], np.uint8)
    assert upsample(levels, (2, 4)).tolist() == [[0, 50, 150, 200]] * 2
    assert upsample(levels, (1, 2)) is levels


def test_rounding_errors_outside_the_range_are_clipped():
    over = np.array([[-1e-7, 1.0000001]], np.float32)
    assert to_levels(over).tolist() == [[0, 255]]
    with pytest.raises(KitError, match=r"\[0, 1\.0001"):
        to_levels(np.array([0, 1.0001], np.float32))
