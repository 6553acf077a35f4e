import csv
import os
from collections import Counter, defaultdict

import cv2
import numpy as np
import pytest

from kit import phantom
from kit.competition import rle
from kit.core.errors import KitError
from kit.phantom.competition import Case

SIZE = 128


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def table(path):
    with open(path, newline="") as handle:
        return list(csv.reader(handle))


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantom") / "demo"
    phantom.write(folder, train=20, test=40, size=SIZE, seed=3)
    return folder


def test_the_same_bytes_again_whatever_the_workers(demo, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    phantom.write(tmp_path / "again", train=20, test=40, size=SIZE, seed=3)
    assert contents(tmp_path / "again") == contents(demo)


def test_an_image_does_not_depend_on_how_many_are_made(demo, tmp_path):
    phantom.write(tmp_path / "fewer", train=7, test=2, size=SIZE, seed=3)
    fewer, all_files = contents(tmp_path / "fewer"), contents(demo)
    images = [name for name in fewer if name.endswith(".dcm")]
    assert len(images) == 9
    assert all(fewer[name] == all_files[name] for name in images)
    rows = table(tmp_path / "fewer" / "train-rle.csv")
    assert rows == table(demo / "train-rle.csv")[: len(rows)]
    solution = {tuple(row) for row in table(demo / "solution.csv")}
    assert {tuple(row) for row in table(tmp_path / "fewer" / "solution.csv")} <= solution


def test_another_seed_gives_other_patients(cases):
    others = [Case(1, 0, index) for index in range(20)]
    assert not {case.uids[0] for case in others} & {case.uids[0] for case in cases}
    assert not {case.person[0] for case in others} & {case.person[0] for case in cases}
    assert (others[0].pixels(64) != cases[0].pixels(64)).mean() > 0.5


def test_the_folder_is_a_round_1_competition(demo):
    assert {path.name for path in demo.iterdir()} == {
        "dicom-images-train",
        "dicom-images-test",
        "train-rle.csv",
        "sample_submission.csv",
        "solution.csv",
        "phantom.json",
    }
    train = {path.stem for path in demo.glob("dicom-images-train/*/*/*.dcm")}
    test = sorted(path.stem for path in demo.glob("dicom-images-test/*/*/*.dcm"))
    labels = table(demo / "train-rle.csv")
    assert labels[0] == ["ImageId", " EncodedPixels"]
    assert {row[0] for row in labels[1:]} == train
    assert len(train) == 20
    assert all(row[1].startswith(" ") for row in labels[1:])
    assert table(demo / "sample_submission.csv") == [["ImageId", "EncodedPixels"], *([image, "-1"] for image in test)]
    assert len(test) == 40
    assert not [path for path in demo.parent.iterdir() if path != demo]


def test_some_negatives_are_listed_twice(tmp_path):
    phantom.write(tmp_path / "demo", train=60, test=1, size=64)
    rows = [tuple(row) for row in table(tmp_path / "demo" / "train-rle.csv")[1:]]
    twice = [row for row, count in Counter(rows).items() if count > 1]
    assert twice
    assert all(row[1] == " -1" for row in twice)
    positives = {row[0] for row in rows if row[1] != " -1"}
    assert not positives & {row[0] for row in rows if row[1] == " -1"}


def test_about_a_third_is_public_and_both_parts_hold_positives(demo):
    usage, positive = {}, set()
    header, *rows = table(demo / "solution.csv")
    assert header == ["ImageId", "EncodedPixels", "Usage"]
    for image, text, part in rows:
        assert usage.setdefault(image, part) == part
        if text != "-1":
            positive.add(image)
    assert set(usage) == {row[0] for row in table(demo / "sample_submission.csv")[1:]}
    public = {image for image, part in usage.items() if part == "Public"}
    assert set(usage.values()) == {"Public", "Private"}
    assert 0.28 <= len(public) / len(usage) <= 0.36
    assert public & positive
    assert positive - public


def test_the_strata_have_their_shares(cases):
    counts = Counter(min(len(case.regions), 2) for case in cases)
    assert (counts[1] + counts[2]) / len(cases) == pytest.approx(0.22, abs=0.01)
    assert counts[1] / (counts[1] + counts[2]) == pytest.approx(0.76, abs=0.03)
    assert {len(case.regions) for case in cases} == {0, 1, 2}
    assert all(sum(bool(case.regions) for case in cases[k : k + 240]) >= 50 for k in (0, 18, 36))


def test_patients_have_several_images_but_on_one_side_only(cases):
    images = defaultdict(list)
    for case in cases:
        images[case.person[0]].append(case)
    sizes = Counter(len(group) for group in images.values())
    assert sizes[1] > 0.7 * len(images)
    assert sum(count for size, count in sizes.items() if size > 1) > 15
    for group in images.values():
        assert len({case.person for case in group}) == 1
        assert len({case.chest.half_width for case in group}) == 1
    tests = {Case(0, 1, index).person[0] for index in range(100)}
    assert not tests & set(images)


def test_label_rows_are_the_masks(demo):
    rows = defaultdict(list)
    for image, text in table(demo / "train-rle.csv")[1:]:
        rows[image].append(text.strip())
    seen = 0
    for case in (Case(3, 0, index) for index in range(20)):
        texts = rows[case.uids[0]]
        if not case.regions:
            assert set(texts) == {"-1"}
            continue
        for text, mask in zip(texts, case.masks(SIZE), strict=True):
            np.testing.assert_array_equal(rle.decode(text, (SIZE, SIZE)), mask)
            seen += 1
    assert seen >= 4


@pytest.mark.parametrize("size", [64, 100, 1024])
def test_any_size_shows_the_same_chest(size):
    case = Case(0, 0, 1)
    pixels = case.pixels(size)
    assert pixels.shape == (size, size)
    assert pixels.dtype == np.uint8
    small = [cv2.resize(x, (32, 32), interpolation=cv2.INTER_AREA).astype(float) for x in (pixels, case.pixels(256))]
    assert np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1] > 0.95


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train-rle.csv").write_text("mine")
    with pytest.raises(KitError, match="data: holds something that is not a phantom"):
        phantom.write(folder, train=1, test=1, size=64)
    assert contents(tmp_path) == {"data/train-rle.csv": b"mine"}
    with pytest.raises(KitError):
        phantom.write(folder / "train-rle.csv", train=1, test=1, size=64)


def test_an_earlier_demo_and_an_empty_folder_are_replaced(tmp_path):
    folder = tmp_path / "demo"
    folder.mkdir()
    phantom.write(folder, train=2, test=1, size=64)
    phantom.write(folder, train=1, test=1, size=64)
    assert len(list(folder.glob("dicom-images-train/*/*/*.dcm"))) == 1
    assert list(tmp_path.iterdir()) == [folder]
