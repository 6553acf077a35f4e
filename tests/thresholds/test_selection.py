import json
import weakref
from dataclasses import replace

import numpy as np
import pytest

from kit.competition import rle, scoring, submission
from kit.core.errors import KitError
from kit.core.files import read_json
from kit.inference import rules
from kit.inference.maps import upsample
from kit.thresholds.selection import KINDS, choose, kinds_of, removals_of, write
from kit.thresholds.tables import Histograms

IDS = [str(index) for index in range(6)]


def test_small_maps_are_judged_at_the_size_of_the_masks(problem, slow):
    maps, _ = problem(1, shape=(8, 8))
    _, masks = problem(1, shape=(20, 28))
    for kind, found in choose(maps, masks, IDS, None, KINDS).items():
        scored = [
            slow.dice(found.rule.mask(upsample(levels, (20, 28))), mask)
            for levels, mask in zip(maps, masks, strict=True)
        ]
        assert found.dice == pytest.approx(np.mean(scored), abs=1e-12), kind
        assert found.rule.name == kind


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_promised_is_what_the_submission_scores(kind, problem, tmp_path):
    shape = (20, 28)
    maps, _ = problem(5)
    _, masks = problem(5, shape=shape)
    write(choose(maps, masks, IDS, None, [kind])[kind], tmp_path, "demo", {})
    rule = rules.read(tmp_path / "thresholds.json")
    rows = [
        (image_id, rle.encode(rule.mask(upsample(levels, shape)))) for image_id, levels in zip(IDS, maps, strict=True)
    ]
    submission.write(tmp_path / "submission.csv", rows)
    truth = "".join(f"{image_id},{rle.encode(mask)},Private\n" for image_id, mask in zip(IDS, masks, strict=True))
    (tmp_path / "solution.csv").write_text("ImageId,EncodedPixels,Usage\n" + truth)
    solution = scoring.read_solution(tmp_path / "solution.csv")
    scored = scoring.score(submission.read(tmp_path / "submission.csv"), solution, shape).private
    assert scored == pytest.approx(read_json(tmp_path / "thresholds.json")["dice"], abs=1e-9)
    assert 0 < scored < 1


