import numpy as np
import pytest
from torch.utils.data import DataLoader

from kit.data.augmentation import Augmentation
from kit.data.cache import Cache
from kit.data.dataset import Samples, loader

GROUPS = [("A1",), ("A2",), ("A3",), ("A4",), ("A1", "A2", "A3", "A4"), ("aggressive",)]


def sample(size=64):
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (size, size), np.uint8)
    mask = np.zeros((size, size), np.uint8)
    mask[10:30, 5:40] = 1
    return image, mask


@pytest.mark.parametrize("groups", GROUPS, ids="+".join)
class TestGroups:
    def test_shapes_types_and_values_stay(self, groups):
        for seed in range(20):
            image, mask = Augmentation(groups, 64)(*sample(), seed)
            assert image.shape == mask.shape == (64, 64)
            assert image.dtype == mask.dtype == np.uint8
            assert set(np.unique(mask)) <= {0, 1}

    def test_a_sample_depends_on_its_seed_alone(self, groups):
        first, second = Augmentation(groups, 64), Augmentation(groups, 64)
        for seed in (5, 3, 9):
            second(*sample(), seed + 100)
            for a, b in zip(first(*sample(), seed), second(*sample(), seed), strict=True):
                assert (a == b).all()

    def test_something_happens(self, groups):
        image, _ = sample()
        results = [Augmentation(groups, 64)(*sample(), seed)[0] for seed in range(30)]
        assert any((result != image).any() for result in results)


def test_a1_is_the_horizontal_flip_of_both():
    image, mask = sample()
    seen = set()
    for seed in range(20):
        new_image, new_mask = Augmentation(("A1",), 64)(image, mask, seed)
        flipped = bool((new_image != image).any())
        seen.add(flipped)
        assert (new_image == (image[:, ::-1] if flipped else image)).all()
        assert (new_mask == (mask[:, ::-1] if flipped else mask)).all()
    assert seen == {True, False}


def test_a2_leaves_the_mask_alone():
    image, mask = sample()
    assert all((Augmentation(("A2",), 64)(image, mask, seed)[1] == mask).all() for seed in range(20))


def test_no_group_changes_nothing():
    image, mask = sample()
    assert Augmentation((), 64)(image, mask, 1)[0] is image


def test_workers_and_order_do_not_change_a_sample():
    image, mask = sample()
    cache = Cache(np.stack([image] * 8), np.stack([mask] * 8), (b"",) * 8, np.zeros(8, bool))
    samples = Samples(cache, Augmentation(("A1", "A2", "A3", "A4"), 64), seed=3, epoch=1)
    batches = [np.array([0, 1, 2, 3]), np.array([4, 5, 6, 7])]
    alone = [images for images, _ in loader(samples, batches)]
    workers = [images for images, _ in DataLoader(samples, batch_sampler=batches, num_workers=2)]
    assert all((a == b).all() for a, b in zip(alone, workers, strict=True))
    assert (samples[5][0] == alone[1][1]).all()
    assert (alone[0][0] != Samples(cache, Augmentation(("A1", "A2", "A3", "A4"), 64), seed=3, epoch=2)[0][0]).any()
