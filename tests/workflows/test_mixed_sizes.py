"""Images of several sizes are imported, checked, trained on, predicted, validated and scored at their own size."""

import time

import cv2
import numpy as np
import pytest
import tiny_run
from drawn import drawn

from kit import recipes
from kit.competition import dicom, layout, mirror, rle, scoring, shapes, submission
from kit.competition.row_format import RowFormat
from kit.core.errors import KitError
from kit.data import cache
from kit.data.resize import resize_mask
from kit.kaggle.settings import Settings
from kit.kernel import offline
from kit.workflows import check, folds, importing, kernel, predict, train, validate
from kit.workflows.workspace import Workspace

SIDES = {0: (64, 64), 1: (80, 48)}
"""(height, width) of even and odd numbers."""


def case(number):
    """Returns an image and its mask, at the size of that number."""
    size = SIDES[number % 2][::-1]
    image, mask = drawn(number)
    return cv2.resize(image, size), cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)


@pytest.fixture(scope="module")
def brought(tmp_path_factory):
    """A working folder with an imported data set."""
    place = tmp_path_factory.mktemp("mixed")
    for name in ("images", "masks", "test"):
        (place / "cells" / name).mkdir(parents=True)
    for number in range(16):
        image, mask = case(number)
        cv2.imwrite(str(place / f"cells/{'images' if number < 12 else 'test'}/case{number:02}.png"), image)
        cv2.imwrite(str(place / f"cells/masks/case{number:02}.png"), mask * 255)
    found, done = importing.import_folder(place / "cells", place / "data/cells")
    assert done
    assert importing.describe(place / "data/cells", found) == "12 training and 4 test images of several sizes"
    return place


def test_every_layout_is_imported_unchanged(brought):
    data = layout.open_folder(brought / "data/cells")
    for number, (name, path) in enumerate(data.train.items()):
        image, mask = case(number)
        assert (dicom.read(path).pixels == image).all()
        assert (rle.union(data.labels[name], data.sizes[name]) == mask).all()
        assert data.truth(name).shape == data.shape
    checked = check.check(Workspace(brought), brought / "data/cells")
    assert "0 errors" in checked.text()
    assert "images of several sizes" in checked.text()


def test_from_folds_to_a_score_every_mask_has_the_size_of_its_image(brought, monkeypatch):
    workspace, folder = Workspace(brought), brought / "data/cells"
    # The recipe's own rule makes masks, however little is learned.
    (brought / "small.yaml").write_text(tiny_run.RECIPE + "threshold: {rule: fixed}\n")
    recipe = recipes.load(str(brought / "small.yaml"))
    folds.make_folds(workspace, folder, recipe)
    train.train(workspace, train.Job(folder, recipe))
    data = layout.open_folder(folder)
    made = cache.ensure(data, [32], workspace.cache(data))[32]
    for number, name in enumerate(data.train):
        assert (made.masks[number] == resize_mask(rle.union(data.labels[name], data.sizes[name]), 32)).all()
    path, _ = predict.predict(workspace, folder, recipe)
    assert validate.validate(path, folder) == []
    for name, text in submission.read(path).items():
        rle.decode(text, data.sizes[name], name)
    monkeypatch.chdir(brought)
    run = workspace.run(data, recipe)
    built = kernel.build(workspace, run, folder, Settings(), gpu=False, time_limit=60.0, notebook=False)
    submission.write(brought / "kernel.csv", [(name, "-1") for name in data.sample_ids])
    offline.run(built.bundle, folder, brought / "kernel.csv", time.monotonic() + 1000)
    assert submission.read(brought / "kernel.csv") == submission.read(path)


def test_a_mask_is_checked_against_the_size_of_its_image(tmp_path):
    (tmp_path / "s.csv").write_text("ImageId,EncodedPixels\na,0 6\nb,0 6\nc,0 6\n")
    sizes = {"a": (2, 3), "b": (2, 2)}
    found = submission.validate(tmp_path / "s.csv", ["a", "b"], sizes)
    assert [problem.image for problem in found] == ["b", "c", ""]
    assert "past" in found[0].reason
    solution = scoring.Solution({"a": ("0 6",), "b": ("0 4",)}, {"a": scoring.PUBLIC, "b": scoring.PRIVATE})
    assert scoring.score({"a": "0 6", "b": "0 2"}, solution, sizes).private == pytest.approx(2 * 2 / 6)


def test_rows_are_decoded_at_each_images_size(tmp_path):
    """As gaps or absolute starts; a row that only fits a larger image was drawn before the image was reduced."""
    rows = []
    for number in range(1, 6):
        image, mask = case(number)
        cv2.imwrite(str(tmp_path / f"case{number}.png"), image)
        rows.append(f"case{number}, {rle.encode(mask.astype(bool)) if mask.any() else '-1'}")
    (tmp_path / "train-rle.csv").write_text("\n".join(["ImageId, EncodedPixels", *rows]) + "\n")
    found = mirror.recognise(tmp_path)
    assert found.format == RowFormat()
    assert all((found.truth(f"case{number}").pixels == case(number)[1]).all() for number in range(1, 6))


@pytest.mark.parametrize("broken", ["4000 200", "x", "5 2 40"])
def test_one_broken_row_does_not_make_all_images_reduced_ones(tmp_path, broken):
    rows = []
    for number in range(1, 8):
        image, mask = case(number)
        cv2.imwrite(str(tmp_path / f"case{number}.png"), image)
        rows.append(f"case{number}, {rle.encode(mask.astype(bool)) if mask.any() else '-1'}")
    rows[2] = f"case3, {broken}"
    (tmp_path / "train-rle.csv").write_text("\n".join(["ImageId, EncodedPixels", *rows]) + "\n")
    found = mirror.recognise(tmp_path)
    assert found.format == RowFormat()
    assert all((found.truth(f"case{number}").pixels == case(number)[1]).all() for number in (1, 2, 4, 5, 6, 7))
    with pytest.raises(KitError, match="case3"):
        found.truth("case3")


def test_a_word_that_begins_with_test_marks_a_folder_of_test_images(tmp_path):
    for folder in ("latest/images", "contest", "test", "my-tests", "images_testing"):
        for place, picture in zip((folder, "masks"), case(1), strict=True):
            (tmp_path / place).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / place / f"{folder.replace('/', '-')}.png"), picture)
    assert mirror.recognise(tmp_path).in_test == {"test", "my-tests", "images_testing"}


@pytest.mark.parametrize("row", ["a,0,5", "a,5,-1", "a,5,x"])
def test_an_invalid_size_is_refused(tmp_path, row):
    (tmp_path / "sizes.csv").write_text(f"ImageId,Height,Width\n{row}\n")
    with pytest.raises(KitError, match=r"sizes.csv:2: a is .*: give its height and width in pixels"):
        shapes.read(tmp_path / "sizes.csv")
    with pytest.raises(KitError, match=r"image b: has no row in sizes.csv"):
        shapes.shape_of({"a": (1, 1)}, "b")
