import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.core.errors import KitError
from kit.core.files import write_json
from kit.inference import rules, thresholds_file
from kit.inference.rules import ComponentRule, ExpectedRule, ImageRule, TripletRule

share = st.floats(0, 1)
area = st.integers(0, 2**20)
number = st.floats(-1e6, 1e6)
levels = st.lists(st.integers(0, 255), max_size=4)
inner = st.one_of(
    st.builds(ImageRule, share, area),
    st.builds(ComponentRule, share, area),
    st.builds(TripletRule, share, share, area),
    levels.flatmap(
        lambda chosen: st.builds(
            ExpectedRule,
            st.lists(share, min_size=256, max_size=256),
            st.floats(0, 10),
            st.just(chosen),
            st.lists(number, min_size=len(chosen), max_size=len(chosen)),
            number,
        )
    ),
)
any_rule = st.builds(
    lambda rule, gate, smallest: replace(rule, gate=gate, smallest_contour=smallest), inner, st.none() | share, area
)
STRANGE = [None, True, "0.5", "", [], {}, [0.5], -1, 2, 1e308, math.nan, math.inf, 10**400, -(10**30), "\x1b[2J"]


@settings(max_examples=60, deadline=None)
@given(rule=any_rule)
def test_any_rule_is_read_as_it_was_written(tmp_path_factory, rule):
    path = tmp_path_factory.mktemp("rule") / "thresholds.json"
    write_json(path, rules.parameters(rule))
    assert thresholds_file.read(path).rule == rule


@settings(max_examples=150, deadline=None)
@given(rule=any_rule, data=st.data())
def test_a_mutated_file_is_read_as_a_rule_or_refused_in_one_line(tmp_path_factory, rule, data):
    path = tmp_path_factory.mktemp("rule") / "thresholds.json"
    content = rules.parameters(rule)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from([*content, "interval", "hashes", "masked"]))
        change = data.draw(st.sampled_from(["drop", "value", "inside"]))
        if change == "drop":
            content.pop(key, None)
        elif change == "inside" and isinstance(content.get(key), list) and content[key]:
            content[key] = [data.draw(st.sampled_from(STRANGE)), *content[key][1:]]
        else:
            content[key] = data.draw(st.sampled_from(STRANGE))
    text = json.dumps(content)
    if data.draw(st.booleans()):
        text = text[: data.draw(st.integers(0, len(text)))]
    path.write_text(text)
    try:
        found = thresholds_file.read(path).rule
    except KitError as error:
        line = str(error)
        assert line.startswith(f"{path}: ")
        assert line.isprintable()
        assert line.endswith(thresholds_file.REMEDY)
    else:
        values = rules.parameters(found)
        for name in ("binarization", "top", "gate"):
            assert 0 <= values.get(name, 0) <= 1
        assert isinstance(values.get("removal", 0), int)
        assert values.get("removal", 0) >= 0
        assert all(0 <= value <= 1 for value in values.get("foreground", []))


def test_a_rule_without_its_measures_is_enough_to_predict_with_but_not_to_report(tmp_path):
    path = tmp_path / "thresholds.json"
    write_json(path, {"rule": "image", "binarization": 0.5, "removal": 100})
    assert thresholds_file.read(path).rule == ImageRule(0.5, 100)
    with pytest.raises(KitError, match="lacks nested_dice, interval, dice_all_empty"):
        thresholds_file.read_measured(path)


def test_measures_of_an_earlier_version_are_not_taken_for_others(tmp_path):
    """In the earlier version, `interval` was of the apparent Dice."""
    path = tmp_path / "thresholds.json"
    old = {"dice": 0.82, "interval": [0.8, 0.84], "nested_dice": 0.79, "asked": "searched", "use": None}
    write_json(path, {"rule": "image", "binarization": 0.5, "removal": 100, "share": 0.125} | old)
    assert thresholds_file.read(path).rule == ImageRule(0.5, 100)
    assert (thresholds_file.read(path).share, thresholds_file.read(path).measures) == (0.125, {})
    with pytest.raises(KitError, match=r"lacks .*apparent_dice"):
        thresholds_file.read_measured(path)
