"""What a network's forward runs on: torch, or its ONNX file in ONNX Runtime or OpenVINO, on a CPU in 32 bits.

Their packages are optional, extras of the kit in pyproject.toml; nothing uses them unless it is told to. Left to
themselves, they tell their makers' servers of their use; here they do not.
"""

import importlib
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from kit.core.errors import KitError

if TYPE_CHECKING:  # it takes seconds, and a verb that only looks at names does without
    from torch import nn

BACKENDS = ("torch", "onnxruntime", "openvino")
EXTRAS = {"onnx": "onnx onnxruntime", "openvino": "onnx onnxruntime openvino"}
"""The packages of each extra: by name, since the index knows another project that is called kit. ONNX Runtime checks an
ONNX file when it is made."""


def package(name: str, extra: str = "onnx") -> ModuleType:
    """An optional package."""
    _disable_telemetry()
    try:
        return importlib.import_module(name)
    except ImportError:
        raise KitError(f"{name}: is not installed: pip install {EXTRAS[extra]} into the kit's environment") from None


def _disable_telemetry() -> None:
    """Turns off the reports of use, before the first import.

    ONNX Runtime would leave a database of events in the home folder and a thread that sends them; OpenVINO an id of the
    machine, through a package that is optional to it.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as if it were not installed


def check(backend: str) -> None:
    """Refuses a backend that is not known or not installed.

    Raises:
        KitError: the backend is not known, or its packages are not installed.
    """
    if backend not in BACKENDS:
        raise KitError(f"--backend {backend}: is not known: give one of {', '.join(BACKENDS)}")
    if backend != "torch":
        extra = "onnx" if backend == "onnxruntime" else backend
        for name in EXTRAS[extra].split():
            package(name, extra)


def onnxruntime_of(model: str | bytes) -> "nn.Module":
    """A file, or its content, in ONNX Runtime."""
    import torch

    runtime = package("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return _answering(lambda images: session.run(None, {"images": images}))


def openvino_of(path: str) -> "nn.Module":
    """A file in OpenVINO."""
    import torch

    core = package("openvino", "openvino").Core()
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
