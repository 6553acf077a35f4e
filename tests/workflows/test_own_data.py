"""The user's own data are recognised, checked and imported."""

import csv
import dataclasses
import shutil

import cv2
import numpy as np
import pytest
from drawn import draw_folder, drawn
from PIL import Image

from kit import recipes
from kit.competition import dicom, dicom_writer, labels, layout, levels, mirror, pictures, rle
from kit.core.errors import KitError
from kit.core.files import write_json
from kit.data import inspection
from kit.workflows import check, importing, submit
from kit.workflows.workspace import Workspace


def test_a_folder_of_png_images_and_masks_is_checked_and_imported(kit, tmp_path):
    """tests/docs/test_commands.py goes on from there to a score, with the page's commands."""
    draw_folder(tmp_path / "cells")
    code, out, _ = kit("check", "cells")
    assert code == 0
    assert "16 PNG images with 16 mask images, 12 to train, 4 to test" in out
    assert out.endswith("0 errors, 0 notes; next: kit import cells --out data/cells\n")
    assert kit("import", "cells", "--out", "data/cells")[:2] == (
        0,
        "data/cells: 12 training and 4 test images of 64×64\n",
    )
    assert kit("import", "cells", "--out", "data/cells")[1] == "data/cells: up to date, nothing to do\n"
    code, out, _ = kit("check", "data/cells")
    assert (code, "next: kit folds --data data/cells --recipe " in out) == (0, True)


def test_patients_are_distinguished_in_any_script(tmp_path):
    for number, patient in enumerate(("山田", "田中", r"a\b", "plain")):
        cv2.imwrite(str(tmp_path / "image.png"), np.full((64, 64), number, np.uint8))
        image = dataclasses.replace(pictures.read_image(tmp_path / "image.png"), patient_id=patient)
        dicom_writer.write(tmp_path / f"{number}.dcm", str(number), image)
    ids = [dicom.read_metadata(tmp_path / f"{number}.dcm").patient_id for number in range(4)]
    assert ids == ["山田", "田中", "a/b", "plain"]


def test_files_added_to_an_imported_folder_are_kept(tmp_path):
    source, out = draw_folder(tmp_path / "cells"), tmp_path / "out"
    importing.import_folder(source, out)
    images = sorted(path.stem for path in (out / "dicom-images-train").iterdir())
    patients = "ImageId,PatientId\n" + "".join(f"{image},p{number // 2}\n" for number, image in enumerate(images))
    (out / "patients.csv").write_text(patients)
    (out / "notes").mkdir()
    (out / "notes/read.txt").write_text("of mine")
    before = {path.name for path in out.iterdir()}
    first = next((source / "images").iterdir())
    shutil.copyfile(first, first.with_name(f"another{first.suffix}"))  # without a mask, as a healthy one
    importing.import_folder(source, out)
    assert (out / "patients.csv").read_text() == patients
    assert (out / "notes/read.txt").read_text() == "of mine"
    assert {path.name for path in out.iterdir()} == before


@pytest.mark.parametrize("labelled", [False, True])
def test_only_a_solution_that_an_import_made_is_replaced_or_removed(tmp_path, labelled):
    source, out = draw_folder(tmp_path / "cells", train=4, test=2), tmp_path / "out"
    truths = [source / f"masks/case0{number}.png" for number in (4, 5)]
    texts = [path.read_bytes() for path in truths]

    def import_again(*, with_truth):
        for path, content in zip(truths, texts, strict=True):
            path.unlink(missing_ok=True)
            if with_truth:
                path.write_bytes(content)
        assert importing.import_folder(source, out)[1]
        return (out / "solution.csv").read_text() if (out / "solution.csv").exists() else None

    made = import_again(with_truth=True)
    assert made.startswith("ImageId,EncodedPixels,Usage\ncase04,")
    assert import_again(with_truth=False) is None
    if labelled:
        assert import_again(with_truth=True) == made
    own = "ImageId,EncodedPixels\ncase04,-1\ncase05,-1\n"
    (out / "solution.csv").write_text(own)
    for with_truth in (not labelled, labelled, not labelled):
        assert import_again(with_truth=with_truth) == own
    (out / "solution.csv").unlink()
    assert import_again(with_truth=labelled) == (made if labelled else None)


