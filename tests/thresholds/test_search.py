from dataclasses import replace

import numpy as np
import pytest
from sklearn.base import clone

from kit.competition import rle, scoring, submission
from kit.core.errors import KitError
from kit.core.files import read_json
from kit.inference import rules, thresholds_file
from kit.inference.maps import upsample
from kit.inference.rules import ImageRule, TripletRule, parameters
from kit.thresholds.cross_validation import bootstrap_counts
from kit.thresholds.search import ThresholdSearch, choose_thresholds, parse_rules
from tests.support.searched import KINDS, choose, searched

IDS = [str(index) for index in range(6)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_apparent_dice_is_the_score_of_the_submission(kind, problem, tmp_path):
    shape = (20, 28)
    maps, _ = problem(5)
    _, masks = problem(5, shape=shape)
    choose(maps, masks, IDS, None, [kind])[kind].write(tmp_path, "demo", {})
    rule = thresholds_file.read(tmp_path / "thresholds.json").rule
    rows = [
        (image_id, rle.encode(rule.mask(upsample(levels, shape)))) for image_id, levels in zip(IDS, maps, strict=True)
    ]
    submission.write(tmp_path / "submission.csv", rows)
    truth = "".join(f"{image_id},{rle.encode(mask)},Private\n" for image_id, mask in zip(IDS, masks, strict=True))
    (tmp_path / "solution.csv").write_text("ImageId,EncodedPixels,Usage\n" + truth)
    solution = scoring.read_solution(tmp_path / "solution.csv")
    scored = scoring.score(submission.read(tmp_path / "submission.csv"), solution, shape).private
    assert scored == pytest.approx(read_json(tmp_path / "thresholds.json")["apparent_dice"], abs=1e-9)
    assert 0 < scored < 1


@pytest.mark.parametrize("seed", range(6))
def test_measures_on_positives_and_negatives(seed, problem):
    maps, masks = problem(seed)
    positive = masks.any(axis=(1, 2))
    for found in choose(maps, masks, IDS, None, KINDS).values():
        empty = [not found.rule.mask(levels).any() for levels in maps]
        assert found.masked == pytest.approx(1 - np.mean(empty))
        assert found.negatives_empty == pytest.approx(found.nested_images[~positive].mean())
        assert found.dice_positives == pytest.approx(found.nested_images[positive].mean())
        assert found.nested_dice == pytest.approx(found.nested_images.mean())
        assert found.interval[0] <= found.nested_dice <= found.interval[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_images_of_several_sizes_are_scored_at_their_own_size(kind, seed, problem, slow):
    """Above 1024×1024, several areas map to one size, and the same area maps to different sizes in different images."""
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
    assert found.apparent_dice == pytest.approx(mean(found.rule), abs=1e-12)
    assert found.masked == pytest.approx(np.mean([found.rule.mask(levels).any() for levels in maps]))
    if kind != "expected":  # which has no thresholds to compare with
        random = np.random.default_rng(seed)
        sizes = [0, *(int(size) for levels in maps for size in rules.size_of(np.array([1, 9, 40]), levels.size))]
        for _ in range(20):
            top, level = sorted(random.integers(0, 256, 2) / 255, reverse=True)
            other = {"binarization": level} | ({"top": top} if kind == "triplet" else {})
            assert mean(replace(found.rule, removal=int(random.choice(sizes)), **other)) <= found.apparent_dice + 1e-12


@pytest.mark.parametrize("images", [7, 13, 49])
def test_a_perfect_score_can_be_read_back(images, tmp_path):
    """Weights for a prevalence may sum to slightly more than 1."""
    truth = np.zeros((images, 8, 8), bool)
    truth[: max(1, images // 4), 2:6, 2:6] = True
    for prevalence in (0.1, 0.22, 0.35, 0.9):
        found = choose(
            truth.astype(np.uint8) * 255, truth, [str(i) for i in range(images)], None, KINDS, prevalence=prevalence
        )
        for kind, result in found.items():
            result.write(tmp_path / kind, None, {})
            assert thresholds_file.read(tmp_path / kind / "thresholds.json").rule == result.rule
            assert result.apparent_dice == pytest.approx(1)


@pytest.mark.parametrize("kind", KINDS)
def test_the_written_file_holds_all_measures(kind, problem, tmp_path):
    maps, masks = problem(3)
    found = choose(maps, masks, IDS, None, [kind], prevalence=0.3)[kind]
    found.write(tmp_path, "demo", {"maps": "ab"})
    content = read_json(tmp_path / "thresholds.json")
    assert thresholds_file.read(tmp_path / "thresholds.json").rule == found.rule
    assert (content["rule"], content["rules"]) == (kind, [kind])
    assert (content["recipe"], content["hashes"], content["prevalence"]) == ("demo", {"maps": "ab"}, 0.3)
    assert content["interval"][0] <= content["nested_dice"] <= content["interval"][1]
    measures = ("nested_dice", "interval", "dice_all_empty", "apparent_dice", "dice_positives", "negatives_empty")
    for measure in (*measures, "masked", "plateau"):
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


def test_options():
    assert parse_rules("all") == KINDS == ("image", "component", "triplet", "expected")
    assert parse_rules("image") == ("image",)
    with pytest.raises(KitError, match="is not one of image, component"):
        parse_rules("best")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"removal": [-5]}, r"removal \[-5\]: give whole pixels"),
        ({"removal": [0.5]}, r"removal \[0.5\]: give whole pixels"),
        ({"removal": []}, r"removal \[\]: give whole pixels"),
        ({"removal": [10**9]}, "give whole pixels"),
        ({"removal": [np.nan]}, r"removal \[nan\]: give whole pixels"),
        ({"removal": [np.inf]}, r"removal \[inf\]: give whole pixels"),
        ({"prevalence": 1.5}, "^prevalence 1.5: give the expected share"),
        ({"rule": "imgae"}, "did you mean image"),
        ({"folds": [0, 1]}, "folds: 2 for 6 maps"),
        ({"patients": ["a"]}, "patients: 1 for 6 maps"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, told, problem):
    with pytest.raises(KitError, match=told):
        choose_thresholds(*problem(1), **options)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((5,), "image_probability: 5 for 6 maps"),
        ((7, 2), "image_probability: 7 for 6 maps"),
        ((), r"image_probability: has shape \(\): give \(N,\)"),
        ((6, 2, 2), r"image_probability: has shape \(6, 2, 2\): give \(N,\)"),
    ],
)
def test_image_probabilities_that_do_not_fit_the_maps_are_refused(shape, told, problem):
    with pytest.raises(KitError, match=told):
        ThresholdSearch(("image",)).fit(*problem(1), np.full(shape, 0.5))


