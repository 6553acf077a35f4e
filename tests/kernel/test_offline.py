"""The script that runs on Kaggle: it writes a submission whatever goes wrong."""

import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import small_run
import torch
from PIL import Image

from kit.competition import dicom, layout, rle, scoring, submission
from kit.core import files
from kit.core.errors import KitError
from kit.data.resize import resize_image
from kit.inference import maps, model
from kit.inference.model import Model
from kit.kernel import bundle, inputs, offline, rehearsal
from kit.kernel.rehearsal import LAYOUTS, Layout
from kit.workflows.predict import predict_files

# In the kernel


@pytest.fixture
def mount(here, kernel, images):
    place = here / "mount"
    ids = list(images)
    rehearsal.lay_out(place, kernel, "siim", ids, images, Layout())
    return place / "siim"


def run_offline(kernel, mount, limit=1000.0):
    output = Path("out/submission.csv")
    files.copy(mount / "stage_2_sample_submission.csv", output)
    try:
        offline.run(kernel.bundle, mount, output, time.monotonic() + limit)
    finally:
        submission.check(output, list(submission.read(mount / "stage_2_sample_submission.csv")), small_run.SHAPE)
    return submission.read(output)


@pytest.fixture(scope="module")
def whole(built, tmp_path_factory):
    """The submission of a kernel without faults."""
    place = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(built)
        kernel, images = bundle.kernel_of(small_run.Run(Path("runs/tiny/small"))), layout.open_folder("data/tiny").test
        rehearsal.lay_out(place, kernel, "siim", list(images), images, Layout())
        files.copy(place / "siim/stage_2_sample_submission.csv", place / "submission.csv")
        offline.run(kernel.bundle, place / "siim", place / "submission.csv", time.monotonic() + 1000)
    return submission.read(place / "submission.csv")


def test_unreadable_and_missing_files_get_empty_masks_and_are_logged(kernel, mount, whole, caplog):
    victim, absent = list(whole)[1:3]
    (mount / "stage_2_images" / f"{victim}.dcm").unlink()
    (mount / "stage_2_images" / f"{victim}.dcm").write_bytes(b"not DICOM")
    (mount / "stage_2_images" / f"{absent}.dcm").unlink()
    rows = run_offline(kernel, mount)
    assert rows[victim] == rows[absent] == "-1"
    assert list(rows) == list(whole)
    others = set(whole) - {victim, absent}
    assert all(rows[image_id] == whole[image_id] for image_id in others)
    assert any(victim in record.getMessage() for record in caplog.records)
    assert any("no such file" in record.getMessage() and absent in record.getMessage() for record in caplog.records)


def test_images_left_when_time_is_up_get_empty_masks_and_are_logged(kernel, mount, caplog):
    rows = run_offline(kernel, mount, limit=-1.0)
    assert len(rows) == 5
    assert set(rows.values()) == {"-1"}
    assert any("time was up: 5 of 5 images" in record.getMessage() for record in caplog.records)


def test_the_submission_is_written_while_masks_are_added(kernel, mount, monkeypatch):
    seen = []
    real = submission.write
    monkeypatch.setattr(offline, "EVERY", 0.001)

    def write(path, masks):
        real(path, masks)
        seen.append(sum(text != "-1" for text in submission.read(path).values()))

    monkeypatch.setattr(offline.submission, "write", write)
    run_offline(kernel, mount)
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert len(seen) >= 4


def test_when_time_is_short_folds_are_dropped_first_and_then_tta():
    """With efforts 4, 2, 1; a forward pass takes a second."""
    for seconds, level in ((400.0, 0), (399.0, 1), (199.0, 2), (1.0, 2), (-1.0, 2)):
        pace = offline.Pace([4, 2, 1])
        assert pace.choose(100, seconds) == 0  # nothing is known yet
        pace.add(1000.0, 0)  # the first batch loads and compiles
        assert pace.choose(100, seconds) == 0
        pace.add(4.0, 0)
        assert pace.choose(100, seconds) == level


def test_after_a_slow_spell_all_folds_predict_again(caplog):
    pace = offline.Pace([4, 2, 1])
    for _ in range(3):
        pace.add(4.0, 0)
    pace.add(4000.0, 0)  # one slow batch
    assert pace.choose(100, 500) == 0
    for _ in range(10):
        pace.add(40.0, 0)
    assert pace.choose(100, 500) == 2
    for _ in range(10):
        pace.add(1.0, 2)
    assert pace.choose(100, 500) == 0
    assert "going on with 4 of 4 passes" in caplog.messages[-1]


