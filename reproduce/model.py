"""What a network is made of and how long it takes: the paper's Table 3, its parameters, an epoch, a sample."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kit.competition import dicom, rle
from kit.data.resize import resize_image
from kit.inference import maps, rules
from kit.recipes.schema import Recipe
from kit.report import summary
from kit.run import Run

if TYPE_CHECKING:
    import torch

SAMPLES = 100
"""Images whose prediction is timed, as in the paper."""
STEPS = ("decode", "resize", "forward", "TTA", "mask")


def layers(recipe: Recipe) -> list[tuple[str, str, str]]:
    """The layers of a U-Net with a ResNet, as the paper's Table 3 lists them, from the network itself.

    Args:
        recipe: Its network, at the size of its last stage.

    Returns:
        Name, output size and filters of each; of a decoder's block the filters that come in and go out. An empty
        list for networks whose parts have other names.
    """
    import torch

    from kit import networks

    size = recipe.stages[-1].size
    network = networks.build(recipe.network, pretrained=False).eval().to("meta")  # shapes alone
    encoder, decoder = network.net.encoder, network.net.decoder
    if recipe.network.architecture != "Unet" or not hasattr(encoder, "layer4"):
        return []
    named: dict[str, Any] = {"Conv1": encoder.relu, "MaxPool": encoder.maxpool}
    named |= {f"Encoder{i}": getattr(encoder, f"layer{i}") for i in range(1, 5)}
    named |= {f"Decoder{i}": block for i, block in enumerate(decoder.blocks, 1)}
    named["Conv2"] = network.net.segmentation_head
    shapes: dict[str, torch.Size] = {}
    for name, module in named.items():
        module.register_forward_hook(partial(_note_shape, shapes, name))
    network(torch.zeros(1, 1, size, size, device="meta"))
    rows = [("Input", f"{size}×{size}", "")]
    for name, module in named.items():
        _, channels, height, width = shapes[name]
        filters = f"{module.conv1[0].in_channels} → {channels}" if name.startswith("Decoder") else str(channels)
        rows.append((name, f"{height}×{width}", "" if name == "MaxPool" else filters))
    return rows


def _note_shape(shapes: dict, name: str, module: "torch.nn.Module", inputs: tuple, output: "torch.Tensor") -> None:
    shapes.setdefault(name, output.shape)  # a ReLU is used more than once: its first use counts


def parameters(recipe: Recipe) -> int:
    """Number of trainable parameters."""
    from kit import networks

    return sum(weights.numel() for weights in networks.build(recipe.network, pretrained=False).parameters())


def minutes_an_epoch(run: Run, number: int) -> float | None:
    """Mean time of an epoch of a stage, over the folds that are trained; None where none is."""
    folds = [fold for fold, stage in run.finished_stages() if stage == number]
    seconds = [summary.metrics(run, fold, number).seconds.dropna().to_numpy() for fold in folds]
    return float(np.concatenate(seconds).mean()) / 60 if seconds else None


def milliseconds(run: Run, recipe: Recipe, paths: list[Path], shape: tuple[int, int]) -> dict[str, float]:
    """Mean time of each step from a file to a mask, an image at a time.

    Args:
        run: With weights and thresholds.
        recipe: Of the run; without members.
        paths: DICOM files; the first of them is predicted once more beforehand.
        shape: (H, W) of the images.

    Returns:
        Milliseconds of each of `STEPS`; `TTA` is what the mirrored image costs on top of `forward`.
    """
    import torch

    from kit.inference import predict

    (network, *_), size = predict.load(recipe, run.final_weights(recipe)[:1]), recipe.stages[-1].size
    device, rule = next(network.parameters()).device, rules.read(run.thresholds)
    spent = dict.fromkeys(STEPS, 0.0)

    @contextmanager
    def timed(step: str, counted: bool) -> Iterator[None]:
        began = time.perf_counter()
        yield
        if counted:
            spent[step] += time.perf_counter() - began

    @torch.inference_mode()
    def forward(batch: "torch.Tensor") -> "torch.Tensor":
        return network(batch)[0].float().sigmoid().cpu()

    for number, path in enumerate([paths[0], *paths]):
        counted = number > 0
        with timed("decode", counted):
            pixels = dicom.read(path, shape).pixels
        with timed("resize", counted):
            image = torch.from_numpy(resize_image(pixels, size))[None, None].to(device)
        with timed("forward", counted):
            plain = forward(image)
        with timed("TTA", counted):
            mean = (plain + forward(image.flip(-1)).flip(-1)) / 2
        with timed("mask", counted):
            levels = maps.upsample(maps.to_levels(mean[0, 0].numpy()), shape)
            rle.encode(rule.mask(levels, 1.0))
    return {step: 1000 * seconds / len(paths) for step, seconds in spent.items()}


def device() -> str:
    """What this machine computes on."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"a CPU, {torch.get_num_threads()} threads"
