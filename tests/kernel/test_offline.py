"""The script that runs on Kaggle: whatever is there, a submission comes of it."""

import time
from pathlib import Path

import numpy as np
import pytest
import small_run

from kit.competition import dicom, submission
from kit.core import files
from kit.core.errors import KitError
from kit.data.resize import resize_image
from kit.inference import predict
from kit.inference.model import Model
from kit.kernel import bundle, offline, rehearsal
from kit.kernel.rehearsal import LAYOUTS, Layout
from kit.workflows.predict import predict_files

# In the kernel


@pytest.fixture
def mount(here, kernel, images):
    place = here / "mount"
    ids = list(images)
    rehearsal.lay_out(place, kernel, "siim", ids, images, Layout(False, False))
    return place / "siim"


def run_offline(kernel, mount, limit=1000.0):
    output = Path("out/submission.csv")
    offline.run(kernel.bundle, mount, output, time.monotonic() + limit)
    return submission.read(output)


def test_a_file_that_cannot_be_read_is_empty_and_listed(kernel, mount, caplog):
    whole = run_offline(kernel, mount)
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


def test_when_time_is_up_the_rest_is_empty_and_said_so(kernel, mount, caplog):
    rows = run_offline(kernel, mount, limit=-1.0)
    assert len(rows) == 5
    assert sum(text != "-1" for text in rows.values()) <= 1
    assert any("time was up: 4 of 5 images" in record.getMessage() for record in caplog.records)


def test_the_submission_is_there_from_the_first_minute_and_grows(kernel, mount, monkeypatch):
    seen = []
    real = submission.write
    monkeypatch.setattr(offline, "EVERY", -1.0)

    def write(path, masks):
        real(path, masks)
        seen.append(sum(text != "-1" for text in submission.read(path).values()))

    monkeypatch.setattr(offline.submission, "write", write)
    run_offline(kernel, mount)
    assert seen[0] == 0
    assert seen == sorted(seen)
    assert len(seen) >= 4


def test_where_time_is_short_folds_go_first_and_then_tta(kernel, mount, monkeypatch, caplog):
    """A network takes a second an image by a clock of our own; the whole system of two folds with TTA takes four."""
    now, efforts = [0.0], []
    monkeypatch.setattr(offline, "clock", lambda: now[0])
    inputs = Model.inputs

    def slow(whole, images):
        now[0] += whole.effort * len(images)
        efforts.append(whole.effort)
        return inputs(whole, images)

    monkeypatch.setattr(Model, "inputs", slow)
    for limit, expected, said in (
        (100.0, [4, 4, 4], []),
        (15.0, [4, 2, 2], ["with 1 folds, with TTA"]),
        (12.0, [4, 1, 1], ["with 1 folds, without TTA"]),
    ):
        now[0] = 0.0
        efforts.clear()
        caplog.clear()
        output = Path("out/submission.csv")
        offline.run(kernel.bundle, mount, output, limit)
        assert efforts == expected
        told = [record.getMessage() for record in caplog.records if "too slow" in record.getMessage()]
        assert len(told) == len(said)
        assert all(one.endswith(end) for one, end in zip(told, said, strict=True))
        assert not [record for record in caplog.records if "left empty" in record.getMessage()]


def test_without_the_mirror_images_the_answer_is_that_without_tta(here):
    run = small_run.Run(Path("runs/tiny/small"))
    settings = run.read_recipe()
    models = Model.load(run.trained(settings)).models[settings.label]
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64), dtype=np.uint8)
    plain, with_tta = predict.probabilities(models, images, settings)
    alone, same = predict.probabilities(models, images, settings, mirrored=False)
    np.testing.assert_allclose(alone, plain, atol=1e-6)
    np.testing.assert_array_equal(alone, same)
    assert np.abs(plain - with_tta).max() > 1e-4


def test_too_little_memory_makes_smaller_batches(kernel, mount, monkeypatch):
    import torch

    whole, real, sizes = run_offline(kernel, mount), predict.batches, []

    def greedy(count, read, batch_size, what, unreadable):
        sizes.append(batch_size)
        if batch_size > 1:
            raise torch.cuda.OutOfMemoryError
        return real(count, read, batch_size, what, unreadable)

    monkeypatch.setattr(predict, "batches", greedy)
    assert run_offline(kernel, mount).keys() == whole.keys()
    assert sizes == [2, 1]


def test_an_ensembles_kernel_predicts_what_the_kit_does(here, images):
    run = small_run.write(here, small_run.ENSEMBLE)
    settings = run.read_recipe()
    whole = Model.load(run.trained(settings))
    pixels = [dicom.read(path).pixels for path in images.values()]
    inputs = whole.inputs([{size: resize_image(image, size) for size in whole.sizes} for image in pixels])
    gate = float(np.median([presence for _, presence in inputs]))
    files.write_json(run.thresholds, files.read_json(run.thresholds) | {"gate": gate + 1e-3})
    kernel = bundle.build(run, small_run.SHAPE, half=True, competition="siim")
    names = {path.name for path in kernel.bundle.glob("*.safetensors")}
    assert names == {f"{name}.fold{fold}.safetensors" for name in ("a", "b", "first", "second") for fold in (0, 1)}
    rehearsal.lay_out(here / "mount", kernel, "siim", list(images), images, LAYOUTS[0])
    rows = run_offline(kernel, here / "mount" / "siim")
    assert sum(text == "-1" for text in rows.values()) == 3
    target = small_run.Run(here / "reference")
    predict_files(bundle.trained(kernel), images, tuple(images), target, small_run.SHAPE, skip_bad=True, whole=True)
    assert rows == submission.read(target.submission)


def test_a_mount_without_the_competition_is_told(tmp_path):
    with pytest.raises(KitError, match=r"has no file \*sample_submission\.csv: attach the competition"):
        offline.find_test(tmp_path)
