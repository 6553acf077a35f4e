"""From images to probabilities: means over networks and mirror images, and what is no probability."""

import numpy as np
import pytest
import torch

from kit import networks, recipes
from kit.competition import levels
from kit.core.errors import KitError
from kit.data import resize
from kit.inference import predict, predictions

TINY = "network.encoder=resnet18 network.decoder_channels=[16,16,8,8,8] stages.0.batch_size=3 stages.1.batch_size=3"


@pytest.fixture(scope="module")
def recipe():
    return recipes.load("demo", TINY)


@pytest.fixture(scope="module")
def models(recipe):
    return [networks.build(recipe.network).eval() for _ in range(2)]


def test_it_is_the_mean_over_networks_and_mirror_images(recipe, models):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 64), np.uint8)
    unreadable = []
    found = predict.maps(models, 5, lambda i: images[i], recipe, "test", lambda *told: unreadable.append(told))
    for index, plain, with_tta in found:
        image = torch.from_numpy(images[index])[None, None]
        with torch.inference_mode():
            straight = [model(image)[0].sigmoid()[0, 0] for model in models]
            mirrored = [model(image.flip(-1))[0].sigmoid()[0, 0].flip(-1) for model in models]
        for found, expected in ((plain, straight), (with_tta, straight + mirrored)):
            exact = torch.stack(expected).double().mean(0).numpy() * 255
            assert (exact - found).min() >= -1e-3
            assert (exact - found).max() <= 1 + 1e-3  # a level is the floor
    assert not unreadable


def test_an_image_that_cannot_be_read_costs_itself_alone(recipe, models):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 64), np.uint8)

    def read(index):
        if index == 2:
            raise KitError("c.dcm: is empty")
        return images[index]

    unreadable = []
    found = predict.maps(models, 5, read, recipe, "test", lambda *told: unreadable.append(told))
    assert [index for index, _, _ in found] == [0, 1, 3, 4]
    assert [(index, str(error)) for index, error in unreadable] == [(2, "c.dcm: is empty")]


def test_a_network_that_has_diverged_is_one_clear_line(recipe, models):
    broken = networks.build(recipe.network).eval()
    torch.nn.init.constant_(broken.net.segmentation_head[0].bias, float("nan"))
    with pytest.raises(KitError, match=r"demo: a network answers with NaN: .* lower learning_rate"):
        predict.probabilities([*models, broken], np.zeros((1, 32, 32), np.uint8), recipe)


def test_maps_with_image_evidence_are_geometric_means():
    settings = recipes.load("demo", TINY + " network.image_head=true image_evidence=true")
    models = [networks.build(settings.network).eval() for _ in range(2)]
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 64), np.uint8)
    plain, _ = predict.probabilities(models, images, settings)
    with torch.inference_mode():
        answers = [model(torch.from_numpy(images)[:, None]) for model in models]
    expected = sum(
        (masks[:, 0].double().sigmoid() * image.double().sigmoid()[:, None, None]).sqrt() / 2
        for masks, image in answers
    )
    assert np.abs(plain - expected.numpy()).max() < 1e-5
    without, _ = predict.probabilities(models, images, settings.model_copy(update={"image_evidence": False}))
    assert np.abs(plain - without).max() > 1e-3


@pytest.mark.parametrize("maker", [(levels, "READER"), (resize, "RESIZER"), (predictions, "QUANTISER")])
def test_maps_of_another_version_of_a_maker_do_not_pass(tmp_path, monkeypatch, maker):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"weights")
    before = predictions.row_keys([weights], [b"image"])
    monkeypatch.setattr(*maker, "a better one")
    assert predictions.row_keys([weights], [b"image"]) != before
