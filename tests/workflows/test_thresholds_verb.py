import sys

import numpy as np
import pytest

from kit import cli


@pytest.fixture
def kit(tmp_path, monkeypatch, capsys):
    """Runs a command line in a folder with maps and masks; gives what it printed."""
    monkeypatch.chdir(tmp_path)
    maps = np.zeros((6, 16, 16), np.uint8)
    maps[::2, 3:9, 3:9], maps[1, 2:4, 2:4] = 200, 90
    np.save("maps.npy", maps)
    np.save("masks.npy", maps == 200)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["kit", "thresholds", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
            sys.exit(0)
        return end.value.code, *capsys.readouterr()

    return run


ARRAYS = ("--maps", "maps.npy", "--masks", "masks.npy", "--out", "out")


def test_all_rules(kit, tmp_path):
    code, printed, _ = kit(*ARRAYS, "--rule", "all", "--removal", "0,512,1024")
    assert code == 0
    rules = ["rule", "searched", "image", "component", "triplet", "expected"]
    assert [line.split()[0] for line in printed.splitlines()] == rules
    for rule in ("image", "component", "triplet"):
        figures = {"surface.svg", "along-binarization.svg", "along-removal.svg"}
        figures |= {"surface-top.svg", "along-top.svg"} if rule == "triplet" else set()
        written = {path.name for path in (tmp_path / "out" / rule).iterdir()}
        assert written == figures | {"thresholds.json", "surface.npz"}
        assert np.load(tmp_path / "out" / rule / "surface.npz")["removal"].tolist() == [0, 512, 1024]


def test_one_rule(kit, tmp_path):
    assert kit(*ARRAYS, "--rule", "image", "--prevalence", "0.22")[0] == 0
    assert (tmp_path / "out/thresholds.json").is_file()
