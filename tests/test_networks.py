from typing import get_args

import numpy as np
import pytest
import timm
import torch

from kit import networks, recipes
from kit.core.errors import KitError
from kit.recipes.schema import Network

PAPER = Network(encoder_weights=None)
SMALL = Network(encoder="resnet18", encoder_weights=None, decoder_channels=(32, 16, 16, 8, 8))


ARCHITECTURES = get_args(Network.model_fields["architecture"].annotation)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_network_gives_logits_learns_and_is_saved_and_loaded(architecture, tmp_path):
    channels = (16, 16, 8, 8, 8) if architecture.startswith("Unet") or architecture == "MAnet" else None
    settings = SMALL.model_copy(update={"architecture": architecture, "decoder_channels": channels, "image_head": True})
    network = networks.build(Network.model_validate(settings.model_dump()))
    size = 128 if architecture == "PAN" else 64
    masks, images = network.train()(torch.randint(0, 256, (2, 1, size, size + 32), dtype=torch.uint8))
    assert (masks.shape, images.shape) == ((2, 1, size, size + 32), (2,))
    assert masks.isfinite().all()
    (masks.square().mean() + images.square().mean()).backward()
    still = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    unused = ("net.encoder.layer3.", "net.encoder.layer4.") if architecture == "PSPNet" else ()  # it ends at 1/8
    assert still == {name for name, _ in network.named_parameters() if unused and name.startswith(unused)}

    networks.save_weights(tmp_path / "weights.safetensors", network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.zero_()
    found = networks.load_weights(network, tmp_path / "weights.safetensors").state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in before.items())


def test_the_papers_table_3():
    with torch.device("meta"):  # shapes alone; its number of parameters stands in the docstring of `networks.build`
        network = networks.build(PAPER).eval()
    encoder, decoder, head = network.net.encoder, network.net.decoder.blocks, network.net.segmentation_head
    layers = {
        "Conv1": encoder.conv1,
        "MaxPool": encoder.maxpool,
        **{f"Encoder{i}": getattr(encoder, f"layer{i}") for i in range(1, 5)},
        **{f"Decoder{i}": block for i, block in enumerate(decoder, 1)},
        "Conv2": head,
    }
    seen = {}
    for name, layer in layers.items():
        layer.register_forward_hook(lambda _, inputs, output, name=name: seen.update({name: tuple(output.shape[1:])}))
    network(torch.zeros(1, 1, 512, 512, device="meta"))
    assert seen == {
        "Conv1": (64, 256, 256),
        "MaxPool": (64, 128, 128),
        "Encoder1": (64, 128, 128),
        "Encoder2": (128, 64, 64),
        "Encoder3": (256, 32, 32),
        "Encoder4": (512, 16, 16),
        "Decoder1": (256, 32, 32),
        "Decoder2": (128, 64, 64),
        "Decoder3": (64, 128, 128),
        "Decoder4": (32, 256, 256),
        "Decoder5": (16, 512, 512),
        "Conv2": (1, 512, 512),
    }
    # What the up-sampled maps are concatenated with, and the units that Figure 7 shows.
    assert [block.conv1[0].in_channels for block in decoder[:4]] == [768, 384, 192, 128]
    assert [len(getattr(encoder, f"layer{i}")) for i in range(1, 5)] == [3, 4, 6, 3]
    assert (encoder.conv1.kernel_size, encoder.maxpool.kernel_size, head[0].kernel_size) == ((7, 7), 3, (3, 3))


def test_pixels_are_normalised_inside_and_grey_goes_to_three_channels():
    network = networks.build(SMALL).eval()
    seen = []
    network.net.encoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 1, 32, 32), np.uint8))
    logits, image_logits = network(images)
    assert logits.shape == (2, 1, 32, 32)
    assert image_logits is None
    assert torch.allclose(seen[0], (images.float() / 255).expand(2, 3, 32, 32))


