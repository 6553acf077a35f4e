"""Pictures and masks as annotation tools, paint programs and compressors write them."""

import cv2
import numpy as np
import pytest
from PIL import Image

from kit.competition import pictures
from kit.core.errors import KitError

TRUTH = np.zeros((40, 50), bool)
TRUTH[5:15, 8:20] = True
NOTHING = np.zeros_like(TRUTH)
BLACK, WHITE, RED, GREEN = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 128, 0)


def indexed(indices, *colours, transparency=None):
    """A picture with a palette."""
    picture = Image.fromarray(indices.astype(np.uint8)).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette([level for colour in colours for level in colour])
    if transparency is not None:
        picture.info["transparency"] = transparency
    return picture


def drawn(below, above, alpha=TRUTH * 255):
    """An RGBA picture of colour `above` on the truth and colour `below` elsewhere."""
    colours = np.where(TRUTH[..., None], above, below).astype(np.uint8)
    return Image.fromarray(np.dstack([colours, alpha.astype(np.uint8)]), "RGBA")


def saved(folder, picture, name="m.png", **options):
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(folder / name, **options)
    return folder / name


GREY = TRUTH.astype(np.uint8)
SOFT = cv2.GaussianBlur(GREY * 255, (5, 5), 1)
MASKS = {
    "0 and 1": (GREY, TRUTH),
    "0 and 38": (GREY * 38, TRUTH),
    "1 bit": (Image.fromarray(GREY * 255).convert("1"), TRUTH),
    "16 bits": (GREY.astype(np.uint16) * 65535, TRUTH),
    "all black": (GREY * 0, NOTHING),
    "all white": (GREY * 0 + 255, ~NOTHING),
    "black first": (indexed(GREY, BLACK, WHITE), TRUTH),
    "white first": (indexed(1 - GREY, WHITE, BLACK), TRUTH),
    "white first, a negative": (indexed(GREY * 0 + 1, WHITE, BLACK), NOTHING),
    "red first": (indexed(1 - GREY, RED, BLACK), TRUTH),
    "a class map": (indexed(GREY * 2, BLACK, GREEN, RED), TRUTH),
    "a grey palette": (indexed(SOFT, *[(level,) * 3 for level in range(256)]), SOFT > 127.5),
    "a palette with a transparent colour": (indexed(GREY, WHITE, RED, transparency=0), TRUTH),
    "red": (np.where(TRUTH[..., None], RED, BLACK).astype(np.uint8), TRUTH),
    "a black brush": (drawn(BLACK, BLACK), TRUTH),
    "a white brush on transparent white": (drawn(WHITE, WHITE), TRUTH),
    "a red brush on transparent white": (drawn(WHITE, RED), TRUTH),
    "a faint brush": (drawn(BLACK, RED, TRUTH * 90), TRUTH),
    "black and white, opaque": (drawn(BLACK, WHITE, TRUTH * 0 + 255), TRUTH),
    "all black, opaque": (drawn(BLACK, BLACK, TRUTH * 0 + 255), NOTHING),
    "nothing drawn": (drawn(BLACK, BLACK, TRUTH * 0), NOTHING),
    "a black and a white brush": (drawn(BLACK, WHITE, TRUTH * 255 + np.eye(40, 50) * 255 * ~TRUTH), TRUTH),
    "grey and alpha": (drawn(WHITE, WHITE).convert("LA"), TRUTH),
    "resized": (SOFT, SOFT > 127.5),
}


@pytest.mark.parametrize("name", MASKS)
def test_masks_of_every_drawing_style_are_read(tmp_path, name):
    picture, expected = MASKS[name]
    mask, note, regions = pictures.read_mask(saved(tmp_path, picture))
    assert mask.dtype == bool
    assert (mask == expected).all()
    assert note == (
        "has more than two grey levels: the brighter half is the mask"
        if expected.sum() not in (0, TRUTH.sum(), TRUTH.size)
        else ""
    )
    assert regions is None


@pytest.mark.parametrize("ending", ["tif", "bmp", "gif"])
def test_other_formats(tmp_path, ending):
    image = np.random.default_rng(0).integers(0, 256, (40, 50)).astype(np.uint8)
    assert (pictures.read_image(saved(tmp_path, image, f"a.{ending}")).pixels == image).all()
    assert (pictures.read_mask(saved(tmp_path, GREY * 255, f"m.{ending}"))[0] == TRUTH).all()


def test_tiff_of_any_depth(tmp_path):
    for values in (GREY.astype(np.float32), GREY.astype(np.float32) / 3, GREY.astype(np.int32), GREY.astype(np.uint16)):
        assert (pictures.read_mask(saved(tmp_path, values, "m.tif"))[0] == TRUTH).all()
        assert (pictures.read(saved(tmp_path, values, "a.tif")) == TRUTH * 255).all()
    values = GREY.astype(np.float32)
    values[0, 0] = np.nan
    assert (pictures.read(saved(tmp_path, values, "a.tif")) == TRUTH * 255).all()


