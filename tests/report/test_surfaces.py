import numpy as np
import pytest

from kit.core.files import read_json
from kit.report.surfaces import draw, table
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
def test_a_surface_is_drawn_through_its_optimum(folders, kind):
    maps = ["surface", "surface-top"] if kind == "triplet" else ["surface"]
    found = read_json(folders[kind] / "thresholds.json")
    drawn = {figure.name: figure for figure in draw(folders[kind])}
    assert list(drawn) == maps
    for name in maps:
        assert f"highest, {found['apparent_dice']:.4f}, at" in drawn[name].alt
        assert drawn[name].write(folders[kind]).read_text().startswith("<?xml")


def test_a_rule_without_thresholds_has_no_surface(folders):
    assert draw(folders["expected"]) == []


def test_rules_stand_side_by_side(folders):
    lines = table(folders).splitlines()
    assert [line.split()[0] for line in lines] == ["rule", *KINDS]
    assert "negatives empty" in lines[0]
    assert "removal" in lines[1]
    assert "top" in lines[3]
    assert "1.0000" in lines[1]
    assert "decided image by image" in lines[4]
