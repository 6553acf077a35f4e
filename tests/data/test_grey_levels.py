"""Contrast, gamma, brightness and CLAHE, compared with slow versions of albumentations 0.3."""

import numpy as np
import pytest

from kit.data import augmentation, grey_levels
from kit.recipes.magnitudes import Exposure, Light

SIDE = 64


def radiograph():
    """Grey levels 40 to 180, rather dark like radiographs, smooth with some noise."""
    random = np.random.default_rng(3)
    y, x = np.indices((SIDE, SIDE)) / SIDE
    levels = 60 + 70 * x * y + 40 * np.sin(5 * x) ** 2 + random.normal(0, 4, (SIDE, SIDE))
    return levels.clip(40, 180).astype(np.uint8)


def truncated(levels):
    """As in 2019: clipping, then NumPy's astype("uint8")."""
    return np.clip(levels, 0, 255).astype(np.uint8)


def slow_contrast(image, factor):
    return truncated(image * factor)


def slow_brightness(image, share):
    return truncated(image + share * image.mean())


def slow_gamma(image, gamma):
    return truncated([[255 * (level / 255) ** (1 / gamma) for level in row] for row in image.tolist()])


def samples(transform, image, count=80):
    """Results of a transform, always applied, for several seeds."""
    always = augmentation.A.Compose([transform])
    for seed in range(count):
        always.set_random_seed(seed)
        yield always(image=image)["image"]


def near(found, wanted):
    """Equal up to the rounding of a grey level."""
    return np.abs(found.astype(int) - wanted).max() <= 1


@pytest.fixture
def light():
    return augmentation._light(Light(), SIDE).transforms


def test_contrast_is_a_factor(light):
    image, factors = radiograph(), []
    for found in samples(light[0], image):
        factors.append(np.median((found + 0.5) / image))
        assert near(found, slow_contrast(image, factors[-1]))
    assert [min(factors), max(factors)] == pytest.approx([0.8, 1.2], abs=0.03)


def test_gamma_is_the_root(light):
    image, gammas = radiograph(), []
    for found in samples(light[1], image):
        gammas.append(np.median(np.log(image / 255) / np.log((found + 0.5) / 255)))
        assert near(found, slow_gamma(image, gammas[-1]))
    assert [min(gammas), max(gammas)] == pytest.approx([0.8, 1.2], abs=0.03)


def test_brightness_moves_by_a_share_of_the_mean(light):
    image, shares = radiograph(), []
    for found in samples(light[2], image):
        shares.append(np.median(found - image.astype(float)) / image.mean())
        assert near(found, slow_brightness(image, shares[-1]))
    assert [min(shares), max(shares)] == pytest.approx([-0.2, 0.2], abs=0.03)


def test_keys_choose_the_meanings_of_albumentations_2():
    image = np.full((SIDE, SIDE), 102, np.uint8)
    newer = Light(contrast=0, gamma=(0.5, 2), gamma_is_exponent=True, brightness=0.1, brightness_by_max=True)
    _, gamma, brightness = augmentation._light(newer, SIDE).transforms
    # 255 · 0.4², 255 · 0.4^0.5, and 102 ± 25.5, where the mean would give ± 10.2
    assert {min(found.min() for found in samples(gamma, image)) // 10} <= {4, 5}
    assert 140 < max(found.max() for found in samples(gamma, image)) <= 162
    assert 76 <= min(found.min() for found in samples(brightness, image)) < 80
    assert 123 < max(found.max() for found in samples(brightness, image)) <= 128


def test_the_runner_up_s_gamma_darkens():
    """Most exponents between 1 / 1.2 and 1 / 0.6 are above 1."""
    image = radiograph()
    gamma = augmentation._exposure(Exposure(), SIDE).transforms[0]
    means = [found.mean() for found in samples(gamma, image)]
    assert np.mean(means) < image.mean() - 5
    assert slow_gamma(image, 0.6).mean() <= min(means) < slow_gamma(image, 0.65).mean()
    assert slow_gamma(image, 1.15).mean() < max(means) <= slow_gamma(image, 1.2).mean()


def test_brightness_with_contrast_is_relative_to_the_mean():
    image = np.full((SIDE, SIDE), 50, np.uint8)
    both = augmentation._exposure(Exposure(), SIDE).transforms[1]
    levels = [int(found[0, 0]) for found in samples(both, image, 200)]
    assert 30 <= min(levels) < 35  # 50 · 0.8 - 50 · 0.2
    assert 65 < max(levels) <= 70


def slow_clahe(levels, limit, tiles=4):
    """Contrast-limited adaptive histogram equalisation by definition, tile by tile and pixel by pixel."""
    side = len(levels) // tiles
    area, curves = side * side, np.zeros((tiles, tiles, 256))
    for row in range(tiles):
        for column in range(tiles):
            tile = levels[row * side : (row + 1) * side, column * side : (column + 1) * side]
            counts = [int((tile == level).sum()) for level in range(256)]
            highest = max(1, int(limit * area / 256))
            excess = sum(max(0, count - highest) for count in counts)
            counts = [min(count, highest) + excess // 256 for count in counts]
            rest = excess % 256
            for level in list(range(0, 256, max(1, 256 // rest)))[:rest] if rest else []:
                counts[level] += 1
            curves[row, column] = np.round(np.cumsum(counts) * 255 / area)
    result = np.zeros(levels.shape)
    for y in range(len(levels)):
        for x in range(len(levels)):
            row, column = y / side - 0.5, x / side - 0.5
            top, left = int(np.floor(row)), int(np.floor(column))
            value = 0.0
            for r, down in ((top, 1 - (row - top)), (top + 1, row - top)):
                for c, right in ((left, 1 - (column - left)), (left + 1, column - left)):
                    nearest = curves[min(max(r, 0), tiles - 1), min(max(c, 0), tiles - 1)]
                    value += down * right * nearest[levels[y, x]]
            result[y, x] = round(value)
    return result.astype(int)


def lightness(grey):
    """CIELAB's L of a grey level of sRGB, in 0…255."""
    share = grey / 255
    linear = share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
    return 2.55 * (116 * linear ** (1 / 3) - 16 if linear > 0.008856 else 903.3 * linear)


LADDER = np.array([lightness(grey) for grey in range(256)])


def test_lightness_is_cielab_s():
    back = [np.abs(LADDER - level).argmin() for level in range(256)]
    assert np.abs(grey_levels.LIGHTNESS_OF_GREY - LADDER).max() <= 1.5  # OpenCV rounds twice
    assert np.abs(grey_levels.GREY_OF_LIGHTNESS.astype(int) - back).max() <= 1


@pytest.mark.parametrize("limit", [1.0, 2.5, 4.0])
def test_clahe_is_that_of_the_lightness(limit):
    image = radiograph()
    equalised = slow_clahe(grey_levels.LIGHTNESS_OF_GREY[image].astype(int), limit)
    wanted = np.array([[np.abs(LADDER - level).argmin() for level in row] for row in equalised])
    clahe = grey_levels.LightnessClahe(clip_limit=(limit, limit), tile_grid_size=(4, 4), p=1)
    assert near(clahe(image=image)["image"], wanted)