@pytest.mark.parametrize("tta", [True, False])
def test_a_variant_makes_as_many_forward_passes_as_its_effort_says(here, tta):
    run = small_run.write(here, small_run.ENSEMBLE)
    whole = Model.load(run)
    whole = replace(whole, recipe=whole.recipe.model_copy(update={"tta": tta}))
    image, passes = {size: np.zeros((size, size), np.uint8) for size in (32, 64)}, []
    for network in {network for networks in whole.models.values() for network in networks}:
        network.register_forward_pre_hook(lambda _, given: passes.append(len(given[0])))
    efforts = []
    for lighter in offline.variants(whole):
        passes.clear()
        list(lighter.inputs([image]))
        efforts.append(offline.effort(lighter))
        assert efforts[-1] == sum(passes)
    assert efforts == ([16, 8, 4] if tta else [8, 4])


def test_prediction_without_mirror_images_equals_prediction_without_tta(here):
    run = small_run.Run(Path("runs/tiny/small"))
    settings = run.read_recipe()
    models = Model.load(run.trained(settings)).models[settings.label]
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    plain, with_tta = model.probabilities(models, images, settings)
    alone, same = model.probabilities(models, images, settings, mirrored=False)
    np.testing.assert_allclose(alone, plain, atol=1e-6)
    np.testing.assert_array_equal(alone, same)
    assert (plain - with_tta).abs().max() > 1e-4


# Faults of the machine and of an image


def answering(broken):
    """An `answer` that raises for some rungs and images, and a record of its calls."""
    calls = []

    def answer(rung, images):
        calls.append((str(rung), len(images)))
        if error := broken(rung, images):
            raise error
        return [(image, None) for image in images]

    return answer, calls


GPU = torch.device("cuda", 0)


def test_a_failing_batch_is_split_until_only_the_bad_image_has_an_error():
    """One image gives NaN by every rung."""
    answer, calls = answering(lambda rung, images: ValueError("NaN") if 5 in images else None)
    ladder = offline.rungs(GPU, 4)
    found = offline.answer_all(ladder, answer, [4, 5, 6, 7])
    assert [found[0], *found[2:]] == [(4, None), (6, None), (7, None)]
    assert str(found[1]) == "NaN"
    assert calls[-2:] == [("1 at once, 32 bits, cuda:0", 1), ("1 at once, cpu", 1)]
    assert len(ladder) == 5  # the next batch may be fine


def test_an_image_survives_a_fault_that_does_not_repeat():
    """Also on a machine without a GPU, which has no safer rung."""
    faults = [RuntimeError("once")]
    answer, _ = answering(lambda rung, images: faults.pop() if faults else None)
    assert offline.answer_all(offline.rungs(offline.CPU, 4), answer, [1]) == [(1, None)]


@pytest.mark.parametrize(
    ("works", "expected"),
    [
        (lambda rung: rung.device.type == "cpu", "1 at once, cpu"),  # CUDA is broken for good
        (lambda rung: not rung.half or rung.device.type == "cpu", "1 at once, 32 bits, cuda:0"),  # an overflow
        (lambda rung: rung.images < 4, "2 at once, cuda:0"),
    ],
)
def test_the_first_working_rung_predicts(works, expected):
    answer, calls = answering(lambda rung, images: None if works(rung) else RuntimeError("cuDNN"))
    assert offline.answer_all(offline.rungs(GPU, 4), answer, [1, 2, 3, 4]) == [(n, None) for n in (1, 2, 3, 4)]
    assert calls[-1][0] == expected


def test_a_batch_size_that_ran_out_of_memory_is_not_tried_again():
    full = torch.cuda.OutOfMemoryError("CUDA out of memory")
    answer, calls = answering(lambda rung, images: full if len(images) > 2 else None)
    ladder = offline.rungs(GPU, 8)
    for _ in range(2):
        assert offline.answer_all(ladder, answer, list(range(8))) == [(n, None) for n in range(8)]
    assert [count for _, count in calls] == [8, 4, *[2] * 8]


def test_an_exception_in_a_batch_costs_no_image(kernel, mount, whole, monkeypatch):
    real, raised = Model.inputs, []

    def fail_once(self, images):
        if not raised:
            raised.append(len(images))
            raise RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED")
        return real(self, images)

    monkeypatch.setattr(Model, "inputs", fail_once)
    assert run_offline(kernel, mount).keys() == whole.keys()
    assert raised == [2]


def test_an_image_that_cannot_be_predicted_gets_an_empty_mask_and_ends_the_run(kernel, mount, whole, monkeypatch):
    real, masks = maps.upsample, []

    def fail_third(levels, shape):
        masks.append(shape)
        if len(masks) == 3:
            raise MemoryError
        return real(levels, shape)

    monkeypatch.setattr(maps, "upsample", fail_third)
    with pytest.raises(KitError, match=r"1 image cannot be predicted, .* is the first \(MemoryError: \)"):
        run_offline(kernel, mount)
    rows = submission.read(Path("out/submission.csv"))
    (lost,) = [name for name in rows if rows[name] != whole[name]]
    assert rows[lost] == "-1"


