import dataclasses
import os

import numpy as np
import pandas as pd
import pytest

from kit import recipes
from kit.competition import labels
from kit.core.errors import KitError
from kit.data import folds
from kit.data.folds import Split
from kit.workflows.folds import make_folds
from kit.workflows.workspace import Workspace


@pytest.fixture
def crowd(phantoms):
    """300 images of 120 patients; only labels and patients are used."""
    random = np.random.default_rng(0)
    ids = [f"i{number:03d}" for number in range(300)]
    rows = random.choice(["", "a", "a b"], 300, p=[0.7, 0.2, 0.1])
    known = {
        image_id: tuple(f"{n} 5" for n, _ in enumerate(row.split())) for image_id, row in zip(ids, rows, strict=True)
    }
    return dataclasses.replace(
        phantoms,
        train=dict.fromkeys(ids, phantoms.labels_path),
        labels=known,
        patients={image_id: f"p{random.integers(120)}" for image_id in ids},
    )


def test_no_patient_is_in_two_folds_and_strata_are_even(crowd):
    table = folds.make(crowd, Split(count=5, seed=0)).table
    assert (table.groupby("patient_id").fold.nunique() == 1).all()
    assert table.image_id.tolist() == sorted(crowd.train)
    counts = pd.crosstab(table.stratum, table.fold)
    for stratum in labels.STRATA:
        assert counts.loc[stratum].max() - counts.loc[stratum].min() <= 0.1 * counts.loc[stratum].sum() + 3


