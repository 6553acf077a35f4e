import numpy as np
import pytest


@pytest.fixture(autouse=True)
def arrays(tmp_path):
    """Maps and masks."""
    maps = np.zeros((6, 16, 16), np.uint8)
    maps[::2, 3:9, 3:9], maps[1, 2:4, 2:4] = 200, 90
    np.save(tmp_path / "maps.npy", maps)
    np.save(tmp_path / "masks.npy", maps == 200)


ARRAYS = ("thresholds", "--maps", "maps.npy", "--masks", "masks.npy", "--out", "out")


def test_all_rules(kit, tmp_path):
    code, printed, _ = kit(*ARRAYS, "--rule", "all")
    assert code == 0
    rules = ["rule", "searched", "image", "component", "triplet", "expected"]
    assert [line.split()[0] for line in printed.splitlines()] == rules
    for rule in ("image", "component", "triplet"):
        figures = {"surface.svg"} | ({"surface-top.svg"} if rule == "triplet" else set())
        written = {path.name for path in (tmp_path / "out" / rule).iterdir()}
        assert written == figures | {"thresholds.json", "surface.npz"}


def test_one_rule(kit, tmp_path):
    assert kit(*ARRAYS, "--rule", "image", "--prevalence", "0.22")[0] == 0
    assert (tmp_path / "out/thresholds.json").is_file()
