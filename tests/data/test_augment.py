import os

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from kit.data import augmentation, dataset
from kit.data.augmentation import Augmentation
from kit.data.cache import Cache
from kit.data.dataset import Loader, Samples
from kit.recipes.magnitudes import Affine, Crop, Distortion, Flip, Light, Magnitudes

GROUPS = [
    *((name,) for name in augmentation.GROUPS),
    ("flip", "light", "distortion", "crop"),
    ("flip", "light", "distortion", "affine"),  # the winner's
    ("exposure", "blur", "flip", "affine"),  # the runner-up's
]


def sample(size=64):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (size, size), np.uint8)
    mask = np.zeros((size, size), np.uint8)
    mask[10:30, 5:40] = 1
    return image, mask


@pytest.mark.parametrize("groups", GROUPS, ids="+".join)
class TestGroups:
    def test_shapes_types_and_values_are_kept(self, groups):
        for seed in range(20):
            image, mask = Augmentation(groups, 64)(*sample(), seed)
            assert image.shape == mask.shape == (64, 64)
            assert image.dtype == mask.dtype == np.uint8
            assert set(np.unique(mask)) <= {0, 1}

    def test_a_sample_depends_only_on_its_seed(self, groups):
        first, second = Augmentation(groups, 64), Augmentation(groups, 64)
        for seed in (5, 3, 9):
            second(*sample(), seed + 100)
            for a, b in zip(first(*sample(), seed), second(*sample(), seed), strict=True):
                assert (a == b).all()


def test_a1_is_the_horizontal_flip_of_both():
    image, mask = sample()
    seen = set()
    for seed in range(20):
        new_image, new_mask = Augmentation(("flip",), 64)(image, mask, seed)
        flipped = bool((new_image != image).any())
        seen.add(flipped)
        assert (new_image == (image[:, ::-1] if flipped else image)).all()
        assert (new_mask == (mask[:, ::-1] if flipped else mask)).all()
    assert seen == {True, False}


@pytest.mark.parametrize("warp", ["distortion", "crop"])
def test_groups_are_applied_independently(warp):
    image, mask = np.full((64, 64), 100, np.uint8), np.zeros((64, 64), np.uint8)
    mask[12:52, 6:26] = 1
    halves = Magnitudes(
        light=Light(probability=0.5), distortion=Distortion(probability=0.5), crop=Crop(probability=0.5)
    )
    transform, seen = Augmentation(("flip", "light", warp), 64, halves), []
    for seed in range(600):
        new_image, new_mask = transform(image, mask, seed)
        flipped = new_mask[:, 32:].sum() > new_mask[:, :32].sum()
        warped = (new_mask != (mask[:, ::-1] if flipped else mask)).any()
        seen.append((flipped, (new_image != 100).any(), warped))
    assert np.mean(seen, axis=0) == pytest.approx([0.5, 0.5, 0.5], abs=0.1)
    assert np.corrcoef(np.transpose(seen)) == pytest.approx(np.eye(3), abs=0.15)


def test_without_groups_nothing_changes():
    image, mask = sample()
    assert Augmentation((), 64)(image, mask, 1)[0] is image


