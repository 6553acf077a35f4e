"""The search for rules with cleaning, compared with masks that are computed, cleaned and scored one by one."""

import functools

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import ndimage

from kit.inference import cleaning
from tests.support.searched import KINDS, choose

FULL = 1024 * 1024


def polygon(region):
    """Area of the polygon through the centres of a filled region's outer pixels, summed over squares of four pixels."""
    cells = sum(
        np.pad(region, 1)[i : i + region.shape[0] + 1, j : j + region.shape[1] + 1] for i in (0, 1) for j in (0, 1)
    )
    return (cells == 4).sum() + (cells == 3).sum() / 2


def slow_clean(mask, limit):
    """A reference implementation of cleaning: region by region and hole by hole, without contours."""
    found = np.zeros_like(mask)
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    for number in range(1, count + 1):
        region = labels == number
        filled = ndimage.binary_fill_holes(region)
        if polygon(filled) <= limit:
            continue
        holes, several = ndimage.label(filled & ~region)
        for hole in range(1, several + 1):
            # Its contour runs through the pixels around it, and lies outside of it by these halves and wholes.
            squares = np.pad(holes == hole, 1)
            around = sum(
                squares[i : i + mask.shape[0] + 1, j : j + mask.shape[1] + 1].astype(int)
                for i in (0, 1)
                for j in (0, 1)
            )
            area = (around == 4).sum() + (around == 3).sum() + (around == 2).sum() + (around == 1).sum() / 2
            region |= (holes == hole) & (area <= limit)
        found |= region
    return found


@functools.cache
def cleaned_once(mask, shape):
    """A mask cleaned of contours of up to eight pixels, cached, since many thresholds give the same mask."""
    return slow_clean(np.frombuffer(mask, bool).reshape(shape), 8)


def blobs(seed, shape=(24, 20)):
    """A map of regions with holes, regions inside the holes, and specks."""
    random = np.random.default_rng(seed)
    soft = cv2.GaussianBlur(random.standard_normal(shape).astype(np.float32), (0, 0), random.uniform(0.5, 1.8))
    levels = np.clip((soft - soft.min()) / (soft.max() - soft.min()) * 9, 0, 9).astype(np.uint8) * 25
    levels[random.random(shape) < 0.05] = random.integers(0, 256)
    return levels


@given(some.integers(0, 10**6), some.integers(0, 40), some.integers(0, 255))
def test_small_regions_are_dropped_and_small_holes_filled(seed, limit, level):
    mask = blobs(seed) >= level
    # Holes that meet at a corner share a contour's corner, whose halves the slow way counts for each.
    expected, found = slow_clean(mask, limit), cleaning.clean(mask, limit)
    assert (found == expected).all()
    together, sizes = np.zeros(mask.shape, int), []
    for region in cleaning.regions(mask, limit):
        together[region.box] += region.cleaned
        sizes.append(region.area)
    assert (together == found).all()  # they do not overlap
    labels, _ = ndimage.label(mask, np.ones((3, 3)))
    assert set(sizes) <= set(np.bincount(labels.ravel())[1:])


def problem(count=9):
    """Maps, ground truth and ids, with empty masks, true findings and false specks."""
    random = np.random.default_rng(5)
    maps, truth = np.stack([blobs(seed) for seed in range(count)]), np.zeros((count, 24, 20), bool)
    for at in range(0, count, 2):
        truth[at] = slow_clean(maps[at] >= 125, 6) ^ (random.random((24, 20)) < 0.03)
    return maps, truth, [str(at) for at in range(count)]


def dice(found, truth):
    both = found.sum() + truth.sum()
    return 2 * (found & truth).sum() / both if both else 1.0


SMALLEST = 8 * FULL // (24 * 20)
"""`smallest_contour` for eight pixels of these images."""


def slow_mask(kind, levels, cut, removal, top=0):
    """The mask by the reference implementation of a rule, then cleaned."""
    size, mask = FULL / levels.size, levels >= cut
    if kind == "component":
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        for number in range(1, count + 1):
            if (labels == number).sum() * size < removal:
                mask = mask & (labels != number)
    elif ((levels >= top) if kind == "triplet" else mask).sum() * size < removal:
        mask = np.zeros_like(mask)
    return cleaned_once(mask.tobytes(), mask.shape)


@pytest.mark.parametrize("kind", ["image", "component", "triplet"])
def test_the_search_finds_the_best_of_all_cleaned_masks(kind):
    maps, truth, ids = problem(3 if kind == "triplet" else 5)
    removal = [0, 60_000, 300_000]
    found = choose(maps, truth, ids, None, [kind], removal=removal, smallest_contour=SMALLEST)[kind]
    cuts = sorted({int(value) for value in np.unique(maps)} | {0})
    tops = cuts if kind == "triplet" else [0]

    def mean(cut, least, top):
        masks = [slow_mask(kind, levels, cut, least, top) for levels in maps]
        return np.mean([dice(mask, own) for mask, own in zip(masks, truth, strict=True)])

    heights = {(cut, least, top): mean(cut, least, top) for cut in cuts for least in removal for top in tops}
    assert found.apparent_dice == pytest.approx(max(heights.values()), abs=1e-12)
    for (cut, least, top), height in heights.items():  # the whole surface is that of cleaned masks
        place = (top, cut) if kind == "triplet" else (cut,)
        column = found.surface.removal.tolist().index(least)
        assert found.surface.dice[*place, column] == pytest.approx(height, abs=1e-12)


@pytest.mark.parametrize("match", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_the_apparent_dice_is_the_score_of_the_cleaned_masks(kind, match, slow):
    maps, truth, ids = problem()
    folds = np.arange(len(ids)) % 3
    options = {"match_positive_rate": match, "smallest_contour": SMALLEST}
    found = choose(maps, truth, ids, folds, [kind], **options)[kind]
    assert found.rule.smallest_contour == SMALLEST
    # Each fold by the thresholds, and the share, of all images, and by those that the others alone would give.
    for expected, without_own in ((found.images, False), (found.nested_images, True)):
        if without_own and kind == "expected":
            continue  # it is fitted, and the fit takes its time
        for fold in range(3):
            own, result = folds == fold, found
            if without_own:
                others = [ids[at] for at in np.flatnonzero(~own)]
                result = choose(maps[~own], truth[~own], others, folds[~own], [kind], **options)[kind]
            if not match:
                scored = [
                    dice(result.rule.mask(levels), mask) for levels, mask in zip(maps[own], truth[own], strict=True)
                ]
            else:
                candidates = [result.rule.candidate(levels) for levels in maps[own]]
                values = [dice(mask, known) for (mask, _), known in zip(candidates, truth[own], strict=True)]
                empty = [float(not known.any()) for known in truth[own]]
                evidence = [value for _, value in candidates]
                scored = slow.matched(result.share, evidence, values, empty, truth.any(axis=(1, 2)).mean())[1]
            assert scored == pytest.approx(expected[own], abs=1e-12)