@pytest.mark.parametrize("seed", range(6))
def test_measures_on_positives_and_negatives(seed, problem):
    maps, masks = problem(seed)
    positive = masks.any(axis=(1, 2))
    for found in choose(maps, masks, IDS, None, KINDS).values():
        empty = [not found.rule.mask(levels).any() for levels in maps]
        assert found.negatives_empty == np.mean(np.array(empty)[~positive])
        assert found.dice_positives == pytest.approx(found.images[positive].mean())
        assert found.masked == pytest.approx(1 - np.mean(empty))
        assert found.interval[0] <= found.dice <= found.interval[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_images_of_several_sizes_are_each_judged_at_their_own(kind, seed, problem, slow):
    """Above 1024×1024 several areas are one size, and an area is another size in another image."""
    pairs = [
        problem(seed, shape=(8, 8)),
        problem(seed + 50, shape=(20, 28)),
        problem(seed + 90, shape=(1100, 1000), count=2),
    ]
    maps, masks = ([image for pair in pairs for image in pair[place]] for place in (0, 1))
    ids = [str(index) for index in range(len(maps))]

    def mean(rule):
        return np.mean([slow.dice(rule.mask(levels), mask) for levels, mask in zip(maps, masks, strict=True)])

    found = choose(maps, masks, ids, None, [kind])[kind]
    assert found.dice == pytest.approx(mean(found.rule), abs=1e-12)
    assert found.masked == pytest.approx(np.mean([found.rule.mask(levels).any() for levels in maps]))
    if kind != "expected":  # which has no thresholds to compare with
        random = np.random.default_rng(seed)
        sizes = [0, *(int(size) for levels in maps for size in rules.size_of(np.array([1, 9, 40]), levels.size))]
        for _ in range(20):
            top, level = sorted(random.integers(0, 256, 2) / 255, reverse=True)
            other = {"binarization": level} | ({"top": top} if kind == "triplet" else {})
            assert mean(replace(found.rule, removal=int(random.choice(sizes)), **other)) <= found.dice + 1e-12


@pytest.mark.parametrize("images", [7, 13, 49])
def test_a_perfect_score_can_be_read_back(images, tmp_path):
    """The weights of a prevalence sum up to a little more than 1 now and then."""
    truth = np.zeros((images, 8, 8), bool)
    truth[: max(1, images // 4), 2:6, 2:6] = True
    for prevalence in (0.1, 0.22, 0.35, 0.9):
        found = choose(
            truth.astype(np.uint8) * 255, truth, [str(i) for i in range(images)], None, KINDS, prevalence=prevalence
        )
        for kind, result in found.items():
            write(result, tmp_path / kind, None, {})
            assert rules.read(tmp_path / kind / "thresholds.json") == result.rule
            assert result.dice == pytest.approx(1)


def test_a_rule_without_a_surface_leaves_none_of_another(problem, tmp_path):
    maps, masks = problem(1)
    found = choose(maps, masks, IDS, None, ["image", "expected"])
    write(found["image"], tmp_path, None, {})
    assert (tmp_path / "surface.npz").exists()
    write(found["expected"], tmp_path, None, {})
    assert not (tmp_path / "surface.npz").exists()


def test_maps_are_read_once_and_let_go():
    alive = []

    def fresh(value):
        for _ in range(60):
            assert sum(array() is not None for array in alive) < 30
            array = np.full((8, 8), value)
            alive.append(weakref.ref(array))
            yield array
            del array

    choose(fresh(np.uint8(200)), fresh(True), [str(index) for index in range(60)], None, KINDS)
    assert len(alive) == 120


def test_histograms_stay_small():
    tables = Histograms(1000)
    assert tables.area.dtype == tables.overlap.dtype == np.int32
    assert tables.area.nbytes + tables.overlap.nbytes < 3000 * 1000


def test_maps_and_masks_must_be_as_many(problem):
    maps, masks = problem(1)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        choose(maps[:5], masks, IDS)


def test_no_maps():
    with pytest.raises(KitError, match="no maps"):
        choose([], [], [])


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_says_all(kind, problem, tmp_path):
    maps, masks = problem(3)
    found = choose(maps, masks, IDS, None, [kind], prevalence=0.3)[kind]
    write(found, tmp_path, "demo", {"maps": "ab"})
    content = read_json(tmp_path / "thresholds.json")
    assert rules.read(tmp_path / "thresholds.json") == found.rule
    assert content["rule"] == kind
    assert (content["recipe"], content["hashes"], content["prevalence"]) == ("demo", {"maps": "ab"}, 0.3)
    for measure in ("dice", "interval", "nested_dice", "dice_positives", "negatives_empty", "masked", "plateau"):
        assert content[measure] == getattr(found, measure)
    if kind == "expected":
        assert not (tmp_path / "surface.npz").exists()
        return
    assert content["removal"] == int(content["removal"])
    with np.load(tmp_path / "surface.npz") as surface:
        shape = (256, len(found.surface.removal))
        if kind == "triplet":
            assert (surface["top"] == np.arange(256) / 255).all()
            shape = (256, *shape)
        assert set(surface) == {"levels", "removal", "dice"} | ({"top"} if kind == "triplet" else set())
        assert surface["dice"].shape == shape
        assert (surface["levels"] == np.arange(256) / 255).all()


def test_the_same_maps_give_the_same_bytes(problem, tmp_path):
    maps, masks = problem(4)
    for name in ("once", "twice"):
        write(choose(maps, masks, IDS, None, ["triplet"])["triplet"], tmp_path / name, None, {})
    once, twice = ((tmp_path / name / "thresholds.json").read_bytes() for name in ("once", "twice"))
    assert once == twice
    assert json.loads(once)["recipe"] is None


def test_options():
    assert kinds_of("all") == KINDS == ("image", "component", "triplet", "expected")
    assert kinds_of("image") == ("image",)
    assert removals_of(None) is None
    assert removals_of("0, 512") == [0, 512]
    with pytest.raises(KitError, match="give one of image, component"):
        kinds_of("best")
    for text in ("", "1,,2", "-1", "0.5", "a"):
        with pytest.raises(KitError, match="--removal"):
            removals_of(text)
