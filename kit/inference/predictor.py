"""A trained run as a function of pixels, for notebooks and other programs."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np

from kit.competition import dicom
from kit.core.errors import KitError
from kit.data.resize import resize_image
from kit.inference import rules, system
from kit.inference.maps import PROBABILITIES, upsample
from kit.inference.rules import Rule
from kit.inference.system import System
from kit.run import Run

Image = np.ndarray | Path | str
"""Grey levels, uint8 (H, W), bright where the body is dense; or the path of a DICOM file."""


class Prediction(NamedTuple):
    """What a run finds on an image of H×W pixels."""

    probability: np.ndarray
    """float32 (H, W) in [0, 1], in steps of 1/255: that each pixel belongs to a pneumothorax."""
    mask: np.ndarray
    """bool (H, W): by the rule and the thresholds of the run; empty where it finds nothing."""


class Predictor:
    """The networks of a run and its rule, loaded once.

    Each mask depends on its own image alone, also where the run lets a whole test set decide how many images get one.

    Args:
        networks: Of the run.
        rule: From a map to a mask.
    """

    def __init__(self, networks: System, rule: Rule) -> None:
        self._system, self._rule = networks, rule

    @overload
    def predict(self, images: Path | str) -> Prediction: ...  # type: ignore[overload-overlap]  # a str is a Sequence

    @overload
    def predict(self, images: np.ndarray) -> Prediction | list[Prediction]: ...

    @overload
    def predict(self, images: Sequence[Image]) -> list[Prediction]: ...

    def predict(self, images: Image | Sequence[Image]) -> Prediction | list[Prediction]:
        """Probability and mask of one image or of many, each at its own size.

        Args:
            images: One image: uint8 (H, W), or a DICOM file. Many: uint8 (N, H, W), or a sequence of arrays and files.

        Returns:
            A `Prediction` for one image, a list of them for many.

        Raises:
            KitError: a file cannot be read, or an array is not of grey levels.
        """
        if isinstance(images, Path | str) or (isinstance(images, np.ndarray) and images.ndim == 2):
            return next(self._batch([images]))
        size = self._system.batch_size
        batches = (images[start : start + size] for start in range(0, len(images), size))
        return [prediction for batch in batches for prediction in self._batch(batch)]

    def _batch(self, images: Sequence[Image] | np.ndarray) -> Iterator[Prediction]:
        pixels = [_pixels(image) for image in images]
        resized = [{size: resize_image(image, size) for size in self._system.sizes} for image in pixels]
        for image, (levels, probability) in zip(pixels, self._system.inputs(resized), strict=True):
            full = upsample(levels, image.shape)
            yield Prediction(PROBABILITIES.astype(np.float32)[full], self._rule.mask(full, probability))


def load(run: Run | Path | str) -> Predictor:
    """Loads a trained run, on the GPU where there is one.

    Args:
        run: Its folder, such as `runs/demo/demo`.

    Raises:
        KitError: the folder holds no run, it is not trained to its thresholds, or a file of it is broken.
    """
    run = run if isinstance(run, Run) else Run(Path(run))
    trained = run.trained(run.read_recipe())
    return Predictor(system.load(trained), rules.read(trained.thresholds))


def _pixels(image: Image) -> np.ndarray:
    if isinstance(image, Path | str):
        return dicom.read(image).pixels
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 2 or not image.size:
        found = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise KitError(f"predict: an image is {found}: give grey levels as uint8 (height, width), or a DICOM file")
    return image