class WithProcess(Samples):
    """The first pixel of an image is its epoch, the next two are the process that loaded it."""

    def __getitem__(self, at):
        image, mask = super().__getitem__(at)
        image[0, 0, :3] = torch.tensor([at[0], os.getpid() % 256, os.getpid() // 256 % 256])
        return image, mask


def test_with_a_gpu_persistent_processes_load_the_same(monkeypatch):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 64, 64), np.uint8)
    cache = Cache(images, images // 200, (b"",) * 40, np.zeros(40, bool))
    samples = WithProcess(cache, Augmentation(("flip", "light"), 64), seed=3)
    batches = [np.arange(40)[i : i + 4] for i in range(0, 40, 4)]
    expected = [[*Loader(samples).epoch(batches[epoch:], epoch)] for epoch in range(3)]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    make = dataset.DataLoader  # pages are pinned by the GPU's driver
    monkeypatch.setattr(dataset, "DataLoader", lambda *given, **how: make(*given, **how | {"pin_memory": False}))
    beside, processes = Loader(samples, 2), set()
    for epoch in range(3):
        found = beside.epoch(batches[epoch:], epoch)
        assert len(found) == 10 - epoch
        for ours, theirs in zip(found, expected[epoch], strict=True):
            assert {*ours[0][:, 0, 0, 0].tolist()} == {epoch}
            processes |= {tuple(pixels) for pixels in ours[0][:, 0, 0, 1:3].tolist()}
            assert all(torch.equal(a.flatten(1)[:, 3:], b.flatten(1)[:, 3:]) for a, b in zip(ours, theirs, strict=True))
    assert len(processes) == 2
    assert (os.getpid() % 256, os.getpid() // 256 % 256) not in processes


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_any_number_of_threads_gives_the_same_batches(workers):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (40, 64, 64), np.uint8)
    cache = Cache(images, images // 200, (b"",) * 40, np.zeros(40, bool))
    samples = Samples(cache, Augmentation(("flip", "light", "distortion", "crop"), 64), seed=3)
    batches = [np.arange(40)[i : i + 4] for i in range(0, 40, 4)]
    threads = Loader(samples, workers).epoch(batches, 1)
    assert len(threads) == 10
    for found, rows in zip(threads, batches, strict=True):
        for part, one in enumerate(found):
            assert one.shape == (4, 1, 64, 64)
            assert all(torch.equal(one[i], samples[1, row][part]) for i, row in enumerate(rows))
    assert not torch.equal(found[0][0], samples[2, rows[0]][0])


def test_an_error_of_a_sample_is_raised_where_its_batch_is_used():
    cache = Cache(*np.zeros((2, 4, 64, 64), np.uint8), (b"",) * 4, np.zeros(4, bool))
    batches = iter(Loader(Samples(cache), 2).epoch([np.array([0, 1]), np.array([9])]))
    assert next(batches)[0].shape == (2, 1, 64, 64)
    with pytest.raises(IndexError):
        next(batches)


SIZE = 256
INSIDE = slice(64, SIZE - 64)
"""Pixels too far from the edges to be mirrored."""


def places(transform, seed):
    """Origin (x, y) of each pixel of a transformed image, found by transforming ramps of coordinates."""
    y, x = np.indices((SIZE, SIZE)).astype(np.float32)
    transform.set_random_seed(seed)
    sent = transform(image=np.stack([x, y, x], axis=-1))["image"]
    return sent[..., 0], sent[..., 1]


def one_of(group, number):
    """One transform of a group of alternatives, always applied."""
    return augmentation.A.Compose([group.transforms[number]])


def moved(transform, seeds):
    """Displacements in x of the inner pixels in several samples."""
    x = np.arange(SIZE)[INSIDE]
    return np.stack([places(transform, seed)[0][INSIDE, INSIDE] - x for seed in seeds])


def test_the_elastic_transform_moves_pixels_as_far_as_in_2019():
    random = np.random.default_rng(0)
    slow = [120 * gaussian_filter(random.uniform(-1, 1, (SIZE, SIZE)), 6)[INSIDE, INSIDE] for _ in range(20)]
    elastic = one_of(augmentation._distortion(Distortion(elastic_affine=0), SIZE), 0)
    assert moved(elastic, range(20)).std() == pytest.approx(np.std(slow), rel=0.05)
    assert np.diff(moved(elastic, range(20))).std() == pytest.approx(np.diff(slow).std(), rel=0.05)  # as smooth
    assert 3.1 < np.std(slow) < 3.5
    with_affine = one_of(augmentation._distortion(Distortion(), SIZE), 0)
    assert 3.3 < moved(with_affine, range(20)).std() < 4.5


def test_the_affine_part_of_the_elastic_transform_is_as_in_2019():
    """Three points move by up to 3.6 px each, and the image with them."""
    only_affine = one_of(augmentation._distortion(Distortion(elastic_alpha=0), SIZE), 0)
    random, spread = np.random.default_rng(0), []
    _y, x = np.indices((SIZE, SIZE)).astype(np.float32)
    for _ in range(60):
        reach = SIZE // 3
        corners = np.float32([[1, 1], [1, -1], [-1, -1]]) * reach + SIZE // 2
        matrix = cv2.getAffineTransform(corners, corners + random.uniform(-3.6, 3.6, (3, 2)).astype(np.float32))
        spread.append(cv2.warpAffine(x, matrix, (SIZE, SIZE))[INSIDE, INSIDE] - x[INSIDE, INSIDE])
    found = moved(only_affine, range(60))
    assert found.std() == pytest.approx(np.std(spread), rel=0.2)
    corner = [places(only_affine, seed)[0][SIZE // 2 + 85, SIZE // 2 + 85] - (SIZE // 2 + 85) for seed in range(40)]
    assert 2 < np.abs(corner).max() < 3.8


@pytest.mark.parametrize("sigma", [1, 4, 6, 13])
def test_elastic_displacements_of_any_deviation_end_where_the_image_ends(sigma):
    """Without noise, each pixel stays in place for any distance of nodes."""
    still = one_of(augmentation._distortion(Distortion(elastic_alpha=0, elastic_sigma=sigma, elastic_affine=0), 70), 0)
    image, mask = sample(70)
    found = still(image=image, mask=mask)
    assert (found["image"] == image).all()
    assert (found["mask"] == mask).all()


@pytest.mark.parametrize(("number", "theirs"), [(1, "GridDistortion"), (2, "OpticalDistortion")])
def test_grid_and_optical_distortion_are_albumentations(number, theirs):
    ours = augmentation._distortion(Distortion(), SIZE).transforms[number]
    limits = {"distort_limit": ours.distort_limit} | ({"normalized": False} if number == 1 else {})
    transforms = [ours, getattr(augmentation.A, theirs)(**limits, border_mode=augmentation.REFLECT, p=1)]
    image, mask = (cv2.resize(array, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST) for array in sample())
    for seed in range(5):
        found, wanted = (
            augmentation.A.Compose([transform], seed=seed)(image=image, mask=mask) for transform in transforms
        )
        off = np.abs(found["image"].astype(int) - wanted["image"])
        assert off.max() <= 8  # where a place is rounded to another thirty-second of a pixel
        assert np.count_nonzero(off) < 100
        assert np.count_nonzero(found["mask"] != wanted["mask"]) < 20


def slow_grid(random):
    """Grid distortion of 2019: each of five steps is stretched independently, without correction at the end."""
    column, previous, step = np.zeros(SIZE), 0.0, SIZE // 5
    for i, start in enumerate(range(0, SIZE, step)):
        stop = min(start + step, SIZE)
        current = SIZE if stop == SIZE and i == 5 else previous + step * (1 + random.uniform(-0.3, 0.3))
        column[start:stop] = np.linspace(previous, current, stop - start)
        previous = current
    return column


def test_grid_distortion_is_not_normalised():
    random = np.random.default_rng(0)
    slow = np.std([slow_grid(random)[INSIDE] - np.arange(SIZE)[INSIDE] for _ in range(200)])
    grid = one_of(augmentation._distortion(Distortion(), SIZE), 1)
    assert moved(grid, range(60)).std() == pytest.approx(slow, rel=0.25)


def test_optical_distortion_is_radial_with_a_coefficient_up_to_two():
    optical, found = one_of(augmentation._distortion(Distortion(), SIZE), 2), []
    y, x = (np.indices((SIZE, SIZE)) - SIZE / 2) / SIZE
    square = x**2 + y**2
    for seed in range(20):
        seen = (places(optical, seed)[0] - SIZE / 2) / SIZE
        k = (seen[128, 190] / x[128, 190] - 1) / (square + square**2)[128, 190]
        expected = x * (1 + k * (square + square**2))
        np.testing.assert_allclose(seen[INSIDE, INSIDE], expected[INSIDE, INSIDE], atol=0.01)
        found.append(k)
    assert 1.2 < max(np.abs(found)) < 2.1
    assert min(found) < 0 < max(found)


MIDDLE = slice(112, 144)


def linear(transform, seed):
    """Matrix and shift of the affine map of the inner pixels."""
    sent = np.stack(places(transform, seed), axis=-1)[MIDDLE, MIDDLE].reshape(-1, 2)
    y, x = np.indices((SIZE, SIZE))[:, MIDDLE, MIDDLE].reshape(2, -1)
    own = np.stack([x - 127.5, y - 127.5, np.ones_like(x)], axis=-1)
    solution, *_ = np.linalg.lstsq(own, sent - 127.5, rcond=None)
    return solution[:2].T, solution[2]


@pytest.mark.parametrize(
    "settings", [Affine(probability=1), Affine(probability=1, shift=0.2, scale=0.2, rotation=20, border="black")]
)
def test_shift_scale_and_rotation_reach_their_limits_and_no_further(settings):
    transform = augmentation.A.Compose([augmentation._affine(settings, SIZE)])
    angles, scales, shifts = [], [], []
    for seed in range(60):
        matrix, shift = linear(transform, seed)
        scale = np.sqrt(np.linalg.det(matrix))
        angles.append(abs(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0]))))
        scales.append(abs(1 / scale - 1))
        shifts.append(np.abs(np.linalg.inv(matrix) @ shift).max() / SIZE)
    for found, limit in ((angles, settings.rotation), (scales, settings.scale), (shifts, settings.shift)):
        assert 0.8 * limit < max(found) < 1.05 * limit


def test_a_crop_is_at_least_as_high_as_its_smallest_share():
    transform = augmentation.A.Compose([augmentation._crop(Crop(probability=1), SIZE)])
    heights = [np.ptp(places(transform, seed)[1]) + 1 for seed in range(60)]
    assert 175 <= min(heights) < 190
    assert 240 < max(heights) <= 256


@pytest.mark.parametrize("name", ["exposure", "blur", "light"])
def test_changes_of_grey_levels_do_not_change_the_mask(name):
    image, mask = sample()
    results = [Augmentation((name,), 64)(image, mask, seed) for seed in range(30)]
    assert all((found == mask).all() for _, found in results)
    assert len({changed.tobytes() for changed, _ in results}) > 5


@pytest.mark.parametrize(
    "magnitudes",
    [
        Magnitudes(flip=Flip(probability=0.25)),
        Magnitudes(flip=Flip(probability=0.75)),
        Magnitudes(flip=Flip(probability=0)),
    ],
)
def test_a_group_is_applied_with_its_probability(magnitudes):
    image, mask = sample()
    changed = [(Augmentation(("flip",), 64, magnitudes)(image, mask, seed)[0] != image).any() for seed in range(200)]
    assert np.mean(changed) == pytest.approx(magnitudes.flip.probability, abs=0.1)
