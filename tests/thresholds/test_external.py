import numpy as np
import pytest

from kit.core.errors import KitError
from kit.core.files import read_json, sha256
from kit.inference import thresholds_file
from kit.inference.maps import save
from kit.thresholds import external
from kit.workflows.thresholds import explore_arrays

FOLDS = "image_id,patient_id,stratum,fold\n" + "".join(f"i{n},p{n // 2},negative,{n % 3}\n" for n in range(6))


@pytest.fixture
def files(tmp_path, problem):
    """Returns a function that writes arrays to named files and searches them."""
    maps, masks = problem(1)
    np.save(tmp_path / "maps.npy", maps)
    np.save(tmp_path / "masks.npy", masks)
    (tmp_path / "folds.csv").write_text(FOLDS)

    def choose(kinds=("image",), maps="maps.npy", masks="masks.npy", out="out", **options):
        return explore_arrays(tmp_path / maps, tmp_path / masks, kinds, tmp_path / out, **options)

    choose.folder = tmp_path
    return choose


def test_one_rule_is_written_into_the_folder_and_several_below_it(files):
    assert files() == {"image": files.folder / "out"}
    assert read_json(files.folder / "out/thresholds.json")["hashes"] == {
        "maps": sha256(files.folder / "maps.npy"),
        "masks": sha256(files.folder / "masks.npy"),
    }
    several = files(("image", "expected"), out="all")
    assert several == {name: files.folder / "all" / name for name in ("searched", "image", "expected")}
    assert read_json(files.folder / "all/searched/thresholds.json")["rules"] == ["image", "expected"]
    assert (files.folder / "all/image/surface.npz").is_file()


def test_float_maps_and_uint8_masks_give_the_same_result(files):
    maps, masks = np.load(files.folder / "maps.npy"), np.load(files.folder / "masks.npy")
    np.save(files.folder / "float.npy", (maps / 255).astype(np.float32))
    np.save(files.folder / "uint8.npy", masks.astype(np.uint8))
    found = []
    for m, k in (("maps.npy", "masks.npy"), ("float.npy", "uint8.npy")):
        folder = files(maps=m, masks=k)["image"]
        rule = thresholds_file.read(folder / "thresholds.json").rule
        found.append((rule, np.load(folder / "surface.npz")["dice"].tobytes()))
    assert found[0] == found[1]


def test_folds_are_taken_in_order_or_by_id(files):
    ordered = external.read_folds(files.folder / "folds.csv", ["0", "1", "2", "3", "4", "5"], named=False)
    assert ordered == ([0, 1, 2, 0, 1, 2], ["p0", "p0", "p1", "p1", "p2", "p2"])
    named = external.read_folds(files.folder / "folds.csv", ["i4", "i0"], named=True)
    assert named == ([1, 0], ["p2", "p0"])
    assert "folds" in read_json(files(folds_path=files.folder / "folds.csv")["image"] / "thresholds.json")["hashes"]


def test_without_patients_each_image_is_its_own_patient(files):
    (files.folder / "folds.csv").write_text("image_id,fold\na,0\nb,1\n")
    assert external.read_folds(files.folder / "folds.csv", ["0", "1"], named=False) == ([0, 1], ["a", "b"])
    (files.folder / "folds.csv").write_text("image_id,patient_id,fold\nnull,,0\nNA,nan,1\n")
    assert external.read_folds(files.folder / "folds.csv", ["NA", "null"], named=True) == ([1, 0], ["nan", "null"])


@pytest.mark.parametrize(
    ("maps", "masks", "message"),
    [
        (np.zeros((2, 4, 4)), np.zeros((2, 4, 3), bool), r"masks: image 0 has 4×3 pixels, its map 4×4"),
        (np.zeros((2, 4, 4)), np.zeros((3, 4, 4), bool), r"masks: 3 for 2 maps: give one a map"),
        (np.zeros((2, 4, 4), np.int64), np.zeros((2, 4, 4), bool), r"maps\.npy: maps are int64"),
        (np.zeros((2, 4, 4)), np.zeros((2, 4, 4)), r"masks\.npy: masks are float64"),
        (np.zeros((2, 4, 4)), np.full((2, 4, 4), 7, np.uint8), r"masks\.npy: mask 0 holds more than two values"),
        (np.full((2, 4, 4), np.nan), np.zeros((2, 4, 4), bool), r"maps\.npy: image 0: .*without NaN"),
        (np.full((2, 4, 4), 1.5), np.zeros((2, 4, 4), bool), r"maps\.npy: image 0: .*1\.5"),
        (np.full((2, 4, 4), -0.5), np.zeros((2, 4, 4), bool), r"maps\.npy: image 0: .*-0\.5"),
        (np.zeros((0, 4, 4)), np.zeros((0, 4, 4), bool), r"maps\.npy: is empty"),
        (np.zeros((4, 4)), np.zeros((4, 4), bool), r"maps\.npy: has shape \(4, 4\)"),
        (np.array([[[{}]]]), np.zeros((1, 1, 1), bool), r"maps\.npy: is not a \.npy file of numbers"),
    ],
)
def test_invalid_arrays_are_refused(files, maps, masks, message):
    np.save(files.folder / "maps.npy", maps)
    np.save(files.folder / "masks.npy", masks)
    with pytest.raises(KitError, match=message):
        files()
    assert not (files.folder / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image_id,patient_id\na,b\n", "lacks fold"),
        (FOLDS + "i6,p3,negative,0\n", "7 rows for 6 maps"),
        (FOLDS.replace("i5", "i4"), "i4 appears twice"),
        ("image_id,fold\na,x\n", "is not a fold file"),
        ("", "is not a fold file"),
    ],
)
def test_invalid_fold_files_are_refused(files, text, message):
    (files.folder / "folds.csv").write_text(text)
    with pytest.raises(KitError, match=rf"folds\.csv: {message}"):
        files(folds_path=files.folder / "folds.csv")


def test_a_fold_file_must_list_the_maps(files):
    save(files.folder / "maps.npy", [f"x{n}" for n in range(6)], np.load(files.folder / "maps.npy"))
    with pytest.raises(KitError, match=r"folds\.csv: 6 of the maps' ids are not there \(first: x0\)"):
        files(folds_path=files.folder / "folds.csv")


def test_masks_of_0_and_255_equal_masks_of_0_and_1(files):
    masks = np.load(files.folder / "masks.npy").astype(np.uint8)
    found = read_json(files()["image"] / "thresholds.json")
    np.save(files.folder / "masks.npy", masks * 255)
    again = read_json(files()["image"] / "thresholds.json")
    assert found.pop("hashes") != again.pop("hashes")
    assert found == again
