"""Extra data: which images may train which fold, so that no patient both trains and validates a network."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from kit.competition.layout import Competition
from kit.data import folds
from kit.data.cache import Cache
from kit.data.dataset import UNKNOWN_MASK, FoldData, Samples
from kit.data.extra import keep_apart
from kit.data.folds import Split
from kit.recipes.schema import Extra


def data_set(name: str, patients: dict[str, str], positive: tuple[str, ...], test: tuple[str, ...] = ()) -> Competition:
    """A data set whose images are never opened."""
    train = {image: Path(image) for image in sorted(patients) if image not in test}
    return Competition(
        folder=Path(name),
        name=name,
        train=train,
        test={image: Path(image) for image in test},
        unlabelled=(),
        labels={image: ("0 9",) if image in positive else () for image in train},
        labels_path=Path(name) / "train-rle.csv",
        patients=patients,
        sample_path=None,
        sample_ids=test,
        solution_path=None,
        shape=(8, 8),
    )


@pytest.fixture
def own():
    images = {f"a{number:02}": f"p{number // 2}" for number in range(24)}
    return data_set("own", images | {"t0": "p90", "t1": "p91"}, tuple(list(images)[::3]), ("t0", "t1"))


@pytest.fixture
def more():
    """Images of eight patients of `own`, of one patient of its test images, of four other patients, and a duplicate."""
    images = {f"b{number:02}": f"p{number}" for number in range(8)}
    images |= {"b90": "p91", "a05": "somebody"} | {f"c{number}": f"q{number // 2}" for number in range(8)}
    return data_set("more", images, ("b00", "b03", "b90", "c1", "c5"))


@pytest.mark.parametrize("split", [Split(3), Split(4, seed=5), Split(holdout=0.25), Split(3, hash_patients=True)])
def test_no_extra_patient_is_validated_or_tested(own, more, split):
    made = folds.make(own, split)
    extra, ids = keep_apart(more, own, made), list(more.train)
    for fold in made.numbers:
        validating = {own.patients[made.table.image_id[row]] for row in made.validation(fold)}
        may_train = [
            image
            for image in ids
            if more.patients[image] not in validating | {"p90", "p91"} and image not in own.patients
        ]
        assert [ids[row] for row in extra.rows(fold)] == may_train
        assert {"c0", "c7"} <= set(may_train)
        assert not {"b90", "a05"} & set(may_train)


def test_one_line_says_what_is_left_out(own, more):
    made = folds.make(own, Split(2))
    extra = keep_apart(more, own, made)
    counts = [16 - len(extra.rows(fold)) for fold in (0, 1)]
    assert sum(counts) == 8
    assert str(extra) == (
        "extra data more: 18 images, 5 with pneumothorax; left out for sharing a patient with the validation part: "
        f"fold 0 {counts[0]}, fold 1 {counts[1]}, in all 8; left out of every fold: 1 that are in own, 1 of patients "
        "of its test images"
    )


def test_the_key_depends_on_ids_labels_patients_pixels_and_folds(own, more):
    made, keys = folds.make(own, Split(2)), tuple(bytes([row]) for row in range(len(more.train)))

    def key(data=more, image_keys=keys, beside=own):
        return keep_apart(data, beside, made).key(image_keys)

    others = [
        key(image_keys=(b"else", *keys[1:])),  # of file and label rows
        key(dataclasses.replace(more, patients=more.patients | {"c0": "q9"})),
        key(beside=dataclasses.replace(own, patients=own.patients | {"t0": "q1"})),
        key(dataclasses.replace(more, train={f"z{image}": path for image, path in more.train.items()}, patients={})),
    ]
    assert key() == key()
    assert len({key(), *others}) == 5


@pytest.mark.parametrize("labels", ["masks", "image"])
def test_extra_rows_come_after_those_of_the_main_data_set(own, more, labels):
    made = folds.make(own, Split(2))
    extra = keep_apart(more, own, made)

    def cached(count, first):
        images = np.full((count, 4, 4), first, np.uint8) + np.arange(count, dtype=np.uint8)[:, None, None]
        return Cache(images, images % 2, (b"",) * count, np.zeros(count, bool))

    theirs = cached(18, 100)
    unreadable = extra.rows(0)[2]
    theirs.bad[unreadable] = True
    mine = FoldData(cached(24, 0), made.training(0), made.validation(0), made.positive[made.training(0)])
    found = extra.join(mine, theirs, 0, Extra(data="more", labels=labels))
    wanted = [row for row in extra.rows(0) if row != unreadable]
    assert found.training.tolist() == [*mine.training, *(24 + row for row in wanted)]
    assert found.validation.tolist() == mine.validation.tolist()
    positive = [bool(list(more.labels.values())[row]) for row in wanted]
    assert found.positive.tolist() == [*mine.positive, *positive]
    assert found.extra == len(wanted)
    assert sum(positive) > 0
    samples = Samples(found.cache, None, 0, found.unknown)
    assert len(samples) == 42
    for row, is_positive in zip(wanted, positive, strict=True):
        image, mask = samples[0, 24 + row]
        assert (image == 100 + row).all()
        assert (mask == (UNKNOWN_MASK if labels == "image" and is_positive else row % 2)).all()
    for row in mine.training:
        assert (samples[0, row][0] == row).all()
        assert (samples[0, row][1] == row % 2).all()