def test_an_import_never_replaces_that_of_another_folder(tmp_path):
    first, second, out = draw_folder(tmp_path / "first"), draw_folder(tmp_path / "second", train=4), tmp_path / "out"
    importing.import_folder(first, out)
    before = sorted(path.name for path in (out / "dicom-images-train").iterdir())
    with pytest.raises(KitError, match=r"holds what was imported from .*first: name another one, or remove"):
        importing.import_folder(second, out)
    assert sorted(path.name for path in (out / "dicom-images-train").iterdir()) == before


def test_a_folder_is_imported_again_by_a_better_reader(tmp_path, monkeypatch):
    source, out = draw_folder(tmp_path / "cells"), tmp_path / "out"
    assert [importing.import_folder(source, out)[1] for _ in range(2)] == [True, False]
    monkeypatch.setattr(levels, "READER", "a better one")
    assert importing.import_folder(source, out)[1]
    monkeypatch.setattr(importing, "VERSION", "9.9.9")
    assert importing.import_folder(source, out)[1]


@pytest.mark.parametrize("shape", [(31, 200), (1, 60), (1, 1), (32, 33)])
def test_images_of_any_size_are_written_without_loss(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    dicom_writer.write(tmp_path / "a.dcm", "a", pictures.read_image(tmp_path / "a.png"))
    assert (dicom.read(tmp_path / "a.dcm").pixels == pixels).all()


@pytest.mark.parametrize("ending", [".png", ".jpg"])
def test_images_and_masks_are_imported_unchanged(tmp_path, ending):
    found, done = importing.import_folder(draw_folder(tmp_path / "cells", ending=ending), tmp_path / "out")
    assert done
    competition = layout.open_folder(tmp_path / "out")
    assert (list(competition.train), list(competition.test)) == (list(found.train), list(found.test))
    for number in range(12):
        image, mask = drawn(number)
        name = f"case{number:02}"
        pixels = dicom.read(competition.train[name]).pixels
        assert (pixels == image).all() if ending == ".png" else np.abs(pixels - image.astype(int)).mean() < 5
        assert (rle.union(competition.labels[name], competition.shape) == mask).all()
    solution = labels.rows(competition.solution_path, ("ImageId", "EncodedPixels", "Usage"))
    truth = {image: rle.decode(text, competition.shape) for _, (image, text, _) in solution}
    assert all((truth[f"case{number:02}"] == drawn(number)[1]).all() for number in range(12, 16))


def test_every_component_of_a_mask_is_a_region(tmp_path):
    draw_folder(tmp_path / "cells", train=4, test=0)
    mask = np.zeros((64, 64), np.uint8)
    mask[2:9, 2:9] = mask[40:50, 40:60] = 255
    cv2.imwrite(str(tmp_path / "cells/masks/case01.png"), mask)
    importing.import_folder(tmp_path / "cells", tmp_path / "out")
    found = layout.open_folder(tmp_path / "out").labels
    assert {name: len(rows) for name, rows in found.items()} == {"case00": 0, "case01": 2, "case02": 1, "case03": 0}


def test_inverted_masks_are_refused_by_check_and_import(tmp_path):
    folder = draw_folder(tmp_path / "cells")
    for path in (folder / "masks").iterdir():
        cv2.imwrite(str(path), 255 - cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    found = check.check(Workspace(tmp_path), folder)
    assert [row.what for row in found.findings if row.serious] == [
        "16 of 16 masks cover more than 90 % of their image: they look inverted"
    ]
    with pytest.raises(KitError, match="16 of 16 masks cover more than 90 %"):
        importing.import_folder(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_class_of_several_is_chosen_by_its_value(kit, tmp_path):
    folder = draw_folder(tmp_path / "cells")
    for path in (folder / "masks").iterdir():
        classes = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        classes[40:60, 2:20] = 100
        cv2.imwrite(str(path), classes)
    code, _, err = kit("import", "cells", "--out", "out")
    assert code == 2
    assert "as of several classes: choose one with --label" in err
    assert kit("import", "cells", "--out", "out", "--label", 70)[0] == 2
    assert kit("import", "cells", "--out", "out", "--label", 100)[0] == 0
    assert kit("check", "cells", "--label", 100)[0] == 0
    competition = layout.open_folder("out")
    for image in competition.train:
        mask = competition.truth(image)
        assert mask.sum() == 20 * 18
        assert mask[40:60, 2:20].all()


def test_finding_yaml_is_written_once_and_kept(kit, tmp_path):
    folder = draw_folder(tmp_path / "cells")
    importing.import_folder(folder, tmp_path / "data/cells")
    said = tmp_path / "data/cells/finding.yaml"
    assert layout.open_folder(said.parent).finding.name == "finding"
    said.write_text("name: nodule\ncode: 27925004\n")
    first = next((folder / "images").iterdir())
    shutil.copyfile(first, first.with_name(f"another{first.suffix}"))
    importing.import_folder(folder, said.parent)
    found = layout.open_folder(said.parent)
    assert (found.finding.name, found.finding.code) == ("nodule", 27925004)
    out = kit("stats", "--data", "data/cells")[1]
    assert ("Nodule" in out, "neumothorax" in out) == (True, False)
    for wrong in ("name: ''", "nodule", "name: nodule\ncode: x", "name: ["):
        said.write_text(wrong)
        with pytest.raises(KitError, match=r"finding\.yaml: .*: write `name:` and"):
            layout.open_folder(said.parent)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('{"labels": {"background": 0, "effusion": 1}}', "effusion"),
        ('{"labels": {"0": "background", "1": "effusion"}}', "effusion"),
        ('{"labels": {"background": 0, "effusion": 1, "mass": 2}}', "finding"),
        ('{"labels": ["effusion"]}', "finding"),
        ("[]", "finding"),
    ],
)
def test_nnunets_dataset_json_names_the_finding(tmp_path, written, name):
    folder = draw_folder(tmp_path / "cells", train=3, test=0)
    (folder / "dataset.json").write_text(written)
    importing.import_folder(folder, tmp_path / "out")
    assert layout.open_folder(tmp_path / "out").finding.name == name


def test_check_takes_imports_options_and_prints_them(kit, tmp_path):
    folder = draw_folder(tmp_path / "cells")
    (folder / "masks").rename(folder / "drawn")
    for path in (folder / "drawn").iterdir():
        path.rename(path.with_name(f"{path.stem}_lesion{path.suffix}"))
    assert kit("check", "cells")[0] == 2
    code, out, _ = kit("check", "cells", "--masks", "cells/drawn", "--mask-suffix", "_lesion")
    (next_command,) = out.strip().rpartition("next: ")[2:]
    assert next_command == "kit import cells --out data/cells --masks cells/drawn --mask-suffix _lesion"
    assert (code, kit(*next_command.split()[1:])[0]) == (0, 0)
    code, _, error = kit("check", "data/cells", "--label", "1")
    assert (code, "--label: does nothing for data/cells, which is a competition's folder" in error) == (2, True)


def test_touching_numbered_regions_stay_separate_and_are_reported(tmp_path, caplog):
    draw_folder(tmp_path / "cells", train=4, test=0)
    mask = np.zeros((64, 64), np.uint8)
    mask[2:9, 2:9], mask[9:20, 2:9] = 1, 2
    cv2.imwrite(str(tmp_path / "cells/masks/case01.png"), mask)
    importing.import_folder(tmp_path / "cells", tmp_path / "out")
    assert len(layout.open_folder(tmp_path / "out").labels["case01"]) == 2
    assert "1 mask (first: case01): each is a region" in caplog.text
    found = check.check(Workspace(tmp_path), tmp_path / "cells")
    assert [(row.image, row.what) for row in found.findings] == [("case01", "its mask has the values 1, 2")]


def test_a_mirror_of_smaller_pictures_keeps_the_rows_of_the_large_ones(tmp_path):
    for number in range(4):
        (tmp_path / "png/train_png").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / f"png/train_png/{number}.png"), drawn(number, 256)[0])
    large = np.zeros((1024, 1024), bool)
    large[300:500, 700:900] = True
    (tmp_path / "png/train-rle.csv").write_text(f"ImageId, EncodedPixels\n0, -1\n1, {rle.encode(large)}\n2,-1\n")
    found, _ = importing.import_folder(tmp_path / "png", tmp_path / "out")
    competition = layout.open_folder(tmp_path / "out")
    assert (found.unlabelled, competition.shape) == (("3",), (1024, 1024))
    assert (rle.union(competition.labels["1"]) == large).all()


