"""Predictions of one folder of images never mix with those of another folder, or with other files."""

import re

import pytest
import small_run

from kit.competition import layout, submission
from kit.core.errors import KitError
from kit.run import Run
from kit.workflows.predict import claim, predict_files


def test_a_folder_belongs_to_the_images_it_was_begun_with(tmp_path):
    target, first, second = tmp_path / "predictions", tmp_path / "cells/test", tmp_path / "hospital/test"
    claim(target, first)
    (target / "submission.csv").touch()
    claim(target, first)
    with pytest.raises(KitError, match=re.escape(f"{target}: holds predictions of {first}: give another folder")):
        claim(target, second)


def test_a_folder_with_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(KitError, match="holds other files than predictions of x: give another folder with --out"):
        claim(tmp_path, "x")
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_saved_files_are_removed_with_their_submission(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, target = small_run.write(tmp_path), Run(tmp_path / "clinic")
    data = layout.open_folder("data/tiny")
    trained, (first, second) = run.trained(run.read_recipe()), list(data.test)[:2]

    def predict(*images):
        paths = {image: data.test[image] for image in images}
        predict_files(trained, paths, images, target, data.shape, skip_bad=False, whole=False)
        assert list(submission.read(target.submission)) == list(images)

    predict(first)
    (target.folder / "png").mkdir()
    predict(first)
    assert (target.folder / "png").exists()
    predict(first, second)
    assert not (target.folder / "png").exists()
