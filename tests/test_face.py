"""`import kit`: it is cheap and complete, agrees with the verbs, and takes paths as text."""

import ast
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import small_run
from dicoms import write_dicom
from matplotlib.figure import Figure

import kit
from kit.competition import dicom, layout, rle, submission
from kit.core.errors import KitError
from kit.inference import thresholds_file
from kit.run import Run
from kit.workflows.predict import predict_files

ROOT = Path(__file__).parents[1]
HEAVY = ("numpy", "torch", "pandas", "cv2", "pydicom", "sklearn", "albumentations", "pydantic", "typer")


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    """A workspace with tiny data in place of the demo, a trained run and its submission."""
    folder = tmp_path_factory.mktemp("face")
    small_run.write(folder)
    (folder / "data" / "tiny").rename(folder / "data" / "demo")
    (folder / "runs" / "demo").mkdir()
    (folder / "runs" / "tiny" / "small").rename(folder / "runs" / "demo" / "demo")
    data, run = layout.open_folder(folder / "data" / "demo"), Run(folder / "runs" / "demo" / "demo")
    trained = run.trained(run.read_recipe())
    predict_files(trained, data.test, data.sample_ids, run, data.shape, skip_bad=False, whole=False)
    return folder


def test_importing_it_loads_nothing_else():
    code = f"import sys, kit; print([name for name in {HEAVY} if name in sys.modules], dir(kit))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] ")
    assert all(repr(name) in done.stdout for name in kit.__all__)


def test_every_name_is_there_and_no_other():
    for name in kit.__all__:
        assert getattr(kit, name).__doc__
    assert kit.KitError is KitError
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        kit.lode  # noqa: B018


def test_the_page_s_example_runs(here, monkeypatch):
    monkeypatch.chdir(here)
    code = (ROOT / "docs/reference/api.md").read_text().partition("```python\n")[2].partition("```")[0]
    names: dict = {}
    exec(code, names)
    assert names["problems"] == []
    assert len(names["several"]) == 3
    assert rle.encode(names["mask"]) == names["text"]
    assert 0 <= names["chosen"].nested_dice <= 1


def test_a_data_set_is_two_lines(here):
    first, second = repr(kit.open_data(str(here / "data" / "demo"))).splitlines()
    assert first.startswith("demo: 6 training images, ")
    assert "5 test images; 64×64" in first
    assert "train-rle.csv" in second
    assert "solution.csv" in second


class TestLoad:
    def test_its_masks_are_those_of_the_submission(self, here):
        data, model = kit.open_data(here / "data" / "demo"), kit.load(str(here / "runs" / "demo" / "demo"))
        wanted = submission.read(here / "runs" / "demo" / "demo" / "submission.csv")
        found = dict(zip(data.test, model.predict(list(data.test.values())), strict=True))
        assert {image: rle.encode(mask) for image, (_, mask) in found.items()} == wanted
        assert len(set(wanted.values())) > 1
        assert repr(model) == "Model small: 2 networks at 64 px, rule image"

    def test_arrays_and_files_are_the_same(self, here):
        data, model = kit.open_data(here / "data" / "demo"), kit.load(here / "runs" / "demo" / "demo")
        path = next(iter(data.test.values()))
        pixels = dicom.read(path).pixels
        by_path, by_text, by_array, stack = (
            model.predict(images) for images in (path, str(path), pixels, np.stack([pixels, pixels, pixels]))
        )
        assert len(stack) == 3
        for probability, mask in (by_text, by_array, *stack):
            assert np.allclose(probability, by_path.probability, atol=1.01 / 255)
            assert mask.dtype == bool
            assert mask.shape == probability.shape == pixels.shape
        rule = thresholds_file.read(here / "runs" / "demo" / "demo" / "thresholds.json").rule
        assert (by_path.mask == rule.mask((by_path.probability * 255).round().astype(np.uint8))).all()
        assert by_path.probability.dtype == np.float32

    def test_each_image_keeps_its_size(self, here, tmp_path):
        model = kit.load(here / "runs" / "demo" / "demo")
        wide = np.tile(np.arange(96, dtype=np.uint8), (50, 1))
        found = model.predict([wide, write_dicom(tmp_path / "x.dcm", wide[:40])])
        assert [mask.shape for _, mask in found] == [(50, 96), (40, 96)]
        assert model.predict([]) == []

    def test_a_picture_is_one_image_read_from_its_file_or_given_in_colours(self, here, tmp_path):
        model, grey = kit.load(here / "runs" / "demo" / "demo"), np.tile(np.arange(64, dtype=np.uint8), (48, 1))
        cv2.imwrite(str(tmp_path / "x.png"), grey)
        wanted = model.predict(grey)
        given = [str(tmp_path / "x.png"), cv2.imread(str(tmp_path / "x.png")), np.dstack([grey, grey, grey, grey])]
        given.append(grey[..., None])
        for found in (*map(model.predict, given), *model.predict(given)):
            assert (found.probability == wanted.probability).all()
            assert (found.mask == wanted.mask).all()
        red = np.dstack([grey, 0 * grey, 0 * grey])
        assert np.array_equal(model.predict(red).pixels, (0.299 * grey).round())
        assert len(model.predict(np.stack([red, red]))) == 2

    def test_a_prediction_can_be_saved_and_drawn(self, here, tmp_path):
        found = kit.load(here / "runs" / "demo" / "demo").predict(np.zeros((48, 64), np.uint8))
        probability, mask = found
        assert repr(found).startswith(f"Prediction of 48×64 pixels: mask of {mask.sum()} pixels (")
        for name in ("mask.png", "mask.txt", "map.npy"):
            found.save(tmp_path / name)
        assert (cv2.imread(str(tmp_path / "mask.png"), cv2.IMREAD_UNCHANGED) == mask * 255).all()
        assert (tmp_path / "mask.txt").read_text() == f"{found.rle}\n" == f"{rle.encode(mask)}\n"
        assert (np.load(tmp_path / "map.npy") == probability).all()
        with pytest.raises(KitError, match=r"x\.jpg: end the name with \.png"):
            found.save(tmp_path / "x.jpg")
        axes = found.plot(Figure().subplots())
        assert (axes.images[0].get_array() == found.pixels).all()

    def test_the_rule_takes_the_maps(self, here):
        model, image = kit.load(here / "runs" / "demo" / "demo"), np.zeros((64, 64), np.uint8)
        [(levels, probability)] = model.maps([image])
        assert probability is None
        assert (model.rule.mask(levels) == model.predict(image).mask).all()

    @pytest.mark.parametrize("image", [np.zeros((4, 4)), np.zeros((2, 2, 2, 2), np.uint8), np.zeros((0, 4), np.uint8)])
    def test_other_arrays_are_refused(self, here, image):
        with pytest.raises(KitError, match=r"give grey levels as uint8 \(height, width\)"):
            kit.load(here / "runs" / "demo" / "demo").predict(image)

    def test_a_folder_of_images_is_refused(self, here, tmp_path):
        with pytest.raises(KitError, match="is a folder: give a list of its files"):
            kit.load(here / "runs" / "demo" / "demo").predict(tmp_path)

    def test_a_folder_without_a_run_is_refused(self, here, tmp_path):
        with pytest.raises(KitError, match="is not a run"):
            kit.load(tmp_path)


