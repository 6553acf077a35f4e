import dataclasses
import logging

import numpy as np
import pandas as pd
import pytest

from kit.competition import labels
from kit.core.errors import KitError
from kit.data import folds
from kit.data.folds import Split


@pytest.fixture
def crowd(phantoms):
    """300 images of 120 patients; only labels and patients are looked at."""
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


def test_the_same_seed_gives_the_same_bytes_and_another_other_folds(crowd, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        folds.write(tmp_path / f"{name}.csv", folds.make(crowd, Split(seed=seed)), {})
    a, b, c = ((tmp_path / f"{name}.csv").read_bytes() for name in "abc")
    assert a == b != c
    assert a.startswith(b"image_id,patient_id,stratum,fold\n")


@pytest.mark.parametrize("share", [0.1, 0.2, 0.15])
def test_a_holdout_share_validates_one_network(crowd, share):
    split = folds.make(crowd, Split(holdout=share, seed=3))
    assert split.numbers == [0]
    assert abs(len(split.validation(0)) / 300 - share) < 0.05
    assert set(split.table.fold) == {0, folds.ONLY_TRAINING}
    assert sorted([*split.training(0), *split.validation(0)]) == list(range(300))
    assert not set(split.table.patient_id[split.training(0)]) & set(split.table.patient_id[split.validation(0)])


def test_dicom_tells_the_patient_where_no_table_does(phantoms):
    split = folds.make(phantoms, Split(count=2))
    assert split.table.patient_id.nunique() < len(split.table)
    assert (split.table.groupby("patient_id").fold.nunique() == 1).all()


def test_too_few_cases_of_a_stratum_are_a_warning(crowd, caplog):
    few = {image_id: (() if number > 2 else ("1 2",)) for number, image_id in enumerate(crowd.train)}
    with caplog.at_level(logging.WARNING, "kit"):
        folds.make(dataclasses.replace(crowd, labels=few), Split(count=5))
    assert "3 images are single, fewer than the 5 folds" in caplog.text


def test_impossible_splits_are_refused(crowd):
    with pytest.raises(KitError, match="at least 2"):
        folds.make(crowd, Split(count=1))
    with pytest.raises(KitError, match="patients cannot make"):
        folds.make(dataclasses.replace(crowd, patients=dict.fromkeys(crowd.train, "one")), Split(count=3))
    few = dict(list(crowd.train.items())[:8])
    labels = {image_id: (("1 2",) if number < 4 else ()) for number, image_id in enumerate(few)}
    with pytest.raises(KitError, match="no stratum has an image for each of 5 folds: ask for fewer"):
        folds.make(dataclasses.replace(crowd, train=few, labels=labels, patients={}), Split(count=5))
    for share in (0.001, -1, 2, float("nan"), float("inf")):
        with pytest.raises(KitError, match="holdout"):
            folds.make(crowd, Split(holdout=share))


class TestRead:
    @pytest.fixture
    def file(self, phantoms, tmp_path):
        path = tmp_path / "tiny.csv"
        folds.write(path, folds.make(phantoms, Split(count=2)), folds.provenance(phantoms, Split(2)))
        return path

    def test_what_was_written_is_read(self, file, phantoms):
        assert folds.read(file, phantoms).table.equals(folds.make(phantoms, Split(count=2)).table)

    def test_changed_labels_are_an_error(self, file, phantoms, tmp_path):
        changed = tmp_path / "train-rle.csv"
        changed.write_text(phantoms.labels_path.read_text() + "\n")
        with pytest.raises(KitError, match=r"train-rle\.csv has changed since the folds were made"):
            folds.read(file, dataclasses.replace(phantoms, labels_path=changed))

    def test_a_changed_stratum_is_an_error_without_the_origin_too(self, file, phantoms):
        file.with_suffix(".origin.json").unlink()
        other = dict.fromkeys(phantoms.labels, ())
        with pytest.raises(KitError, match="has changed"):
            folds.read(file, dataclasses.replace(phantoms, labels=other))

    def test_other_images_are_an_error(self, file, phantoms):
        fewer = dict(list(phantoms.train.items())[1:])
        with pytest.raises(KitError, match=next(iter(phantoms.train)).replace(".", r"\.")):
            folds.read(file, dataclasses.replace(phantoms, train=fewer))

    def test_a_patient_in_two_folds_is_an_error(self, file, phantoms):
        table = pd.read_csv(file)
        shared = table.patient_id.value_counts().index[0]
        table.loc[table.index[table.patient_id == shared][0], "fold"] ^= 1
        table.to_csv(file, index=False)
        with pytest.raises(KitError, match="in more than one fold"):
            folds.read(file, phantoms)

    @pytest.mark.parametrize("content", ["", "a,b\n1,2\n", "image_id,patient_id,stratum,fold\nx,p,single,one\n"])
    def test_a_malformed_file_is_one_clear_line(self, file, phantoms, content):
        file.write_text(content)
        with pytest.raises(KitError, match="run `make folds` again"):
            folds.read(file, phantoms)

    @pytest.mark.parametrize(
        ("fold", "told"), [(-2, "fold -2: folds count from 0"), (0, "are in fold 0"), (-1, "fold -1")]
    )
    def test_folds_that_cannot_train_or_validate_are_an_error(self, file, phantoms, fold, told):
        table = pd.read_csv(file)
        table["fold"] = fold
        if fold == -2:
            table.loc[table.patient_id == table.patient_id[0], "fold"] = 0
        table.to_csv(file, index=False)
        with pytest.raises(KitError, match=told):
            folds.read(file, phantoms)

    def test_other_folds_than_a_recipe_asks_for_are_told(self, file):
        assert folds.difference(file, Split(2)) == ""
        assert folds.difference(file, Split(5)) == "has 2 folds, where the recipe asks for 5 folds"
        assert folds.difference(file, Split(holdout=0.1)) == "has 2 folds, where the recipe asks for a hold-out of 0.1"
        file.with_suffix(".origin.json").unlink()
        assert folds.difference(file, Split(5)) == ""

    def test_a_missing_file_says_what_to_run(self, phantoms, tmp_path):
        with pytest.raises(KitError, match="run `make folds` first"):
            folds.read(tmp_path / "none.csv", phantoms)

    @pytest.mark.parametrize("fold", ["1e30", str(2**70), "-" + "9" * 40, "0x1", "nan", ""])
    def test_numbers_of_folds_that_cannot_be(self, file, phantoms, fold):
        first, second, *rest = file.read_text().splitlines()
        file.write_text("\n".join([first, second.rpartition(",")[0] + "," + fold, *rest]))
        with pytest.raises(KitError, match="run `make folds` again"):
            folds.read(file, phantoms)


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


class TestSplits:
    """Several splits of one data set stand side by side."""

    @pytest.fixture
    def files(self, phantoms, tmp_path):
        for name, split in (("d", Split(2)), ("d-holdout10", Split(holdout=0.1)), ("d-2fold-seed7", Split(2, seed=7))):
            folds.write(tmp_path / f"{name}.csv", folds.make(phantoms, split), folds.provenance(phantoms, split))
        (tmp_path / "d-other.csv").write_text("of another data set")
        return folds.files_of(tmp_path, "d")

    def test_the_first_comes_first_and_other_data_sets_are_left_out(self, files):
        assert [path.name for path in files] == ["d.csv", "d-2fold-seed7.csv", "d-holdout10.csv"]

    @pytest.mark.parametrize(
        ("split", "name"),
        [
            (Split(2), "d.csv"),
            (Split(2, seed=7), "d-2fold-seed7.csv"),
            (Split(2, seed=3), "d.csv"),  # another seed of the training does not ask for other folds
            (Split(holdout=0.1), "d-holdout10.csv"),
        ],
    )
    def test_the_one_that_is_asked_for_is_chosen(self, files, split, name):
        assert folds.choose(files, split).name == name

    def test_another_split_than_all_is_not_guessed(self, files):
        assert folds.choose(files, Split(5)) is None
        assert folds.choose(files[:1], Split(5)) == files[0]
        assert folds.choose([], Split(5)) is None

    def test_an_edited_first_file_is_honoured(self, files):
        assert not folds.is_by_hand(files[0])
        files[0].write_text(files[0].read_text() + "\n")
        assert folds.is_by_hand(files[0])
        assert folds.choose(files, Split(5)) == files[0]

    def test_a_file_that_was_brought_along_is_honoured(self, files):
        files[0].with_suffix(".origin.json").unlink()
        assert folds.is_by_hand(files[0])
        assert folds.choose(files, Split(5)) == files[0]
