"""Trained networks in 8 bits: their ONNX files quantised by NNCF, weights and activations, for OpenVINO on a CPU.

The ranges of activations are taken from images that the network was trained on. What 8 bits answer is not what torch
answers to a level: what that does to the Dice has to be measured (`kit.workflows.int8`).
"""

import io
import logging
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from kit.core.errors import KitError
from kit.core.files import present, read_bytes, sha256, write_bytes
from kit.core.store import key_of
from kit.inference import backends, export, predict
from kit.inference.predictions import Images
from kit.recipes.schema import Recipe

log = logging.getLogger(__name__)

CALIBRATION = 64
"""Images that the ranges are taken from."""


def path_of(weights: Path) -> Path:
    """Where the file of a network in 8 bits lies: beside its weights."""
    return weights.with_suffix(".int8.onnx")


def sample(rows: np.ndarray) -> np.ndarray:
    """Those of a network's training rows that it is calibrated on, evenly spread: always the same.

    >>> sample(np.arange(1000))[:3], len(sample(np.arange(1000))), sample(np.arange(3))
    (array([ 0, 16, 32]), 64, array([0, 1, 2]))
    """
    return rows[np.linspace(0, len(rows) - 1, min(CALIBRATION, len(rows))).round().astype(int)]


def ensure(weights: Path, recipe: Recipe, images: Images) -> Path:
    """The file of a network in 8 bits, made anew unless it is of these weights and images.

    Args:
        weights: Of a trained network.
        recipe: Of the network; its last stage says the size.
        images: To calibrate on; those that cannot be read are left out.

    Raises:
        KitError: the packages are missing, the weights are broken, or no image can be read.
    """
    size = recipe.stages[-1].size
    path, wanted = path_of(weights), f"{sha256(weights)} {size} {key_of(*images.keys).hex()}"
    if present(path) and export.made_from(path) == wanted:
        return path
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # NNCF looks for CUDA's compiler through it
    nncf, onnx = backends.package("nncf", "int8"), backends.package("onnx", "int8")
    logging.getLogger("nncf").setLevel(logging.ERROR)
    network = onnx.load_model_from_string(read_bytes(export.ensure(weights, recipe.network, size)))
    given = nncf.Dataset(_read(images, size))
    with redirect_stdout(io.StringIO()):  # it draws bars there
        found = nncf.quantize(network, given)
    onnx.helper.set_model_props(found, {export.KEY: wanted})
    write_bytes(path, found.SerializeToString())
    return path


def _read(images: Images, size: int) -> list[dict[str, np.ndarray]]:
    """What the network takes of each image that can be read: uint8 (1, 1, size, size)."""
    read = predict.batches(len(images.ids), lambda i: images.read(i, size), 8, "calibrating", lambda *_: None)
    found = [{"images": image[None, None]} for _, some in read for image in some]
    if not found:
        raise KitError("int8: none of the images that a network was trained on can be read: it cannot be calibrated")
    return found