def test_the_seed_alone_decides_the_folds(crowd, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        folds.write(tmp_path / f"{name}.csv", folds.make(crowd, Split(seed=seed)), {})
    a, b, c = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert a == b != c
    assert a.startswith(b"image_id,patient_id,stratum,fold\n")


def test_a_train_share_is_stratified_and_part_of_any_larger_share(crowd):
    split = folds.make(crowd, Split(count=3))
    for fold in split.numbers:
        whole, half, quarter = (split.training(fold, share, seed=1) for share in (1, 0.5, 0.25))
        assert set(quarter) < set(half) < set(whole)
        counts = split.table.stratum.iloc[whole].value_counts()
        for share, rows in ((0.5, half), (0.25, quarter)):
            assert (split.table.stratum.iloc[rows].value_counts() == np.ceil(share * counts)).all()
        assert set(quarter) != set(split.training(fold, 0.25, seed=2))


@pytest.mark.parametrize("share", [0.1, 0.2, 0.15])
def test_a_holdout_share_validates_one_network(crowd, share):
    split = folds.make(crowd, Split(holdout=share, seed=3))
    assert split.numbers == [0]
    assert abs(len(split.validation(0)) / 300 - share) < 0.05
    assert set(split.table.fold) == {0, folds.ONLY_TRAINING}
    assert sorted([*split.training(0), *split.validation(0)]) == list(range(300))
    assert not set(split.table.patient_id[split.training(0)]) & set(split.table.patient_id[split.validation(0)])


def test_patients_come_from_dicom_without_a_table(phantoms):
    split = folds.make(phantoms, Split(count=2))
    assert split.table.patient_id.nunique() < len(split.table)
    assert (split.table.groupby("patient_id").fold.nunique() == 1).all()


def test_impossible_splits_are_refused(crowd):
    with pytest.raises(KitError, match="at least 2"):
        folds.make(crowd, Split(count=1))
    with pytest.raises(KitError, match=r"300 images of 1 patients, .* cannot make 3 folds"):
        folds.make(dataclasses.replace(crowd, patients=dict.fromkeys(crowd.train, "one")), Split(count=3))
    few = dict(list(crowd.train.items())[:8])
    labels = {image_id: (("1 2",) if number < 4 else ()) for number, image_id in enumerate(few)}
    with pytest.raises(KitError, match="at most 4 of a stratum, cannot make 5 folds: ask for fewer"):
        folds.make(dataclasses.replace(crowd, train=few, labels=labels, patients={}), Split(count=5))
    with pytest.raises(KitError, match=r"cannot make 10 equal parts for a hold-out of 0\.1: hold out 0\.5, or"):
        folds.make(dataclasses.replace(crowd, train=few, labels=labels, patients={}), Split(holdout=0.1))
    for share in (0.001, -1, 2, float("nan"), float("inf")):
        with pytest.raises(KitError, match="holdout"):
            folds.make(crowd, Split(holdout=share))


def test_hashed_patients_make_the_same_folds_and_name_nobody(crowd, tmp_path):
    plain, hashed = folds.make(crowd, Split()), folds.make(crowd, Split(hash_patients=True))
    assert (plain.table.fold == hashed.table.fold).all()
    groups = [
        table.groupby("patient_id").image_id.apply(tuple).sort_values().tolist()
        for table in (plain.table, hashed.table)
    ]
    assert groups[0] == groups[1]
    assert not set(plain.table.patient_id) & set(hashed.table.patient_id)
    assert hashed.table.patient_id.str.fullmatch("[0-9a-f]{16}").all()


class TestFiles:
    """The name of a fold file depends only on the split."""

    @pytest.fixture
    def place(self, phantoms, tmp_path):
        workspace, competition = Workspace(tmp_path), dataclasses.replace(phantoms, name="d")
        for name, split in (("d", Split(2)), ("d-holdout10", Split(holdout=0.1)), ("d-2fold-seed7", Split(2, seed=7))):
            made = folds.make(phantoms, split)
            folds.write(workspace.folds / f"{name}.csv", made, folds.provenance(phantoms, split))

        def fold_file(overrides):
            return workspace.fold_file(competition, recipes.load("demo", overrides)).name

        return workspace.folds, fold_file

    @pytest.mark.parametrize(
        ("overrides", "name"),
        [
            ("folds.count=2", "d.csv"),
            ("folds.count=2 folds.seed=7", "d-2fold-seed7.csv"),
            ("folds.count=2 seed=3", "d.csv"),  # the seed of the training does not ask for other folds
            ("folds.holdout=0.1", "d-holdout10.csv"),
        ],
    )
    def test_the_requested_split_is_used(self, place, overrides, name):
        folder, fold_file = place
        assert fold_file(overrides) == name
        for path in folder.glob("*.csv"):
            if path.name != name:
                path.unlink()
        assert fold_file(overrides) == name
        (folder / name).unlink()
        with pytest.raises(KitError, match="run `make folds` with this recipe first"):
            fold_file(overrides)

    def test_another_split_is_not_used_instead(self, place):
        with pytest.raises(
            KitError, match=r"d-5fold\.csv: there are no folds yet of demo, 5 folds \(.*d\.csv has 2 folds\)"
        ):
            place[1]("folds.count=5")

    @pytest.mark.parametrize("edit", [True, False])
    def test_a_users_own_first_file_is_used(self, place, edit):
        folder, fold_file = place
        first = folder / "d.csv"
        if edit:
            first.write_text(first.read_text() + "\n")
        else:
            first.with_suffix(".origin.json").unlink()
        assert folds.is_user_supplied(first)
        assert fold_file("folds.count=5") == "d.csv"


class TestSizes:
    def few_patients(self, crowd, *sizes):
        images = list(crowd.train)[: sum(sizes)]
        owners = [f"p{number}" for number, size in enumerate(sizes) for _ in range(size)]
        known = {image: (("1 2",) if number % 3 == 0 else ()) for number, image in enumerate(images)}
        train = {image: crowd.train[image] for image in images}
        patients = dict(zip(images, owners, strict=True))
        return dataclasses.replace(crowd, train=train, labels=known, patients=patients)

    def test_unequal_folds_of_few_patients_give_a_warning(self, crowd, caplog):
        folds.make(self.few_patients(crowd, 30, 10), Split(2))
        assert "folds of " in caplog.text
        assert "of 2 patients, one has 30 of the 40 images" in caplog.text
        caplog.clear()
        folds.make(crowd, Split(5))
        for seed in range(4):  # where nobody has many, it is the strata that are dealt out unevenly
            folds.make(self.few_patients(crowd, *[1] * 10), Split(2, seed=seed))
        assert "patients" not in caplog.text

    def test_an_empty_fold_is_refused(self, crowd):
        some = self.few_patients(crowd, 20, 20)
        with pytest.raises(KitError, match=r"40 images of 2 patients, .* cannot make 3 folds"):
            folds.make(some, Split(3))
        for seed in range(8):
            try:
                made = folds.make(self.few_patients(crowd, 24, 1, 1, 1, 1), Split(5, seed=seed))
            except KitError as error:
                assert "another --seed" in str(error)
            else:
                assert made.table.fold.nunique() == 5


@pytest.mark.parametrize("again", [False, True])
def test_after_a_kill_the_same_bytes_are_made(phantoms, tmp_path, monkeypatch, again):
    def make(workspace, count=None):
        return make_folds(workspace, phantoms.folder, recipes.load("demo"), count=count)

    def content(workspace):
        return {path.name: path.read_bytes() for path in workspace.folds.iterdir()}

    class Killed(BaseException):
        pass

    whole = Workspace(tmp_path / "whole")
    make(whole)
    for moment in range(1, 5):
        killed, calls = Workspace(tmp_path / f"killed{moment}"), []
        if again:
            make(killed)
            first = killed.folds / f"{phantoms.name}.csv"
            changed = folds.provenance(phantoms, Split(2)) | {"labels": "0" * 64}
            folds.write(first, folds.Folds(folds.read_table(first)), changed)

        def replace(source, target, rename=os.replace, calls=calls, moment=moment):
            calls.append(1)
            if len(calls) == (moment + 1) // 2 and moment % 2:
                raise Killed
            rename(source, target)
            if len(calls) == moment // 2 and not moment % 2:
                raise Killed

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr("os.replace", replace)
            make(killed)
        make(killed)
        assert content(killed) == content(whole)
