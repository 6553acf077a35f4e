"""Figure 7 against the descriptions of the blocks by the paper and by the authors of the encoders."""

import pandas as pd
import pytest
import torch

from kit import networks, recipes
from reproduce import figures, network


def described(block):
    return [f"{step.text} {step.output_shape}" for step in block.steps]


def test_the_papers_network_has_the_blocks_of_its_figure_7():
    first, same, decoder = network.blocks(recipes.load("exp5"))
    assert first.steps[0].input_shape == same.steps[0].input_shape == "128×128×64"
    assert described(first) == [
        "convolution 3×3, stride 2 64×64×128",
        "batch normalisation 64×64×128",
        "ReLU 64×64×128",
        "convolution 3×3 64×64×128",
        "batch normalisation 64×64×128",
        "+ convolution 1×1, stride 2, batch normalisation 64×64×128",
        "ReLU 64×64×128",
    ]
    assert described(same)[5:] == ["+ input 128×128×64", "ReLU 128×128×64"]
    # Table 3's Decoder1: from the 512 of Encoder4 and the 256 of Encoder3, 768 in all, to 256 at 32×32.
    assert decoder.steps[0].input_shape == "16×16×512"
    assert described(decoder) == [
        "up-sampling 2×2 32×32×512",
        "with 256 of the encoder 32×32×768",
        *("convolution 3×3 32×32×256", "batch normalisation 32×32×256", "ReLU 32×32×256") * 2,
    ]


def test_a_skip_connection_is_added_before_the_last_activation():
    """A block whose main path outputs zero returns the activation of its input."""
    block = networks.build(recipes.load("exp5").network, pretrained=False).net.encoder.layer1[1].eval()
    torch.nn.init.zeros_(block.bn2.weight)
    images = torch.randn(1, 64, 8, 8)
    assert torch.equal(block(images), images.relu())


@pytest.mark.parametrize(
    ("name", "encoder", "last"),
    [
        ("small", "InvertedResidual", "+ input"),
        ("sneddy", "BasicBlock", "ReLU"),
        ("x5", "SEResNeXtBottleneck", "ReLU"),
    ],
)
def test_other_networks_are_drawn_from_themselves(name, encoder, last):
    figure = figures.blocks(recipes.load(name))
    steps = pd.DataFrame(figure.data).groupby("block").step
    assert [title.rpartition(": ")[2] for title in steps.groups] == ["UnetDecoderBlock", encoder, encoder]
    assert steps.last()[f"encoder, same shape: {encoder}"] == last


def test_other_decoders_than_a_u_nets_are_left_out():
    deeplab = recipes.load("x5").parts()[-1]
    assert len(network.blocks(deeplab)) == 2


def test_blocks_of_a_single_pixel_keep_their_steps():
    """At 32×32 the last block has one pixel, and its steps are not mistaken for steps on an image's mean."""
    small = "network.encoder=tu-test_resnet network.encoder_weights=none stages.1.size=32"
    *_, decoder = network.blocks(recipes.load("exp5", small))
    assert decoder.steps[0].input_shape == "1×1×96"
