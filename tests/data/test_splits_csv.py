"""A split that comes with the data is used as a whole."""

import pytest

from kit import recipes
from kit.competition import layout
from kit.core.errors import KitError
from kit.data import folds
from kit.data.folds import Split
from kit.workflows.folds import make_folds
from kit.workflows.workspace import Workspace


@pytest.fixture
def data(phantoms, tmp_path):
    """A data set of phantoms for a splits.csv."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    for path in phantoms.folder.iterdir():
        (folder / path.name).symlink_to(path)
    return layout.open_folder(folder)


def by_patient(data):
    """A fold for each image, by whether the last digit of the patient id is odd."""
    table = folds.make(data, Split(5)).table
    return {
        image: int(patient[-1], 16) % 2 - (patient[0] < "2")
        for image, patient in table[["image_id", "patient_id"]].values
    }


def write(data, given):
    (data.folder / "splits.csv").write_text("ImageId,Fold\n" + "".join(f"{k},{v}\n" for k, v in given.items()))


def test_the_split_of_the_data_overrides_the_recipe(data, tmp_path):
    given = by_patient(data)
    write(data, given)
    for recipe in ("demo", "exp5"):
        _, made, _ = make_folds(Workspace(tmp_path), data.folder, recipes.load(recipe))
        assert dict(zip(made.table.image_id, made.table.fold, strict=True)) == given
    with pytest.raises(KitError, match=r"splits\.csv: says how to split"):
        make_folds(Workspace(tmp_path), data.folder, recipes.load("demo"), count=3)


def test_a_changed_split_is_taken_up(data, tmp_path):
    given = by_patient(data)
    write(data, given)
    make_folds(Workspace(tmp_path), data.folder, recipes.load("demo"))
    write(data, {image: 1 - max(0, fold) for image, fold in given.items()})
    _, made, done = make_folds(Workspace(tmp_path), data.folder, recipes.load("demo"))
    assert done
    assert set(made.numbers) == {0, 1}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda given: given.pop(next(iter(given))), "no row for 1 training images"),
        (lambda given: given.update({next(iter(given)): "train"}), "folds count from 0, or -1"),
        (lambda given: given.update(dict.fromkeys(given, 1)), "all images are in fold 1"),
    ],
)
def test_an_invalid_split_is_refused(data, change, reason):
    given = by_patient(data)
    change(given)
    write(data, given)
    with pytest.raises(KitError, match=reason):
        folds.make(data, Split(5))


def test_a_patient_in_two_folds_is_an_error(data):
    table = folds.make(data, Split(5)).table
    again = table[table.patient_id.duplicated()].image_id.iloc[0]
    write(data, by_patient(data) | {again: 7})
    with pytest.raises(KitError, match="is in more than one fold"):
        folds.make(data, Split(5))
