"""Trained networks as ONNX files, which other programs run: opset 17, any number of images at once.

Input `images`: grey levels, uint8 (B, 1, size, size). Outputs: `masks`, logits float32 (B, 1, size, size), and of a
network with an image-level head `image`, logits float32 (B,). Normalisation is inside.
"""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kit import networks
from kit.core import store
from kit.core.errors import KitError
from kit.core.files import sha256, write_bytes
from kit.inference import backends
from kit.inference.maps import to_levels
from kit.recipes.schema import Network

OPSET = 17


def ensure(weights: Path, network: Network, size: int) -> Path:
    """The ONNX file beside a file of weights, made anew unless it is of these weights.

    Args:
        size: Pixels a side of the images that it takes.

    Raises:
        KitError: the packages are missing, the weights are broken, or the file answers otherwise than torch.
    """
    path = weights.with_suffix(".onnx")

    def make() -> None:
        backends.package("onnx")
        model = networks.load_weights(networks.build(network, pretrained=False), weights).eval()
        content = _exported(model, size)
        difference = deviation(model, backends.onnxruntime_of(content), size)
        if difference > 1:
            raise KitError(f"{path}: differs from torch by {difference} levels of 255: predict with --backend torch")
        write_bytes(path, content)

    store.File(path, {"weights": sha256(weights), "size": size, "opset": OPSET}).build(make)
    return path


def deviation(model: nn.Module, other: nn.Module, size: int) -> int:
    """The most levels by which the maps of two networks differ, on noise, with one image at once and with three."""
    largest = 0
    for count in (1, 3):
        noise = np.random.default_rng(count).integers(0, 256, (count, 1, size, size), np.uint8)
        with torch.inference_mode():
            one, two = (to_levels(net(torch.from_numpy(noise))[0].sigmoid().numpy()) for net in (model, other))
        largest = max(largest, int(np.abs(one.astype(np.int16) - two).max()))
    return largest


def _exported(model: networks.Segmenter, size: int) -> bytes:
    """The network as ONNX."""
    names = ["masks"] if model.net.classification_head is None else ["masks", "image"]
    images = torch.zeros(2, 1, size, size, dtype=torch.uint8)
    content: Any = io.BytesIO()  # torch names paths alone, and takes any file
    with warnings.catch_warnings():  # the exporter by torch.export, which it advises, cannot yet do these networks
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _Answers(model).eval(),  # else the exporter puts all of it back to training
            (images,),
            content,
            input_names=["images"],
            output_names=names,
            dynamic_axes={name: {0: "batch"} for name in ("images", *names)},
            opset_version=OPSET,
            dynamo=False,
        )
    return content.getvalue()


class _Answers(nn.Module):
    """A network without the None in the place of a head that it lacks."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(answer for answer in self.model(images) if answer is not None)