def test_a_search_without_rules_is_refused(problem):
    with pytest.raises(KitError, match="rules: there are none to choose from: give some of image, component"):
        ThresholdSearch(()).fit(*problem(1))


@pytest.mark.parametrize(
    ("maps", "masks", "told"),
    [
        (np.zeros((3, 4, 4)), 2, "2 for 3 maps"),
        (np.zeros((4, 4)), 4, r"give float probabilities or uint8 levels, \(H, W\)"),
        (np.zeros((2, 4, 4), int), 2, "give float probabilities"),
        (np.full((2, 4, 4), 2.0), 2, "maps: image 0: probabilities lie in .2, 2.: give values in"),
        ([], 0, "there are no maps"),
    ],
)
def test_invalid_maps_are_refused(maps, masks, told):
    with pytest.raises(KitError, match=told):
        choose_thresholds(maps, np.zeros((masks, 4, 4)))


def test_masks_with_nan_are_refused():
    masks = np.zeros((3, 4, 4))
    masks[1, 2, 2] = np.nan
    with pytest.raises(KitError, match="masks: image 1 has NaN: give 0 outside the mask"):
        choose_thresholds(np.zeros((3, 4, 4)), masks)


@pytest.mark.parametrize(
    ("of_map", "of_mask", "fits"),
    [
        ((12, 8), (12, 8), True),
        ((12, 8), (24, 16), True),
        ((8, 8), (12, 20), True),
        ((12, 8), (8, 12), False),
        ((12, 8), (16, 24), False),
        ((12, 8), (6, 4), False),
        ((12, 8), (24, 17), False),
    ],
)
def test_masks_must_fit_the_maps(of_map, of_mask, fits):
    """Transposed or smaller masks were once resized silently."""
    maps, masks = np.zeros((5, *of_map)), np.zeros((5, *of_mask), bool)
    masks[::2, :2, :2] = True
    maps[::2, :2, :2] = 0.9
    if fits:
        assert choose_thresholds(maps, masks).apparent_dice > 0.5
    else:
        with pytest.raises(KitError, match=r"masks: image 0 has .* pixels, its map .*: give masks of the maps' size"):
            choose_thresholds(maps, masks)