def test_one_channel_is_mapped_to_three_by_a_convolution_that_starts_as_a_copy():
    three, one = networks.build(SMALL), networks.build(SMALL.model_copy(update={"channels": 1}))
    added = sum(p.numel() for p in one.parameters()) - sum(p.numel() for p in three.parameters())
    assert added == 6
    one.load_state_dict(three.state_dict(), strict=False)
    images = torch.randint(0, 256, (1, 1, 32, 32), dtype=torch.uint8)
    assert torch.allclose(one.eval()(images)[0], three.eval()(images)[0], atol=1e-5)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_image_head_is_linear_on_the_pooled_features(dropout):
    network = networks.build(SMALL.model_copy(update={"image_head": True, "image_head_dropout": dropout}))
    head, features = network.net.classification_head, torch.rand(4, 512, 3, 5)
    linear = next(module for module in head if isinstance(module, torch.nn.Linear))
    wanted = features.mean(dim=(2, 3)) @ linear.weight.T + linear.bias
    assert torch.allclose(head.eval()(features), wanted, atol=1e-5)
    assert torch.allclose(head.train()(features), wanted, atol=1e-5) == (dropout == 0)


def test_the_heads_of_small_keep_the_dropout_that_they_were_trained_with():
    for name in ("small", "small-ensemble"):
        assert {part.network.image_head_dropout for part in recipes.load(name).parts()} == {0.2}


def slow_aspp(features, weights):
    """Atrous spatial pyramid pooling of DeepLabV3+ at stride 8 by definition, before the projection."""
    _, _, height, width = features.shape
    branches = [torch.nn.functional.conv2d(features, weights[0])]
    for rate, kernel in zip((12, 24, 36), weights[1:4], strict=True):
        padded = torch.nn.functional.pad(features, [rate] * 4)
        total = 0
        for row in range(3):
            for column in range(3):
                seen = padded[:, :, row * rate : row * rate + height, column * rate : column * rate + width]
                total = total + torch.einsum("oi,bihw->bohw", kernel[:, :, row, column], seen)
        branches.append(total)
    pooled = torch.nn.functional.conv2d(features.mean(dim=(2, 3), keepdim=True), weights[4])
    return [*branches, pooled.expand(-1, -1, height, width)]


def test_the_runner_up_s_deeplab_has_whole_atrous_convolutions():
    network = networks.build(recipes.load("x5", "network.encoder_weights=none").parts()[-1].network).eval()
    aspp = network.net.decoder.aspp[0]
    kernels = [next(m for m in branch.modules() if isinstance(m, torch.nn.Conv2d)).weight for branch in aspp.convs]
    assert [tuple(kernel.shape) for kernel in kernels] == [(256, 2048, k, k) for k in (1, 3, 3, 3, 1)]
    assert not any(isinstance(m, torch.nn.Dropout) and m.p for m in network.net.decoder.modules())
    features, seen = torch.rand(1, 2048, 8, 8), []
    for branch in aspp.convs:
        convolution = next(m for m in branch.modules() if isinstance(m, torch.nn.Conv2d))
        convolution.register_forward_hook(lambda _, inputs, output: seen.append(output))
    with torch.inference_mode():
        aspp(features)
        for found, wanted in zip(seen, slow_aspp(features, kernels), strict=True):
            assert torch.allclose(found.expand_as(wanted), wanted, atol=1e-4)