class TestChooseThresholds:
    def test_arrays_and_files_give_the_same(self, tmp_path):
        numbers = np.random.default_rng(0)
        masks = numbers.random((6, 16, 16)) < 0.2
        masks[:2] = False
        maps = np.clip(0.6 * masks + numbers.random((6, 16, 16)) / 2, 0, 1)
        np.save(tmp_path / "maps.npy", maps)
        np.save(tmp_path / "masks.npy", masks)
        for rule in ("image", "expected"):
            by_array = kit.choose_thresholds(maps, masks, rule)
            by_file = kit.choose_thresholds(str(tmp_path / "maps.npy"), tmp_path / "masks.npy", rule)
            assert by_array.rule == by_file.rule
            scores = [
                2 * (m & t).sum() / max((m | t).sum() + (m & t).sum(), 1) for m, t in self.masks(by_array, maps, masks)
            ]
            empty = [not (m | t).any() for m, t in self.masks(by_array, maps, masks)]
            assert by_array.apparent_dice == pytest.approx(np.mean(np.where(empty, 1, scores)))

    def masks(self, chosen, maps, masks):
        levels = np.floor(maps * 255 + 1e-9).astype(np.uint8)
        return [(chosen.rule.mask(level), mask) for level, mask in zip(levels, masks, strict=True)]


class TestValidate:
    def test_against_a_data_set_its_folder_or_a_sample(self, here, tmp_path):
        good, folder = here / "runs" / "demo" / "demo" / "submission.csv", here / "data" / "demo"
        data = kit.open_data(folder)
        short = tmp_path / "short.csv"
        short.write_text("".join(good.read_text().splitlines(keepends=True)[:-1]))
        for against in (data, folder, str(folder), good, str(good)):
            assert kit.validate(str(good), against) == []
            assert "images are missing (first: " in " ".join(map(str, kit.validate(short, against)))

    def test_the_form_alone(self, tmp_path):
        file = tmp_path / "mine.csv"
        file.write_text("ImageId,EncodedPixels\nb,-1\na,0 5\n")
        assert kit.validate(file) == []
        file.write_text("ImageId,EncodedPixels\nb,-1\na,0\nb,-1\n")
        assert [problem.line for problem in kit.validate(file)] == [3, 4, 0]


PUBLIC = [*(ROOT / "kit" / "workflows").glob("*.py"), *(ROOT / "kit" / "competition").glob("*.py")]
PUBLIC += [ROOT / "kit" / name for name in ("data/folds.py", "inference/model.py", "inference/maps.py")]
PUBLIC += [ROOT / "kit" / name for name in ("networks.py", "recipes/loading.py", "inference/rules.py")]
PUBLIC += [ROOT / "kit" / name for name in ("thresholds/search.py", "thresholds/external.py")]


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.relative_to(ROOT / "kit").as_posix())
def test_wherever_a_path_is_taken_a_text_is_too(path):
    """By the annotations, which the type check compares with the code."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    strict = [
        f"{function.name}: {argument.arg}: {annotation}"
        for function in functions
        for argument in (*function.args.args, *function.args.kwonlyargs, function.args.vararg)
        if argument and argument.annotation
        if (annotation := ast.unparse(argument.annotation)).startswith("Path") and "str" not in annotation
    ]
    assert strict == []
