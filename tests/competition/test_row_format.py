"""The format of label rows, checked against the resulting masks."""

import cv2
import numpy as np
import pytest

from kit.competition import mirror, rle, row_format
from kit.competition.row_format import RowFormat
from kit.core.errors import KitError


def ellipses(shape, count=5):
    """Returns filled ellipses at random places, bool (H, W) each."""
    rng, found = np.random.default_rng(0), {}
    for number in range(count):
        mask = np.zeros(shape, np.uint8)
        centre = (rng.uniform(0.35, 0.65, 2) * shape[::-1]).astype(int).tolist()
        cv2.ellipse(mask, centre, (shape[1] // 8, shape[0] // 10), 20, 0, 360, 1, -1)
        found[f"case{number}"] = mask.astype(bool)
    return found


def absolute(text, first):
    starts, ends = rle.runs(text, 2**40)
    return " ".join(f"{start + first} {end - start}" for start, end in zip(starts, ends, strict=True))


def write(folder, masks, texts, size=None):
    """Writes pictures, of `size` if it is given, and the rows beside them."""
    folder.mkdir()
    rows = ["ImageId,EncodedPixels"]
    for name, mask in masks.items():
        height, width = size or mask.shape
        cv2.imwrite(str(folder / f"{name}.png"), np.full((height, width), 9, np.uint8))
        rows.append(f"{name},{texts[name]}")
    (folder / "train-rle.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("along_rows", [False, True])
def test_a_given_format_is_used(tmp_path, first, along_rows):
    masks = ellipses((70, 90))
    texts = {name: absolute(rle.encode(mask.T if along_rows else mask), first) for name, mask in masks.items()}
    form = f"starts-{first},{'rows' if along_rows else 'columns'}"
    found = mirror.recognise(write(tmp_path / "a", masks, texts), rle_format=form)
    assert not found.misfit
    assert str(found.format) == form
    for name, mask in masks.items():
        assert (found.truth(name).pixels == mask).all()
        gaps = found.format.as_gaps(texts[name], mask.shape, name)
        assert (rle.decode(gaps, mask.shape) == mask).all()


def test_starts_and_their_first_pixel_are_guessed_and_reported(tmp_path):
    masks = ellipses((70, 90))
    masks["case0"][0, 0] = True
    for first in (0, 1):
        texts = {name: absolute(rle.encode(mask), first) for name, mask in masks.items()}
        found = mirror.recognise(write(tmp_path / str(first), masks, texts))
        assert found.format == RowFormat(first)
        assert f"rows taken for starts-{first},columns (--rle says otherwise)" in str(found)


def test_one_broken_row_that_looks_absolute_does_not_decide_for_all():
    texts = {name: (rle.encode(mask),) for name, mask in ellipses((70, 90)).items()}
    texts["broken"] = ("4000 200 5000 100",)
    assert row_format.guess(texts, dict.fromkeys(texts, (70, 90))) == RowFormat()


def test_rows_along_the_rows_are_refused_with_the_word_that_reads_them(tmp_path):
    masks = ellipses((70, 90))
    texts = {name: rle.encode(mask.T) for name, mask in masks.items()}
    folder = write(tmp_path / "a", masks, texts)
    assert "fall apart at a height of 70 pixels" in mirror.recognise(folder).misfit
    assert mirror.recognise(folder).misfit.endswith("--rle rows")
    assert not mirror.recognise(folder, rle_format="rows").misfit
    assert mirror.recognise(
        write(tmp_path / "b", masks, {n: rle.encode(m) for n, m in masks.items()}), rle_format="rows"
    ).misfit.endswith("--rle columns")


@pytest.mark.parametrize(
    ("drawn", "shown"), [((900, 700), (256, 200)), ((512, 512), (128, 128)), ((500, 500), (512, 512))]
)
def test_rows_of_another_image_size_need_a_given_size(tmp_path, drawn, shown):
    masks = ellipses(drawn)
    folder = write(tmp_path / "a", masks, {name: rle.encode(mask) for name, mask in masks.items()}, shown)
    assert "--rle HEIGHTxWIDTH" in mirror.recognise(folder).misfit
    if np.isclose(drawn[0] / drawn[1], shown[0] / shown[1], rtol=0.01):
        found = mirror.recognise(folder, rle_format="{}x{}".format(*drawn))
        assert not found.misfit
        assert all((found.truth(name).pixels == mask).all() for name, mask in masks.items())


@pytest.mark.parametrize("shape", [(64, 64), (70, 90), (300, 120)])
def test_correct_rows_are_accepted(shape):
    texts = {name: (rle.encode(mask),) for name, mask in ellipses(shape).items()}
    noise = np.random.default_rng(0).random((3, *shape)) > 0.5
    texts |= {f"noise{number}": (rle.encode(mask),) for number, mask in enumerate(noise)}
    texts |= {f"full{number}": (rle.encode(np.ones(shape, bool)),) for number in range(3)}
    sizes = dict.fromkeys(texts, shape)
    assert row_format.misfit(row_format.guess(texts, sizes), texts, sizes) == ""


@pytest.mark.parametrize("text", ["", "starts-2", "900", "0x5", "rows,x"])
def test_an_invalid_format_is_refused(text):
    with pytest.raises(KitError, match="--rle"):
        row_format.parse(text)


@pytest.mark.parametrize("text", ["5 2 40", "5 x", "1.5 2"])
def test_a_broken_row_of_starts_is_one_line(text):
    with pytest.raises(KitError, match="not pairs of a start and a length"):
        row_format.from_absolute(text)