def test_absolute_starts_are_reported_and_converted(phantoms, tmp_path):
    """Absolute starts, the first pixel being 1, as in other competitions."""
    (tmp_path / "in/dicom-images-train").mkdir(parents=True)
    wanted, rows = {}, []
    for image, path in phantoms.train.items():
        shutil.copy(path, tmp_path / "in/dicom-images-train" / path.name)
        wanted[image] = rle.union(phantoms.labels[image], phantoms.shape)
        starts, ends = rle.runs(rle.encode(wanted[image]), wanted[image].size)
        rows.append(f"{image},{' '.join(f'{s + 1} {e - s}' for s, e in zip(starts, ends, strict=True)) or -1}\n")
    (tmp_path / "in/train-rle.csv").write_text("".join(rows))
    with pytest.raises(KitError, match=r"looks like absolute starts.*kit import"):
        layout.open_folder(tmp_path / "in")
    found = check.check(Workspace(tmp_path), tmp_path / "in")
    assert found.errors == sum(mask.any() for mask in wanted.values())
    assert all("absolute starts" in finding.what for finding in found.findings)
    importing.import_folder(tmp_path / "in", tmp_path / "out")
    competition = layout.open_folder(tmp_path / "out")
    assert all((rle.union(competition.labels[image], (128, 128)) == wanted[image]).all() for image in wanted)


