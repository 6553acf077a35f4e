"""From images to probabilities: means over networks and mirror images, and what is no probability."""

import numpy as np
import pytest
import torch

from kit import networks, recipes
from kit.core.errors import KitError
from kit.inference import predict

TINY = "network.encoder=resnet18 network.decoder_channels=[16,16,8,8,8] stages.0.batch_size=3 stages.1.batch_size=3"


@pytest.fixture(scope="module")
def recipe():
    return recipes.load("demo", TINY)


@pytest.fixture(scope="module")
def models(recipe):
    return [networks.build(recipe.network).eval() for _ in range(2)]


def test_it_is_the_mean_over_networks_and_mirror_images(recipe, models):
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 64), np.uint8)
    for index, plain, with_tta in predict.maps(models, 5, lambda i: images[i], recipe, "test"):
        image = torch.from_numpy(images[index])[None, None]
        with torch.inference_mode():
            straight = [model(image)[0].sigmoid()[0, 0] for model in models]
            mirrored = [model(image.flip(-1))[0].sigmoid()[0, 0].flip(-1) for model in models]
        for found, expected in ((plain, straight), (with_tta, straight + mirrored)):
            exact = torch.stack(expected).double().mean(0).numpy() * 255
            assert np.abs(found - exact).max() <= 0.5 + 1e-3


def test_a_network_that_has_diverged_is_one_clear_line(recipe, models):
    broken = networks.build(recipe.network).eval()
    torch.nn.init.constant_(broken.net.segmentation_head[0].bias, float("nan"))
    with pytest.raises(KitError, match=r"demo: a network answers with NaN: .* lower learning_rate"):
        predict.probabilities([*models, broken], np.zeros((1, 32, 32), np.uint8), recipe)