@pytest.mark.parametrize("number", range(4))
def test_the_winners_decoders_have_the_published_widths(number):
    part = recipes.load("sneddy", "network.encoder_weights=none").parts()[number]
    seen = []
    with torch.device("meta"):  # shapes alone
        network = networks.build(part.network).eval()
        for block in network.net.decoder.blocks:
            block.register_forward_hook(lambda _, inputs, output: seen.append(tuple(output.shape[1:])))
        network(torch.zeros(1, 1, 64, 64))
    widths = {"resnet34": (256, 256, 64, 128, 32), "resnet50": (256, 256, 128, 64, 64)}
    wanted = widths.get(part.network.encoder, (384, 256, 128, 64, 32))
    assert seen == [(width, 64 // side, 64 // side) for width, side in zip(wanted, (16, 8, 4, 2, 1), strict=True)]


def test_a_frozen_encoder_learns_nothing_and_keeps_its_statistics():
    network = networks.build(SMALL)
    network.encoder_frozen = True
    network.train()
    before = {name: tensor.clone() for name, tensor in network.net.encoder.state_dict().items()}
    network(torch.rand(2, 1, 32, 32) * 255)[0].mean().backward()
    assert all(parameter.grad is None for parameter in network.net.encoder.parameters())
    assert any(parameter.grad is not None for parameter in network.net.decoder.parameters())
    assert all((before[name] == tensor).all() for name, tensor in network.net.encoder.state_dict().items())
    network.encoder_frozen = False
    network.train()
    network(torch.rand(2, 1, 32, 32) * 255)[0].mean().backward()
    assert all(parameter.grad is not None for parameter in network.net.encoder.parameters())


@pytest.fixture(scope="module")
def small():
    """A network with random weights."""
    return networks.build(SMALL)


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_a_pickle_with_code_is_never_run(small, tmp_path, capsys):
    path = tmp_path / "weights.pth"
    torch.save({"a": Evil()}, path)
    with pytest.raises(KitError, match=r"is damaged, or holds more than weights \(UnpicklingError\)"):
        networks.load_weights(small, path)
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (7, "holds something other than named tensors"),
        ({"state_dict": {"a": torch.zeros(2)}, "epoch": 3}, "belongs to another network"),
        ({"state_dict": {0: torch.zeros(2)}}, "holds something other than named tensors"),
        ({"weights": {"a": torch.zeros(2)}, "epoch": 3}, "holds something other than named tensors"),
        ({}, "belongs to another network"),
    ],
)
def test_files_without_named_tensors_are_refused(small, tmp_path, content, message):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(KitError, match=message):
        networks.load_weights(small, path)


def test_an_impossible_network_is_not_reported_as_missing_internet():
    with pytest.raises(KitError, match=r"^network: Unet with resnet18 cannot be built: .*depth"):
        networks.build(Network(encoder="resnet18", decoder_channels=(32, 16, 16, 8, 8, 8)))


def test_an_unknown_encoder_is_refused():
    with pytest.raises(KitError, match=r"network\.encoder"):
        networks.build(Network(encoder="resnet9000"))


@pytest.mark.parametrize("prefix", ["", "module.", "model.encoder."])
def test_encoder_weights_are_loaded_as_published(tmp_path, prefix):
    """In a checkpoint, below a prefix, with other parts and a head that the encoder lacks."""
    source = networks.build(SMALL).net.encoder.state_dict()
    given = {**source, "fc.weight": torch.zeros(3, 512)}
    given = {f"{prefix}{name}": tensor for name, tensor in given.items() if not name.endswith("num_batches_tracked")}
    torch.save({"state_dict": given | {"loss.weight": torch.zeros(1)}, "epoch": 3}, tmp_path / "encoder.pth")
    network = networks.build(SMALL.model_copy(update={"encoder_weights": str(tmp_path / "encoder.pth")}))
    assert all((network.net.encoder.state_dict()[name] == source[name]).all() for name in source)


def test_weights_of_a_deeper_network_are_refused(tmp_path):
    deeper = networks.build(SMALL.model_copy(update={"encoder": "resnet34"})).net.encoder
    torch.save(deeper.state_dict(), tmp_path / "encoder.pth")
    with pytest.raises(KitError, match="another network"):
        networks.build(SMALL.model_copy(update={"encoder_weights": str(tmp_path / "encoder.pth")}))


def test_an_encoder_file_of_timm_is_loaded(tmp_path):
    given = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    torch.save(given, tmp_path / "encoder.pth")
    network = networks.build(
        SMALL.model_copy(
            update={"encoder": "tu-tf_efficientnet_lite0", "encoder_weights": str(tmp_path / "encoder.pth")}
        )
    )
    assert (network.net.encoder.model.conv_stem.weight == given["conv_stem.weight"]).all()


def test_weights_that_cannot_be_downloaded_are_named_in_one_line(monkeypatch, recwarn):
    create = timm.create_model

    def offline(name, **options):
        if options.get("pretrained"):
            raise OSError("no route to host")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    network = Network(encoder="tu-test_resnet", encoder_weights="imagenet", decoder_channels=(32, 16, 16, 8, 8))
    with pytest.raises(KitError, match=r"ImageNet weights of tu-test_resnet could not be downloaded \(OSError\)"):
        networks.build(network)
    assert [str(warning.message) for warning in recwarn] == []
