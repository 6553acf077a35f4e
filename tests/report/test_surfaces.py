import numpy as np
import pytest
from PIL import Image

from kit.report.surfaces import draw, table
from kit.thresholds.selection import KINDS, choose, write


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rules")
    maps = np.zeros((4, 16, 16), np.uint8)
    maps[::2, 3:9, 3:9], maps[1, 2:4, 2:4] = 200, 90
    for kind, found in choose(maps, maps == 200, list("abcd"), None, KINDS).items():
        write(found, folder / kind, None, {})
    return {kind: folder / kind for kind in KINDS}


@pytest.mark.parametrize("kind", ["image", "component", "triplet"])
def test_a_surface_becomes_a_picture(folders, kind):
    path = draw(folders[kind])
    assert path == folders[kind] / "surface.png"
    with Image.open(path) as picture:
        assert picture.width > picture.height > 300
        assert len(picture.convert("RGB").getcolors(10**6)) > 20


def test_a_rule_without_thresholds_has_no_surface(folders):
    assert draw(folders["expected"]) is None


def test_rules_stand_side_by_side(folders):
    lines = table(folders).splitlines()
    assert [line.split()[0] for line in lines] == ["rule", *KINDS]
    assert "negatives empty" in lines[0]
    assert "removal" in lines[1]
    assert "top" in lines[3]
    assert "1.0000" in lines[1]
    assert "an image at a time" in lines[4]