def test_check_reports_rows_that_run_along_the_rows(tmp_path):
    rows, tall = [], (90, 70)
    (tmp_path / "in/dicom-images-train").mkdir(parents=True)
    for number in range(6):
        mask = np.zeros(tall, np.uint8)
        cv2.ellipse(mask, (30 + number, 50 - number), (8, 12), 20, 0, 360, 1, -1)
        cv2.imwrite(str(tmp_path / "image.png"), np.arange(6300, dtype=np.uint8).reshape(tall) + number)
        image = pictures.read_image(tmp_path / "image.png")
        dicom_writer.write(tmp_path / f"in/dicom-images-train/{number}.dcm", str(number), image)
        rows.append(f"{number},{rle.encode(mask.T)}\n")
    (tmp_path / "in/train-rle.csv").write_text("".join(rows))
    [found] = [one for one in check.check(Workspace(tmp_path), tmp_path / "in").findings if not one.image]
    assert "the rows fall apart at a height of 90 pixels and hang together at 70" in found.what
    assert "--rle rows" in found.next


def test_images_in_another_format_are_for_import(tmp_path):
    draw_folder(tmp_path / "cells", test=0)
    with pytest.raises(KitError, match=r"kit import .*cells --out data/NAME"):
        layout.open_folder(tmp_path / "cells")
    (tmp_path / "cells/train-rle.csv").write_text("case00,-1\ncase01,-1\n")
    with pytest.raises(KitError, match=r"kit import .*cells --out data/NAME"):
        layout.open_folder(tmp_path / "cells")


def test_check_finds_what_is_wrong_and_where(tmp_path, phantoms):
    folder = draw_folder(tmp_path / "cells")
    (folder / "images/case00.png").write_bytes(b"\x89PNG cut")
    shutil.copy(folder / "images/case02.png", folder / "images/case01.png")
    (folder / "masks/case03.png").unlink()
    cv2.imwrite(str(folder / "masks/nobody.png"), np.zeros((64, 64), np.uint8))
    cv2.imwrite(str(folder / "masks/case04.png"), np.full((32, 48), 255, np.uint8))
    cv2.imwrite(str(folder / "masks/case05.png"), cv2.GaussianBlur(drawn(5)[1] * np.uint8(255), (9, 9), 2))
    cv2.imwrite(str(folder / "images/case07.png"), np.full((64, 64), 9, np.uint8))
    found = check.check(Workspace(tmp_path), folder)
    wrong = {(row.image, row.serious): row.what for row in found.findings}
    assert "is no PNG, JPEG, TIFF" in wrong["case00", True]
    assert "same pixels as case01" in wrong["case02", False]
    assert "has no mask" in wrong["case03", False]
    assert "without an image of its name" in wrong["masks/nobody.png", True]
    assert "is 32×48 pixels (height×width), of another proportion than its image of 64×64" in wrong["case04", True]
    assert "more than two grey levels" in wrong["case05", False]
    assert "single grey level" in wrong["case07", True]
    assert {image for image, _ in wrong} == {"masks/nobody.png", *(f"case{n:02}" for n in (0, 2, 3, 4, 5, 7))}
    with pytest.raises(KitError, match="4 errors, 4 notes: fix the errors"):
        found.refuse()
    assert "errors" not in found.text()
    with open(found.table, newline="") as handle:
        assert len(list(csv.reader(handle))) == 1 + len(found.findings)


