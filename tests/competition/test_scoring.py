import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from kit.competition import rle, scoring, submission
from kit.core.errors import KitError


@given(arrays(bool, (4, 5)), arrays(bool, (4, 5)))
def test_dice_of_sets(predicted, truth):
    x, y = set(np.flatnonzero(predicted)), set(np.flatnonzero(truth))
    assert scoring.dice(predicted, truth) == (2 * len(x & y) / (len(x) + len(y)) if x or y else 1)


@pytest.mark.parametrize("shapes", [((4, 1), (1, 4)), ((4, 4), (4, 1)), ((16,), (4, 4)), ((2, 8), (4, 4))])
def test_masks_of_different_shapes_are_refused(shapes):
    """Arrays would be broadcast: (4, 1) against (1, 4) made a Dice of 4."""
    with pytest.raises(KitError, match=r"masks of shapes .* cannot be compared"):
        scoring.dice(*(np.ones(shape, bool) for shape in shapes))


def test_any_number_but_zero_is_foreground():
    """Bit by bit, 2 and 1 have nothing in common."""
    predicted, truth = np.array([[255, 2, 0, 0]], np.uint8), np.array([[1, 1, 1, 0]], np.uint8)
    assert scoring.dice(predicted, truth) == scoring.dice(predicted > 0, truth > 0) == 0.8


@pytest.fixture
def solution(tmp_path):
    def read(text, **options):
        path = tmp_path / "solution.csv"
        path.write_text(text)
        return scoring.read_solution(path, **options)

    return read


def test_scores_are_means_over_each_part(solution):
    random = np.random.default_rng(0)
    truth = {f"i{n}": [random.random((8, 8)) > 0.7 for _ in range(n % 3)] for n in range(12)}
    guess = {image_id: random.random((8, 8)) > (0.6 if n % 2 else 2) for n, image_id in enumerate(truth)}
    usage = {image_id: ("Public", "Private", "Ignored")[n % 3 if n < 9 else 1] for n, image_id in enumerate(truth)}
    rows = [f"{image_id},{rle.encode(mask)},{usage[image_id]}" for image_id, masks in truth.items() for mask in masks]
    rows += [f"{image_id},-1,{usage[image_id]}" for image_id, masks in truth.items() if not masks]
    scores = scoring.score(
        {image_id: rle.encode(mask) for image_id, mask in guess.items()},
        solution("ImageId,EncodedPixels,Usage\n" + "\n".join(rows)),
        (8, 8),
    )
    expected = {"Public": [], "Private": [], "Ignored": []}
    for image_id, masks in truth.items():
        whole = np.any([np.zeros((8, 8), bool), *masks], axis=0)
        expected[usage[image_id]].append(scoring.dice(guess[image_id], whole))
    assert scores.public == pytest.approx(np.mean(expected["Public"]), abs=1e-12)
    assert scores.private == pytest.approx(np.mean(expected["Private"]), abs=1e-12)
    assert len(scores.images) == 12 - len(expected["Ignored"])


def test_an_empty_submission_scores_the_share_of_negatives(solution):
    truth = solution("ImageId,EncodedPixels,Usage\na,-1,Public\nb,1 2,Public\nc,-1,Private\n")
    scores = scoring.score(dict.fromkeys("abc", "-1"), truth, (4, 4))
    assert (scores.public, scores.private) == (0.5, 1.0)


def test_any_case_of_usage_and_any_way_of_writing_a_table(solution):
    a = solution("ImageId,EncodedPixels,Usage\na,1 2,Public\nb,-1,Private\n")
    assert a == solution('\ufeff"ImageId","EncodedPixels","Usage"\r\n"a"," 1 2","public"\r\nb,-1,PRIVATE\r\n')
    with pytest.raises(KitError, match=r"header is Usage,ImageId,EncodedPixels: expected ImageId,EncodedPixels,Usage"):
        solution("Usage,ImageId,EncodedPixels\npublic,a,1 2\n")


def test_without_usage_all_is_public(solution):
    found = solution("ImageId,EncodedPixels\na,-1\nb,1 2\nb,5 1\n")
    assert found == scoring.Solution({"a": (), "b": ("1 2", "5 1")}, {"a": "public", "b": "public"})


def test_a_missing_image_is_named(solution, tmp_path):
    truth = solution("ImageId,EncodedPixels,Usage\na,-1,Public\nb,1 2,Private\n")
    with pytest.raises(KitError, match="lacks 1 of the solution's images, as b"):
        scoring.score({"a": "-1"}, truth, (4, 4))
    with pytest.raises(KitError, match="image b"):
        scoring.score({"a": "-1", "b": "1"}, truth, (4, 4))
    submission.write(tmp_path / "s.csv", [("a", "-1"), ("b", "1 2")])
    assert scoring.score(submission.read(tmp_path / "s.csv"), truth, (4, 4)).private == 1
    with pytest.raises(KitError, match="solution lacks 1 of the submission's images, as c"):
        scoring.score({"a": "-1", "b": "-1", "c": "-1"}, truth)


def test_a_solution_with_a_malformed_mask_is_an_error_whatever_was_predicted(tmp_path):
    (tmp_path / "solution.csv").write_text("ImageId,EncodedPixels,Usage\na,1 2 3,Public\nb,-1,Private\n")
    solution = scoring.read_solution(tmp_path / "solution.csv")
    for predicted in ("-1", "0 4"):
        with pytest.raises(KitError, match="the solution is malformed: image a: RLE pair 2"):
            scoring.score({"a": predicted, "b": "-1"}, solution, (8, 8))
