import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from kit.competition import rle
from kit.core.errors import KitError


def slow_encode(mask):
    """Pixel by pixel, down the columns; the run at the very end counts like any other."""
    words, gap, run = [], 0, 0
    for column in np.asarray(mask).T:
        for pixel in column:
            if pixel:
                run += 1
                continue
            if run:
                words += [gap, run]
                gap = run = 0
            gap += 1
    if run:
        words += [gap, run]
    return " ".join(map(str, words)) or "-1"


masks = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


@settings(max_examples=400, deadline=None)
@given(masks, st.booleans())
def test_encoding_equals_the_slow_one_and_decoding_inverts_it(mask, by_columns):
    mask = np.asfortranarray(mask) if by_columns else mask
    text = rle.encode(mask)
    assert text == slow_encode(mask)
    decoded = rle.decode(text, mask.shape)
    assert decoded.dtype == bool
    assert decoded.shape == mask.shape
    assert (decoded == mask).all()


@settings(max_examples=200, deadline=None)
@given(masks, st.sampled_from([np.s_[::-1], np.s_[:, ::-1], np.s_[::2, 1:], np.s_[1:, ::2]]), st.booleans())
def test_views_of_a_mask_are_encoded_as_their_copies(mask, part, by_columns):
    view = (np.asfortranarray(mask) if by_columns else mask)[part]
    assert rle.encode(view) == rle.encode(view.copy()) == rle.encode(view * 7.5) == slow_encode(view)


@pytest.mark.parametrize("name", ["empty", "full", "first", "last", "both", "column", "row", "blob"])
def test_masks_at_the_edges_of_a_real_image(name):
    mask = np.zeros((1024, 1024), bool)
    if name == "full":
        mask[:] = True
    if name in ("first", "both"):
        mask[0, 0] = True
    if name in ("last", "both"):
        mask[-1, -1] = True
    if name == "column":
        mask[:, 7:9] = True
    if name == "row":
        mask[-1] = True
    if name == "blob":
        mask[300:500, 200:900] = np.random.default_rng(0).random((200, 700)) > 0.3
    for laid in (mask, np.asfortranarray(mask)):
        assert (rle.decode(rle.encode(laid)) == mask).all()
        assert rle.area(rle.encode(laid)) == mask.sum()


@pytest.mark.parametrize("shape", [(64, 96), (61, 96), (64, 93), (3000, 8), (0, 8), (8, 0)])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5])
def test_masks_by_columns_are_encoded_as_the_slow_one_does(shape, share):
    mask = np.asfortranarray(np.random.default_rng(0).random(shape) < share)
    assert rle.encode(mask) == rle.encode(mask.copy("C")) == slow_encode(mask)


def test_known_texts():
    assert rle.encode(np.zeros((4, 4))) == "-1"
    assert rle.encode(np.ones((4, 4))) == "0 16"
    assert rle.encode(np.array([[0, 255], [255, 0]], np.uint8)) == "1 2"
    for nothing in ("-1", " -1 ", "", "  \n"):
        assert not rle.decode(nothing, (4, 4)).any()
    assert rle.decode(" 3  2\t1 1 ", (4, 2)).T.ravel().astype(int).tolist() == [0, 0, 0, 1, 1, 0, 1, 0]


@given(st.lists(st.tuples(st.integers(-2, 9), st.integers(-1, 6)), min_size=1, max_size=6), st.sampled_from(" \t"))
def test_any_pairs_are_walked_as_written(pairs, space):
    text = space.join(str(number) for pair in pairs for number in pair)
    wanted, place = np.zeros(20, bool), 0
    for gap, length in pairs:
        if gap < 0 or length <= 0 or place + gap + length > len(wanted):
            with pytest.raises(KitError):
                rle.decode(text, (20, 1))
            return
        wanted[place + gap : place + gap + length] = True
        place += gap + length
    assert (rle.decode(text, (20, 1))[:, 0] == wanted).all()


def test_numbers_may_have_leading_zeros_and_signs():
    for text in ("01 002", "+1 2", "0" * 30 + "1\t2"):
        assert np.flatnonzero(rle.decode(text, (5, 1))).tolist() == [1, 2]


def test_touching_runs_are_one_mask():
    assert (rle.decode("2 3 0 4", (10, 1)) == rle.decode("2 7", (10, 1))).all()


@given(st.lists(masks.filter(lambda m: m.shape == (3, 4)) | arrays(bool, (3, 4)), max_size=4))
def test_a_union_is_the_or_of_its_rows_however_they_overlap(parts):
    parts = [part for part in parts if part.shape == (3, 4)]
    expected = np.zeros((3, 4), bool)
    for part in parts:
        expected |= part
    assert (rle.union(map(rle.encode, parts), (3, 4)) == expected).all()


@pytest.mark.parametrize(
    ("text", "pair", "reason"),
    [
        ("5", 1, "odd"),
        ("1 2 3", 2, "odd"),
        ("a 2", 1, "'a' is not a whole number"),
        ("1 2 3 4.5", 2, r"'4\.5' is not a whole number"),
        ("1_0 2", 1, "not a whole number"),
        ("１ 2", 1, "not a whole number"),
        ("nan", 1, "not a whole number"),
        ("1 2 -1 3", 2, "negative"),
        ("1 0", 1, "not positive"),
        ("1 2 3 -4", 2, "not positive"),
        ("60 5", 1, "past the last pixel"),
        ("1 2 60 2", 2, "past the last pixel"),
        ("0 65", 1, "past the last pixel"),
        ("9999999999999999999999 1", 1, "past the last pixel"),
        ("9223372036854775807 9223372036854775807", 1, "past the last pixel"),
        ("-9999999999999999999999 1", 1, "negative"),
        ("9" * 5000 + " 1", 1, "past the last pixel"),
        ("1 2 60 2 x y", 2, "past the last pixel"),
        ("-1 -1", 1, "negative"),
    ],
)
def test_malformed_texts_name_image_pair_and_reason(text, pair, reason):
    with pytest.raises(KitError, match=f"image abc: RLE pair {pair}: .*{reason}") as refused:
        rle.decode(text, (8, 8), "abc")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", [None, float("nan"), 5, b"1 2"])
def test_a_value_that_is_no_text_is_refused(text):
    with pytest.raises(KitError, match="not text"):
        rle.decode(text, (8, 8))
