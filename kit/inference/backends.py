"""What a network's forward runs on: torch, or its ONNX file in ONNX Runtime or OpenVINO, on a CPU in 32 bits.

The two are optional extras (`pip install 'kit[onnx]'`, `'kit[openvino]'`); nothing uses them unless it is told to.
"""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from kit.core.errors import KitError

if TYPE_CHECKING:  # it takes seconds, and a verb that only looks at names does without
    from torch import nn

BACKENDS = ("torch", "onnxruntime", "openvino")


def package(name: str) -> ModuleType:
    """An optional package.

    Raises:
        KitError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        extra = "openvino" if name == "openvino" else "onnx"
        raise KitError(f"{name}: is not installed: pip install 'kit[{extra}]'") from None


def check(backend: str) -> None:
    """Refuses a backend that is not known or not installed.

    Raises:
        KitError: so it is.
    """
    if backend not in BACKENDS:
        raise KitError(f"--backend {backend}: is not known: give one of {', '.join(BACKENDS)}")
    if backend != "torch":
        for name in ("onnx", "onnxruntime", backend):  # an ONNX file is checked by ONNX Runtime when it is made
            package(name)


def load(path: Path, backend: str) -> "nn.Module":
    """An ONNX file as a network.

    Args:
        path: Of `kit.inference.export`.
        backend: `onnxruntime` or `openvino`.
    """
    return onnxruntime_of(str(path)) if backend == "onnxruntime" else openvino_of(path)


def onnxruntime_of(model: str | bytes) -> "nn.Module":
    """A file, or its content, in ONNX Runtime."""
    import torch

    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return _answering(lambda images: session.run(None, {"images": images}))


def openvino_of(path: Path) -> "nn.Module":
    """A file in OpenVINO."""
    import torch

    core = package("openvino").Core()
    # Left to itself it computes in 16 bits where the processor can.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = core.compile_model(path, "CPU", settings)
    return _answering(lambda images: list(compiled(images).values()))


def _answering(run: Callable[[np.ndarray], Sequence[np.ndarray]]) -> "nn.Module":
    """A network that answers as `kit.networks.Segmenter` does."""
    import torch

    class Exported(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
            masks, *image = (torch.from_numpy(answer) for answer in run(images.numpy()))
            return masks, image[0] if image else None

    return Exported()
