"""Trained networks as ONNX files, which other programs run: opset 17, any number of images at once.

Input `images`: grey levels, uint8 (B, 1, size, size). Outputs: `masks`, logits float32 (B, 1, size, size), and of a
network with an image-level head `image`, logits float32 (B,). Normalisation is inside.
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
    """An optional package: `onnx`, by which torch writes a file, or `onnxruntime`, by which it is checked."""
    # Left to itself it leaves a database of events in the home folder and a thread that sends them to its makers.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    try:
        return importlib.import_module(name)
    except ImportError:
        raise KitError(f"{name}: is not installed: pip install onnx onnxruntime into the kit's environment") from None


def ensure(weights: Path, network: Network, size: int) -> Path:
    """The ONNX file beside a file of weights, made anew unless it is of these weights.

    Args:
        size: Pixels a side of the images that it takes.

    Raises:
        KitError: the packages are missing, the weights are broken, or the file answers otherwise than torch.
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
    """The most levels by which two networks' maps of noise differ, with one image at once and with three.

    Args:
        exported: From images, uint8 (B, 1, size, size), to logits of the same shape.
    """
    largest = 0
    for count in (1, 3):
        noise = np.random.default_rng(count).integers(0, 256, (count, 1, size, size), np.uint8)
        with torch.inference_mode():
            logits = model(torch.from_numpy(noise))[0], torch.from_numpy(exported(noise))
            one, two = (to_levels(answer.sigmoid().numpy()) for answer in logits)
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