def test_running_out_of_memory_while_reading_stops_the_run(kernel, mount, monkeypatch, caplog):
    """The image is not called unreadable."""
    real, read = dicom.Image.open, []

    def run_out(*arguments, **named):
        read.append(1)
        if len(read) == 4:
            raise MemoryError
        return real(*arguments, **named)

    monkeypatch.setattr(dicom.Image, "open", run_out)
    with pytest.raises(KitError, match=r"^the machine is out of memory: free some, then run again$"):
        run_offline(kernel, mount)
    assert "left empty" not in caplog.text


def test_finished_masks_are_written_whatever_ends_the_run(kernel, mount, monkeypatch):
    real, taken = offline.answer_all, []

    def break_down(*arguments):
        taken.append(1)
        if len(taken) == 3:
            raise SystemError("a fault of ours")
        return real(*arguments)

    monkeypatch.setattr(offline, "answer_all", break_down)
    with pytest.raises(SystemError):
        run_offline(kernel, mount)
    assert any(text != "-1" for text in submission.read(Path("out/submission.csv")).values())


def test_two_devices_share_the_work(kernel, mount, whole, monkeypatch):
    used = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "T4")
    monkeypatch.setattr(Model, "to", lambda model, device: used.append(str(device)) or model)
    monkeypatch.setattr(offline, "MORE", 1)
    assert run_offline(kernel, mount) == whole
    assert set(used) <= {"cuda:0", "cuda:1"}
    assert len(used) == len(set(used))


# Where the images are, and of what kind


def test_an_image_of_another_size_or_kind_has_a_mask_of_its_own_size(kernel, mount, whole):
    name = max(whole, key=lambda name: len(whole[name]))
    path = mount / "stage_2_images" / f"{name}.dcm"
    pixels = dicom.read(path).pixels
    path.unlink()
    Image.fromarray(pixels.repeat(2, 0).repeat(2, 1)).save(path.with_suffix(".png"))
    files.copy(mount / "stage_2_sample_submission.csv", Path("out/submission.csv"))
    offline.run(kernel.bundle, mount, Path("out/submission.csv"), time.monotonic() + 1000)
    rows = submission.read(Path("out/submission.csv"))
    larger, usual = rle.decode(rows[name], (128, 128)), rle.decode(whole[name], small_run.SHAPE)
    assert scoring.dice(larger[::2, ::2], usual) > 0.9
    assert {other: rows[other] for other in rows if other != name} == {o: whole[o] for o in whole if o != name}


def test_of_files_with_the_same_name_the_right_one_is_found(mount, images):
    first, second, third, fourth, fifth = sorted(images)
    for place in ("dicom-images-train", "stage_2_images/again", "a"):
        (mount / place).mkdir()
        (mount / place / f"{first}.dcm").write_bytes(b"another")
        (mount / place / "same.dcm").write_bytes(b"no test image")
    (mount / "stage_2_images" / f"{second}.png").write_bytes(b"a picture")
    (mount / "stage_2_images" / f"{third}.dcm").rename(mount / "stage_2_images" / third)
    (mount / "stage_2_images" / f"{fourth}.dcm").rename(mount / "stage_2_images" / f"{fourth}.DCM")
    (mount / "masks.csv").write_text("")
    found = inputs.find_images(mount, list(images))
    names = {name: path.relative_to(mount).as_posix() for name, path in found.items()}
    assert names == {
        first: f"stage_2_images/{first}.dcm",
        second: f"stage_2_images/{second}.dcm",
        third: f"stage_2_images/{third}",
        fourth: f"stage_2_images/{fourth}.DCM",
        fifth: f"stage_2_images/{fifth}.dcm",
    }


def test_archives_are_opened_only_for_missing_images(mount, images, monkeypatch, caplog):
    (mount / "useless.zip").write_bytes(b"PK")
    opened = []
    real_zip = zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda path: opened.append(path.name) or real_zip(path))
    inputs.find_images(mount, list(images))
    assert opened == []
    name = min(images)
    content = (mount / "stage_2_images" / f"{name}.dcm").read_bytes()
    (mount / "stage_2_images" / f"{name}.dcm").unlink()
    with real_zip(mount / "whole.zip", "w") as archive:
        archive.writestr(f"dicom-images-train/{name}.dcm", b"another")
        archive.writestr(f"stage_2_images/{name}.dcm", content)
        archive.writestr("stage_2_images/unwanted.dcm", b"x")
    path = inputs.find_images(mount, list(images))[name]
    assert path.read_bytes() == content
    assert len(list(path.parent.iterdir())) == 1
    assert opened == ["useless.zip", "whole.zip"]
    assert "useless.zip: passed over (BadZipFile" in caplog.text


