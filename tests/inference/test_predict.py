"""Prediction: means over networks and mirror images, and NaN."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import small_run
import torch

from kit import networks, recipes
from kit.competition import layout, levels
from kit.core.errors import KitError
from kit.core.parallel import batches
from kit.data import resize
from kit.inference import model as inference
from kit.inference import predictions
from kit.inference.model import Model
from kit.workflows.predict import predict_files

TINY = "network.encoder=resnet18 network.decoder_channels=[16,16,8,8,8] stages.0.batch_size=3 stages.1.batch_size=3"


@pytest.fixture(scope="module")
def recipe():
    return recipes.load("demo", TINY)


@pytest.fixture(scope="module")
def models(recipe):
    return [networks.build(recipe.network).eval() for _ in range(2)]


def test_probabilities_are_means_over_networks_and_mirror_images(recipe, models):
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64), np.uint8)
    model = Model(recipe.model_copy(update={"stages": recipe.stages[:1]}), {recipe.label: models}, None)
    images = [model.resized(image) for image in images]
    answers = list(model.answers(images))
    assert len(answers) == 5
    for image, (plain, with_tta) in zip(images, answers, strict=True):
        assert plain.image_probability is None
        batch = torch.from_numpy(next(iter(image.values())))[None, None]
        with torch.inference_mode():
            straight = [network(batch)[0].sigmoid()[0, 0] for network in models]
            mirrored = [network(batch.flip(-1))[0].sigmoid()[0, 0].flip(-1) for network in models]
        for found, expected in ((plain, straight), (with_tta, straight + mirrored)):
            exact = torch.stack(expected).double().mean(0).numpy() * 255
            assert (exact - found.levels).min() >= -1e-3
            assert (exact - found.levels).max() <= 1 + 1e-3  # a level is the floor


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """A loaded run with two networks of different sizes and two classifiers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("ensemble"))
        return Model.load(small_run.write(Path.cwd(), small_run.ENSEMBLE))


@pytest.mark.parametrize("tta", [True, False])
def test_an_ensemble_is_the_mean_of_its_maps_and_the_stack_of_its_classifiers(ensemble, tta):
    model = dataclasses.replace(ensemble, recipe=ensemble.recipe.model_copy(update={"tta": tta}))
    image = np.random.default_rng(0).integers(0, 256, (96, 80), np.uint8)
    maps, logits = [], []
    for part in model.recipe.parts():
        size = part.stages[-1].size
        resized = torch.from_numpy(cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA))[None, None]
        views = [(resized, False), *([(resized.flip(-1), True)] if tta else [])]
        with torch.inference_mode():
            asked = [(network(view), flipped) for network in model.models[part.label] for view, flipped in views]
        if part.role == "classify":
            mean = float(np.mean([float(presence.double().sigmoid()) for (_, presence), _ in asked]))
            logits.append(np.log(mean / (1 - mean)))
        else:
            answers = [(m.flip(-1) if flipped else m).double().sigmoid()[0, 0] for (m, _), flipped in asked]
            maps.append(np.floor(torch.stack(answers).mean(0).numpy() * 255))
    [found] = model.maps([image])
    small = cv2.resize(maps[1].astype(np.uint8), (64, 64), interpolation=cv2.INTER_LINEAR)
    assert np.abs(found.levels - (maps[0] + small) / 2).max() <= 1.5
    assert found.image_probability == pytest.approx(
        1 / (1 + np.exp(-(40 * logits[0] - 60 * logits[1] + 0.1))), abs=1e-3
    )


@pytest.mark.parametrize(("tta", "views"), [(False, 1), (True, 2)])
def test_test_images_are_mirrored_only_for_tta(tmp_path, monkeypatch, tta, views):
    monkeypatch.chdir(tmp_path)
    run = small_run.write(Path.cwd(), small_run.ENSEMBLE)
    settings = run.read_recipe().model_copy(update={"tta": tta})
    passes, paths = [], layout.open_folder("data/tiny").test

    def counted(models, images, part, *, mirrored, half):
        passes.append(len(models) * len(images) * (1 + mirrored))
        return probabilities(models, images, part, mirrored=mirrored, half=half)

    probabilities = inference.probabilities
    monkeypatch.setattr(inference, "probabilities", counted)
    trained, order = run.trained(settings), tuple(paths)
    assert predict_files(trained, paths, order, run, small_run.SHAPE, skip_bad=False, whole=True)
    assert sum(passes) == views * 2 * 4 * len(paths)  # two folds of four members
    assert {path.is_file() for path in (run.test(tta=True), run.test(tta=True, role="classify"))} == {tta}
    assert run.test(tta=False).is_file()
    assert not predict_files(trained, paths, order, run, small_run.SHAPE, skip_bad=False, whole=True)


def test_only_an_unreadable_image_is_skipped():
    def read(index):
        if index == 2:
            raise KitError("c.dcm: is empty")
        return index * 10

    unreadable = []
    found = list(batches(5, read, 3, "test", lambda *told: unreadable.append(told)))
    assert found == [([0, 1], [0, 10]), ([3, 4], [30, 40])]
    assert [(index, str(error)) for index, error in unreadable] == [(2, "c.dcm: is empty")]


def test_a_diverged_network_is_refused_in_one_line(recipe, models):
    broken = networks.build(recipe.network).eval()
    torch.nn.init.constant_(broken.net.segmentation_head[0].bias, float("nan"))
    with pytest.raises(KitError, match=r"demo: a network answers with NaN: .* lower learning_rate"):
        inference.probabilities([*models, broken], np.zeros((1, 32, 32), np.uint8), recipe)


def test_maps_with_image_evidence_are_geometric_means():
    settings = recipes.load("demo", TINY + " network.image_head=true image_evidence=true")
    models = [networks.build(settings.network).eval() for _ in range(2)]
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64), np.uint8)
    plain, _ = inference.probabilities(models, images, settings)
    with torch.inference_mode():
        answers = [model(torch.from_numpy(images)[:, None]) for model in models]
    expected = sum(
        (masks[:, 0].double().sigmoid() * image.double().sigmoid()[:, None, None]).sqrt() / 2
        for masks, image in answers
    )
    assert np.abs(plain.numpy() - expected.numpy()).max() < 1e-5
    without, _ = inference.probabilities(models, images, settings.model_copy(update={"image_evidence": False}))
    assert (plain - without).abs().max() > 1e-3


@pytest.mark.parametrize("maker", [(levels, "READER"), (resize, "RESIZER"), (predictions, "QUANTISER")])
def test_maps_of_another_version_are_stale(tmp_path, monkeypatch, maker):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"weights")
    before = predictions.row_keys([weights], [b"image"])
    monkeypatch.setattr(*maker, "a better one")
    assert predictions.row_keys([weights], [b"image"]) != before