@pytest.mark.parametrize("mode", ["L", "P"])
def test_few_small_values_are_regions(tmp_path, mode):
    values = np.zeros((40, 50), np.uint8)
    values[2:9, 2:9], values[2:9, 9:20], values[20:30, 20:40] = 1, 2, 3
    path = saved(tmp_path, values if mode == "L" else indexed(values, BLACK, GREEN, RED, WHITE))
    mask, note, regions = pictures.read_mask(path)
    assert (mask == (values > 0)).all()
    assert note.startswith("has the values 1, 2, 3: ")
    assert (regions == values).all()
    assert (pictures.read_mask(path, 2).pixels == (values == 2)).all()
    assert not pictures.read_mask(path, 7).pixels.any()


def test_a_jpeg_that_is_nearly_black_has_no_mask(tmp_path):
    noise = np.random.default_rng(0).integers(0, 6, (40, 50)).astype(np.uint8)
    path = saved(tmp_path, noise, "m.jpg", quality=95)
    mask, note, _ = pictures.read_mask(path)
    assert not mask.any()
    assert "counts as all black" in note
    blocks = cv2.resize(GREY * 255, (400, 320), interpolation=cv2.INTER_NEAREST)
    assert (pictures.read_mask(saved(tmp_path, blocks, "m.jpg", quality=95))[0] == (blocks > 0)).mean() > 0.999
    assert pictures.read_mask(saved(tmp_path, blocks * 0 + 255, "m.jpg"))[0].all()
    with pytest.raises(KitError, match=r"m\.jpg: is a JPEG, whose values are not exact"):
        pictures.read_mask(path, 1)


CLASSES = GREY * 127
CLASSES[20:30, 20:40] = 255
COLOURED = np.zeros((40, 50, 3), np.uint8)
COLOURED[TRUTH], COLOURED[20:30, 20:40] = RED, GREEN
UNCLEAR = {
    "one level": (GREY * 0 + 128, "has no level but 128"),
    "several classes": (CLASSES, "has the levels 0, 127, 255, as of several classes: choose one with --label"),
    "a class and a border to ignore": (np.where(CLASSES == 127, 1, CLASSES), "has the levels 0, 1, 255, as of several"),
    "several colours": (COLOURED, "has 3 colours, as of several classes"),
    "no black": (np.where(TRUTH[..., None], RED, WHITE).astype(np.uint8), "has 2 colours, none of them black"),
    "no background": (GREY + 1, "has no background: its values are 1, 2"),
    "transparent throughout": (drawn(BLACK, WHITE, TRUTH * 0), "is transparent throughout, yet has colours"),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_ambiguous_masks_are_refused(tmp_path, name):
    picture, reason = UNCLEAR[name]
    with pytest.raises(KitError) as refused:
        pictures.read_mask(saved(tmp_path, picture))
    assert f"m.png: {reason}" in str(refused.value)


def test_a_class_is_taken_by_its_level(tmp_path):
    path = saved(tmp_path, CLASSES)
    assert (pictures.read_mask(path, 255).pixels == (CLASSES == 255)).all()


@pytest.mark.parametrize("ending", ["png", "jpg", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright(tmp_path, ending, orientation):
    upright = cv2.resize(GREY * 200, (50, 40))
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, np.ascontiguousarray(stored), f"a.{ending}", exif=exif)
    assert pictures.shape_of(path) == (40, 50)
    assert np.abs(pictures.read_image(path).pixels.astype(int) - upright).mean() < 2
    assert (pictures.read_mask(path)[0] == TRUTH).mean() > 0.99


@pytest.mark.parametrize("side", [9000, 20000])
def test_a_picture_that_is_too_large_says_its_size_and_the_limit(tmp_path, side):
    path = saved(tmp_path, Image.new("1", (side, side)))
    for read in (pictures.read, pictures.shape_of):
        with pytest.raises(KitError, match=rf"(is {side}×{side}|{side * side:,}) pixels: at most 8192×8192 are read"):
            read(path)


def test_several_pictures_in_a_file_are_refused(tmp_path):
    pages = [Image.fromarray(GREY), Image.fromarray(GREY * 3)]
    for ending in ("tif", "gif"):
        pages[0].save(tmp_path / f"a.{ending}", save_all=True, append_images=pages[1:])
        with pytest.raises(KitError, match=rf"a\.{ending}: holds 2 pictures"):
            pictures.read(tmp_path / f"a.{ending}")


def test_equal_channels_are_grey_and_colours_their_luminance():
    grey = np.random.default_rng(0).integers(0, 256, (9, 7)).astype(np.uint8)
    assert (pictures.luminance(np.dstack([grey] * 3)) == grey).all()
    assert (pictures.luminance(np.dstack([grey] * 4)) == grey).all()
    assert pictures.luminance(np.full((2, 2, 3), (255, 0, 0), np.uint8)).max() == 76  # 0.299 of red
