import numpy as np
import pandas as pd
import pytest

from kit.core.files import read_json
from kit.report.surfaces import draw, slices, table
from tests.support.searched import KINDS, choose


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    maps = np.zeros((4, 16, 16), np.uint8)
    maps[::2, 3:9, 3:9], maps[1, 2:4, 2:4] = 200, 90
    for kind, found in choose(maps, maps == 200, list("abcd"), None, KINDS).items():
        found.write(folder / kind, None, {})
    return {kind: folder / kind for kind in KINDS}


@pytest.mark.parametrize("kind", ["image", "component", "triplet"])
def test_a_surface_becomes_pictures_with_their_numbers(folders, kind):
    names = ["surface", "surface-top"] if kind == "triplet" else ["surface"]
    assert draw(folders[kind]) == [folders[kind] / f"{name}.svg" for name in names]
    found = read_json(folders[kind] / "thresholds.json")
    for name in names:
        assert "Dice" in (folders[kind] / f"{name}.svg").read_text()
        table = pd.read_csv(folders[kind] / f"{name}.csv")
        best = table.loc[table.dice.idxmax()]
        assert best.dice == pytest.approx(found["apparent_dice"], abs=1e-5)


@pytest.mark.parametrize("kind", ["image", "component", "triplet"])
def test_the_slices_pass_through_the_optimum(folders, kind):
    found = read_json(folders[kind] / "thresholds.json")
    drawn = slices(folders[kind])
    assert [figure.name for figure in drawn] == [f"along-{name}" for name in found["plateau"]]
    for figure, name in zip(drawn, found["plateau"], strict=True):
        at_best = figure.data[figure.data[name] == found[name]]
        assert at_best.dice.item() == pytest.approx(found["apparent_dice"])


def test_a_rule_without_thresholds_has_no_surface(folders):
    assert draw(folders["expected"]) == []
    assert slices(folders["expected"]) == []


def test_rules_stand_side_by_side(folders):
    lines = table(folders).splitlines()
    assert [line.split()[0] for line in lines] == ["rule", *KINDS]
    assert "negatives empty" in lines[0]
    assert "removal" in lines[1]
    assert "top" in lines[3]
    assert "1.0000" in lines[1]
    assert "an image at a time" in lines[4]
