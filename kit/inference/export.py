"""Export of trained networks as ONNX files, opset 17, for any batch size.

Input `images`: grey levels, uint8 (B, 1, size, size). Outputs: `masks`, logits float32 (B, 1, size, size), and with an
image-level head `image`, logits float32 (B,). Normalisation is part of the network.
"""

import importlib
import io
import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kit import networks
from kit.core import store
from kit.core.errors import KitError
from kit.core.files import sha256, write_bytes
from kit.inference.maps import to_levels
from kit.recipes.schema import Network

OPSET = 17


def package(name: str) -> Any:
    """Imports an optional package: `onnx`, with which torch writes a file, or `onnxruntime`, which checks the file."""
    # By default, onnxruntime keeps a database of events in the home folder and sends them to its makers.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        return importlib.import_module(name)
    except ImportError:
        raise KitError(f"{name}: is not installed: pip install onnx onnxruntime into the kit's environment") from None


def ensure(weights: Path, network: Network, size: int) -> Path:
    """Returns the ONNX file beside a file of weights, exported again if it is missing or stale.

    Args:
        size: Side of the input images, in pixels.

    Raises:
        KitError: the packages are missing, the weights are broken, or ONNX and torch give different masks.
    """
    path = weights.with_suffix(".onnx")

    def make() -> None:
        package("onnx")
        model = networks.load_weights(networks.build(network, pretrained=False), weights).eval()
        content = _exported(model, size)
        session = package("onnxruntime").InferenceSession(content, providers=["CPUExecutionProvider"])
        difference = deviation(model, lambda images: session.run(["masks"], {"images": images})[0], size)
        if difference > 1:
            raise KitError(f"{path}: would differ from torch by {difference} levels of 255, and is not written")
        write_bytes(path, content)

    store.File(path, {"weights": sha256(weights), "size": size, "opset": OPSET}).build(make)
    return path


def deviation(model: nn.Module, exported: Callable[[np.ndarray], np.ndarray], size: int) -> int:
    """Largest difference, in levels, between two networks' maps of noise, in batches of one image and of three.

    Args:
        exported: Maps images, uint8 (B, 1, size, size), to logits of the same shape.
    """
    largest = 0
    for count in (1, 3):
        noise = np.random.default_rng(count).integers(0, 256, (count, 1, size, size), np.uint8)
        with torch.inference_mode():
            logits = model(torch.from_numpy(noise))[0], torch.from_numpy(exported(noise))
            first, second = (to_levels(output.sigmoid().numpy()) for output in logits)
        largest = max(largest, int(np.abs(first.astype(np.int16) - second).max()))
    return largest


def _exported(model: networks.Segmenter, size: int) -> bytes:
    names = ["masks"] if model.net.classification_head is None else ["masks", "image"]
    images = torch.zeros(2, 1, size, size, dtype=torch.uint8)
    content: Any = io.BytesIO()  # torch's annotation names paths alone, but any file works
    with warnings.catch_warnings():  # the advised exporter, torch.export, cannot yet export these networks
        warnings.simplefilter("ignore")
        torch.onnx.export(
            _WithoutNone(model).eval(),  # or the exporter would put the network back into training mode
            (images,),
            content,
            input_names=["images"],
            output_names=names,
            dynamic_axes={name: {0: "batch"} for name in ("images", *names)},
            opset_version=OPSET,
            dynamo=False,
        )
    return content.getvalue()


class _WithoutNone(nn.Module):
    """A network that omits the output None of a missing head."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(output for output in self.model(images) if output is not None)
