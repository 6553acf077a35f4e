"""Files made from valid values: written, read, equal; then changed somewhere: read, or refused in one line."""

import dataclasses
import re

import lungs
import numpy as np
import pandas as pd
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kit import recipes
from kit.competition import labels, rle, submission
from kit.core.errors import KitError
from kit.data import folds
from kit.inference import maps

SHAPE = (8, 8)
some = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ids = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=12).filter(
    lambda text: text.lower() not in ("imageid", "encodedpixels")
)
plain_ids = st.text("abcdefghijklmnopqrstuvwxyz0123456789.", min_size=1, max_size=12)
masks = hnp.arrays(bool, SHAPE).map(rle.encode)
changes = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.integers(0, 3),
        st.binary(max_size=6) | st.sampled_from([b",", b"\n", b'"', b"-1", b"\x00", b"\xff", b"9" * 40]),
    ),
    min_size=1,
    max_size=4,
)


def changed(content: bytes, changes) -> bytes:
    """Bytes put in, put over, taken out, or cut off."""
    for where, kind, new in changes:
        place = int(where * len(content))
        gone = {0: 0, 1: len(new), 2: 9, 3: len(content)}[kind]
        content = content[:place] + (new if kind < 2 else b"") + content[place + gone :]
    return content


def refused_in_one_line(read) -> bool:
    """Whether it is refused; any other error escapes."""
    try:
        read()
    except KitError as error:
        assert "\n" not in str(error)
        return True
    return False


@some
@given(table=st.dictionaries(ids, st.lists(masks, max_size=3), min_size=1, max_size=6), changes=changes)
def test_labels(tmp_path, table, changes):
    path = tmp_path / "labels.csv"
    rows = [(image_id, text) for image_id, texts in table.items() for text in texts or ["-1"]]
    submission.write(path, rows)
    expected = {name: tuple(dict.fromkeys(text for text in texts if text != "-1")) for name, texts in table.items()}
    assert labels.read(path) == expected
    path.write_bytes(changed(path.read_bytes(), changes))
    refused_in_one_line(lambda: labels.read(path))


@some
@given(answers=st.dictionaries(ids, masks, min_size=1, max_size=6), changes=changes)
def test_submissions(tmp_path, answers, changes):
    path = tmp_path / "submission.csv"
    submission.write(path, answers.items())
    assert submission.read(path) == answers
    assert submission.validate(path, list(answers), SHAPE) == []
    path.write_bytes(changed(path.read_bytes(), changes))
    found = submission.validate(path, list(answers), SHAPE)
    if not found:  # what is valid is read, and answers every image
        assert submission.read(path).keys() == answers.keys()
    assert all(str(problem).isprintable() for problem in found)


@some
@given(
    chosen=st.dictionaries(
        plain_ids, st.tuples(st.integers(0, 3), st.sampled_from(["", "0 8", "0 8|8 8"])), min_size=2
    ),
    changes=changes,
)
@example(chosen={"0": (0, ""), "NA": (0, "0 8"), "null": (1, "")}, changes=[(0.0, 0, b"")])
def test_folds(tmp_path, chosen, changes):
    path = tmp_path / "tiny.csv"
    names = sorted(chosen)
    regions = {name: tuple(filter(None, chosen[name][1].split("|"))) for name in names}
    table = pd.DataFrame(
        {
            "image_id": names,
            "patient_id": [f"p {name}" for name in names],
            "stratum": [labels.stratum(regions[name]) for name in names],
            "fold": [0, 1, *(chosen[name][0] for name in names[2:])],
        }
    )
    competition = dataclasses.replace(lungs.competition(tmp_path / "lungs"), train=dict.fromkeys(names), labels=regions)
    folds.write(path, folds.Folds(table), {})
    assert folds.read(path, competition).table.equals(table)
    path.write_bytes(changed(path.read_bytes(), changes))
    refused_in_one_line(lambda: folds.read(path, competition))


@some
@given(
    array=hnp.arrays(np.uint8, st.tuples(*[st.integers(1, 4)] * 3)),
    names=st.lists(ids, min_size=4, max_size=4, unique=True),
    which=st.sampled_from([".npy", ".ids.txt"]),
    changes=changes,
)
def test_maps(tmp_path, array, names, which, changes):
    path = tmp_path / "fold0.npy"
    maps.save(path, names[: len(array)], array)
    found = maps.open_maps(path)
    assert found.ids == tuple(names[: len(array)])
    assert (np.stack(list(found)) == array).all()
    file = path.with_suffix(which)
    file.write_bytes(changed(file.read_bytes(), changes))
    refused_in_one_line(lambda: list(maps.open_maps(path)))


recipe = st.fixed_dictionaries(
    {
        "name": st.from_regex(re.compile(r"[a-z][a-z0-9-]{0,20}", re.ASCII), fullmatch=True),
        "seed": st.integers(0, 2**31),
        "extra": st.none()
        | st.fixed_dictionaries(
            {"data": st.sampled_from(["more", "../ä b/: more", "1e3"]), "weight": st.floats(0.01, 1)}
        ),
        "stages": st.lists(
            st.fixed_dictionaries(
                {
                    "size": st.integers(1, 32).map(lambda count: 32 * count),
                    "epochs": st.integers(1, 100),
                    "batch_size": st.integers(1, 64),
                    "learning_rate": st.floats(1e-6, 1),
                    "schedule": st.sampled_from(["constant", "linear", {"plateau": {"to": 1e-7}}, {"cosine": {}}]),
                    "keep": st.sampled_from(["last", {"swa": {"last": 1}}, {"best": {"of": "loss"}}, {"ema": {}}]),
                    "positive_share": st.none() | st.floats(0.1, 1) | st.tuples(st.just(0.8), st.floats(0.1, 1)),
                }
            ),
            min_size=1,
            max_size=3,
        ),
    }
)


@some
@given(content=recipe, changes=changes)
def test_recipes(tmp_path, content, changes):
    path = tmp_path / "mine.yaml"
    written = recipes.parse(content, "mine")
    path.write_text(written.dump())
    assert recipes.load(path) == written
    path.write_bytes(changed(path.read_bytes(), changes))
    refused_in_one_line(lambda: recipes.load(path))


keys = st.sampled_from(
    [
        *("seed", "stages.0.epochs", "stages.9.size", "network.encoder", "stages", "", "scale.size", "a.b.c"),
        *("stages.0.keep", "stages.1.keep.swa.last", "stages.first.size", "stages.0.schedule", "stages.0.swa_epochs"),
    ]
)
values = st.text(max_size=12) | st.sampled_from(
    ["1", "-1", "1e400", "[", "{a: *b}", "null", "9" * 5000, "&a [*a]", "!!python/x"]
)


@some
@given(pairs=st.lists(st.tuples(keys, values), min_size=1, max_size=3))
def test_overrides(pairs):
    refused_in_one_line(lambda: recipes.load("demo", " ".join(f"{key}={value}" for key, value in pairs)))