def test_the_estimator_can_be_cloned_and_has_its_attributes(problem):
    maps, masks = problem(3, count=20)
    search = ThresholdSearch(("image", "component"), prevalence=0.3, match_positive_rate=True)
    found = clone(search).fit(maps, masks)
    assert search.get_params() == found.get_params()
    assert set(found.surfaces_) == set(found.results_) == {"image", "component"}
    assert found.best_.rules == ("image", "component")
    assert (found.dice_, found.interval_) == (found.best_.nested_dice, found.best_.interval)
    best = max(found.results_.values(), key=lambda result: result.nested_dice)
    assert (found.best_rule_, found.apparent_dice_) == (best.rule, best.apparent_dice)


def test_a_given_rule_is_scored_without_a_choice(problem, slow):
    maps, masks = problem(3, count=20)
    search = searched(maps, masks, [str(i) for i in range(20)], rules=("image",), prevalence=0.3)
    for rule in (ImageRule(0.3, 40_000), TripletRule(0.7, 0.2, 30_000)):
        found, weights = search.measure(rule), np.where(masks.any(axis=(1, 2)), 0.3, 0.7)
        positives = masks.any(axis=(1, 2)).sum()
        weights = weights / np.where(masks.any(axis=(1, 2)), positives, 20 - positives)
        want = np.average([slow.dice(rule.mask(v), m) for v, m in zip(maps, masks, strict=True)], weights=weights)
        assert (found.rule, found.rules) == (rule, ())
        assert found.apparent_dice == pytest.approx(want)
        assert found.nested_dice == pytest.approx(want)
        assert found.interval[0] <= want <= found.interval[1]


def test_bootstrap_samples_give_the_spread_of_the_thresholds(problem):
    maps, masks = problem(3, count=30)
    patients = [str(i // 2) for i in range(30)]
    found = choose(maps, masks, patients, None, ["image", "triplet", "expected"], draws=30)
    assert found["expected"].spread == {}
    for kind in ("image", "triplet"):
        result = found[kind]
        assert result.spread.keys() == result.plateau.keys() == parameters(result.rule).keys() - {"rule"}
        for low, middle, high in result.spread.values():
            assert low <= middle <= high
    removal = []  # each sample's own search: its images as often as their patient was drawn
    for counts in np.concatenate(list(bootstrap_counts(patients, 30))):
        again = np.repeat(np.arange(30), counts.astype(int))
        removal.append(choose(maps[again], masks[again], [str(i) for i in again])["image"].rule.removal)
    assert found["image"].spread["removal"] == pytest.approx(np.percentile(removal, [2.5, 50, 97.5]), rel=0.02)
    assert choose(maps, masks, patients)["image"].spread is None