# The script


def script(kernel, root, monkeypatch, rerun=False):
    """Loads the kernel's script with a folder as /kaggle; returns its `main` and the path of the submission."""
    (root / "working").mkdir(parents=True, exist_ok=True)
    monkeypatch.setenv("KAGGLE_ROOT", str(root))
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1" if rerun else "")
    names = {"__name__": "script"}
    exec(kernel.script.read_text(), names)
    return names["main"], root / "working" / "submission.csv"


IDS = ["1.2.276.0", "b", "c"]
SAMPLE = "ImageId,EncodedPixels\n1.2.276.0,1 2\n1.2.276.0,-1\nb,1 2\nc,-1\n"


@pytest.mark.parametrize("rerun", [False, True])
@pytest.mark.parametrize(
    "given", ["sample", "stage 2 beside 1", "zipped sample", "names of images", "names in studies", "empty sample"]
)
def test_a_submission_is_written_even_without_the_data_set(kernel, tmp_path, monkeypatch, given, rerun):
    root = tmp_path / "kaggle"
    place = root / "input" / "competitions" / "siim"
    place.mkdir(parents=True)
    if given == "zipped sample":
        with zipfile.ZipFile(place / "all.zip", "w") as archive:
            archive.writestr("stage_2_sample_submission.csv", SAMPLE)
        (place / "broken.zip").write_bytes(b"PK")
    elif "names" in given or "empty" in given:
        train, test = place / "dicom-images-train", place / "stage_2_images"
        if "studies" in given:  # each image in two folders of UIDs, as round 1 has them
            train, test = (place / "train-test" / f"dicom-images-{kind}/1.2.3/1.2.4" for kind in ("train", "test"))
        train.mkdir(parents=True)
        test.mkdir(parents=True)
        (train / "of training.dcm").write_bytes(b"")
        for name, ending in zip(IDS, (".dcm", ".png", ".JPG"), strict=True):
            (test / f"{name}{ending}").write_bytes(b"")
        if "empty" in given:
            (place / "sample_submission.csv").write_bytes(b"")
    else:
        (place / "stage_2_sample_submission.csv").write_text("\ufeff" + SAMPLE)
        if "beside" in given:
            (place / "sample_submission.csv").write_text("ImageId,EncodedPixels\nx,-1\n")
    main, path = script(kernel, root, monkeypatch, rerun)
    if rerun:
        assert main() is None  # the score is not lost
    else:
        with pytest.raises(RuntimeError, match=r"data set kit-tiny-small-files, .*is not attached: click Add Input"):
            main()
    assert submission.read(path) == dict.fromkeys(IDS, "-1")


def test_the_kernel_of_an_ensemble_predicts_the_same_masks_as_kit_predict(here, images):
    run = small_run.write(here, small_run.ENSEMBLE)
    settings = run.read_recipe()
    whole = Model.load(run.trained(settings))
    pixels = [dicom.read(path).pixels for path in images.values()]
    inputs = whole.inputs([{size: resize_image(image, size) for size in whole.sizes} for image in pixels])
    gate = float(np.median([presence for _, presence in inputs]))
    files.write_json(run.thresholds, files.read_json(run.thresholds) | {"gate": gate + 1e-3})
    kernel = bundle.build(run, competition="siim")
    rehearsal.lay_out(here / "mount", kernel, "siim", list(images), images, LAYOUTS[0])
    rows = run_offline(kernel, here / "mount" / "siim")
    assert sum(text == "-1" for text in rows.values()) == 3
    assert rows == predicted(run, images, here / "reference")


def predicted(run, images, folder):
    """The rows that `kit predict` writes for the images."""
    target = small_run.Run(folder)
    trained = run.trained(run.read_recipe())
    predict_files(trained, images, tuple(images), target, small_run.SHAPE, skip_bad=True, whole=True)
    return submission.read(target.submission)


def test_a_kernel_gives_masks_to_the_share_of_the_test_set_in_the_thresholds(here, mount, images):
    run = small_run.Run(Path("runs/tiny/small"))
    files.write_json(run.thresholds, files.read_json(run.thresholds) | {"removal": 2**20, "share": 0.4})
    rows = run_offline(bundle.build(run, competition="siim"), mount)
    assert sum(text != "-1" for text in rows.values()) == 2
    assert rows == predicted(run, images, here / "reference")


def test_missing_test_images_are_reported(kernel, tmp_path):
    submission.write(tmp_path / "submission.csv", [("a", "-1")])
    with pytest.raises(KitError, match=r"none of 1 image is there: attach the competition"):
        offline.run(kernel.bundle, tmp_path, tmp_path / "submission.csv", time.monotonic() + 1000)