def test_a_mask_outside_the_body_is_reported():
    image = np.zeros((256, 256), np.uint8)
    image[40:216, 60:200] = np.random.default_rng(0).integers(60, 200, (176, 140))
    image[100:140, 100:140] = 0  # air within the body
    beyond, inside, hole = (np.zeros((512, 512), bool) for _ in range(3))
    beyond[:60, :60] = inside[200:300, 200:300] = hole[210:270, 210:270] = True
    assert inspection.beyond_body(image, beyond) == 1
    assert inspection.beyond_body(image, inside) == 0
    assert inspection.beyond_body(image, hole) == 0


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "1", "I;16"])
def test_pictures_of_every_kind_are_read(tmp_path, mode):
    image, mask = drawn(1)
    if mode == "I;16":
        Image.fromarray(image.astype(np.uint16) * 200).save(tmp_path / "a.png")
        Image.fromarray(mask.astype(np.uint16) * 65535).save(tmp_path / "m.png")
        low, high = int(image.min()), int(image.max())
        image = np.rint((image.astype(float) - low) / (high - low) * 255).astype(np.uint8)
    else:
        grey = Image.fromarray(mask * np.uint8(255) if mode in "P1" else image)
        grey.convert(mode).save(tmp_path / "a.png")
        Image.fromarray(mask * np.uint8(255)).convert(mode).save(tmp_path / "m.png")
        image = mask * np.uint8(255) if mode in "P1" else image
    assert (pictures.read_image(tmp_path / "a.png").pixels == image).all()
    assert (pictures.read_mask(tmp_path / "m.png")[0] == mask).all()
    assert pictures.shape_of(tmp_path / "a.png") == (64, 64)


def test_a_failed_import_gives_its_reason(tmp_path):
    with pytest.raises(KitError, match="is not a folder"):
        mirror.recognise(tmp_path / "none")
    with pytest.raises(KitError, match="no DICOM file or picture"):
        mirror.recognise(tmp_path)
    folder = draw_folder(tmp_path / "cells", test=0)
    with pytest.raises(KitError, match="lies in the folder that is imported"):
        importing.import_folder(folder, folder / "out")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").touch()
    with pytest.raises(KitError, match="holds something that was not imported"):
        importing.import_folder(folder, tmp_path / "mine")
    shutil.rmtree(folder / "masks")
    with pytest.raises(KitError, match=r"none of its 12 images has a mask.*masks/case00\.png"):
        mirror.recognise(folder)


def test_a_row_that_a_spreadsheet_cut_is_an_error_of_check(phantoms, tmp_path):
    folder = tmp_path / "siim"
    shutil.copytree(phantoms.folder, folder)
    first = next(iter(phantoms.train))
    whole = "1 1 " * 8192
    rows = [f"{image},-1" for image in phantoms.train if image != first]
    (folder / phantoms.labels_path.name).write_text("\n".join([*rows, f"{first},{whole[:32766]}1"]) + "\n")
    found = check.check(Workspace(tmp_path), folder)
    assert any(row.serious and row.image == first and "cell of a spreadsheet" in row.what for row in found.findings)


def test_a_data_set_without_test_images_ends_with_the_out_of_fold_dice(tmp_path):
    importing.import_folder(draw_folder(tmp_path / "cells", train=4, test=0), tmp_path / "data/cells")
    workspace, recipe = Workspace(tmp_path), recipes.load("demo")
    with pytest.raises(KitError, match="has no thresholds yet: run `make train` first"):
        submit.submit(workspace, tmp_path / "data/cells", recipe, "local")
    run = workspace.run(workspace.open_data(tmp_path / "data/cells"), recipe)
    found = dict.fromkeys(("interval", "dice_positives", "negatives_empty", "apparent_dice", "masked", "share"))
    by_hand = {"rule": "image", "binarization": 0.5, "removal": 0, "recipe": "demo"}
    found |= by_hand | {"nested_dice": 0.75, "dice_all_empty": 0.5}
    write_json(run.thresholds, found | {"rules": ["image"]})
    said = str(submit.submit(workspace, tmp_path / "data/cells", recipe, "local"))
    assert "has no test images" in said
    assert said.endswith("out of fold: 0.7500 (all empty 0.5000)")
    for without in (found | {"rules": ["image"], "nested_dice": None}, by_hand):
        write_json(run.thresholds, without)
        said = str(submit.submit(workspace, tmp_path / "data/cells", recipe, "local"))
        assert said.endswith("has no test images, so nothing is submitted; no nested Dice")
