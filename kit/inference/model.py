"""A trained recipe as one object: the networks of all its members, their mean, their gate, and the rule for masks.

Every prediction passes here: in a notebook, of test images, out of fold, and in a kernel.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar, overload

import cv2
import numpy as np
import torch
from torch import nn

from kit import networks
from kit.competition import pictures, rle
from kit.core import allocator
from kit.core.arrays import save_array
from kit.core.errors import KitError, printable
from kit.core.files import write_bytes, write_text
from kit.data.resize import resize_image
from kit.inference import ensemble, model_file, thresholds_file
from kit.inference.ensemble import Stack
from kit.inference.maps import PROBABILITIES, mean_map, to_levels, upsample
from kit.inference.rules import Rule
from kit.recipes.schema import Recipe
from kit.run import Run, Trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes

T = TypeVar("T")
AUTOCAST = {"auto": torch.float16, "16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}
"""Autocast type on a GPU for each `precision` of a recipe; other precisions, and CPUs, predict in 32 bits."""
Picture = np.ndarray | Path | str
"""An image: grey levels, uint8 (H, W), bright where the body is dense; colours, uint8 (H, W, 3) or (H, W, 4); or the
path to a DICOM file or a picture."""


class Map(NamedTuple):
    """The prediction of an image that a rule turns into a mask."""

    levels: np.ndarray
    """uint8 (size, size), level v for p = v / 255, at the networks' largest size; shape (0, 0) from a classifier."""
    image_probability: float | None
    """P(the image has any pneumothorax); None without classifiers."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """A model's prediction for an image of H×W pixels. It can be unpacked: `probability, mask = prediction`."""

    pixels: np.ndarray
    """The image, uint8 (H, W)."""
    probability: np.ndarray
    """Probability that each pixel belongs to a pneumothorax, float32 (H, W) in [0, 1], in steps of 1/255."""
    mask: np.ndarray
    """Mask by the rule and the thresholds of the run, bool (H, W); empty if no pneumothorax is found."""

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self.probability, self.mask))

    def __repr__(self) -> str:
        height, width = self.mask.shape
        mask = f"mask of {np.count_nonzero(self.mask)} pixels ({self.mask.mean():.1%})"
        return f"Prediction of {height}×{width} pixels: {mask}, highest probability {self.probability.max():.2f}"

    @property
    def rle(self) -> str:
        """The mask in the competition's run-length encoding: gap and length of each run, or -1."""
        return rle.encode(self.mask)

    def save(self, path: Path | str) -> None:
        """Writes the mask as a picture, white on black (.png), the mask as RLE text (.txt), or the probability (.npy).

        Raises:
            KitError: the name has another ending, or the file cannot be written.
        """
        path = Path(path)
        if path.suffix == ".png":
            write_bytes(path, cv2.imencode(".png", self.mask * np.uint8(255))[1].tobytes())
        elif path.suffix == ".txt":
            write_text(path, f"{self.rle}\n")
        elif path.suffix == ".npy":
            save_array(path, self.probability)
        else:
            raise KitError(f"{printable(path)}: end the name with .png (mask), .txt (its RLE) or .npy (probability)")

    def plot(self, axes: "Axes | None" = None) -> "Axes":
        """Draws the image and the outline of the mask on matplotlib axes, by default new ones; returns the axes."""
        if axes is None:
            from matplotlib import pyplot

            axes = pyplot.subplots()[1]
        axes.imshow(self.pixels, cmap="gray", vmin=0, vmax=255)
        if self.mask.any():
            axes.contour(self.mask, levels=[0.5], colors=["#ea580c"], linewidths=1.5)
        axes.set_axis_off()
        return axes


@dataclass(frozen=True)
class Model:
    """Everything that a trained recipe predicts with. `predict` decides the mask of each image by that image alone.

    Where `threshold.transfer` is `share`, the number of masks in a whole test set is fixed instead: a caller that has
    the whole set passes `share` to `MaskEncoder`.
    """

    recipe: Recipe
    models: dict[str, list[nn.Module]]
    """Networks to average, by the label of the part of the recipe that they belong to."""
    rule: Rule | None
    """Turns a map into a mask; None if no thresholds were chosen yet."""
    share: float | None = None
    """Share of the images of a whole test set that get a mask; None: the rule's own thresholds decide."""
    stacks: Mapping[bool, Stack] = field(default_factory=dict)
    """Stacks of the classifiers' probabilities, with TTA (True) and without; empty without several classifiers."""
    mirrored: bool = True
    """Whether TTA is used where the recipe asks for it."""
    half: bool = True
    """Whether a GPU computes in the recipe's precision; if false, in 32 bits."""

    def __repr__(self) -> str:
        count, sizes = sum(map(len, self.models.values())), ", ".join(map(str, sorted(self.sizes)))
        rule = "no rule yet" if self.rule is None else f"rule {self.rule.name}"
        return f"Model {self.recipe.name}: {count} networks at {sizes} px, {rule}"

    @classmethod
    def load(
        cls,
        run: Trained | Run | Path | str,
        device: torch.device | str | None = None,
        *,
        maps_only: bool = False,
    ) -> "Model":
        """Loads a trained run, or a model file.

        Args:
            run: Path to the run's folder, such as `runs/demo/demo`, or the run itself; or path to a file written by
                `save`.
            device: Device to compute on; default: the GPU of this process, else the CPU.
            maps_only: Leave out the rule, which may not have been chosen yet.

        Raises:
            KitError: the folder holds no run, the run lacks its thresholds, or a file of it is missing or broken.
        """
        if isinstance(run, Path | str) and Path(run).suffix == ".safetensors":
            allocator.keep_freed_memory()
            return cls(*model_file.read(Path(run), _device(device)))
        if isinstance(run, Path | str):
            run = Run(Path(run))
        trained = run.trained(run.read_recipe()) if isinstance(run, Run) else run
        recipe = trained.recipe
        models = {part.label: load_networks(part, trained.weights[part.label], device) for part in recipe.parts()}
        chosen = None if maps_only else thresholds_file.read(trained.thresholds)
        rule, share = (chosen.rule, chosen.share) if chosen else (None, None)
        classifiers = [part.label for part in recipe.members_that("classify")]
        stacks = {tta: ensemble.read_stack(path, classifiers) for tta, path in trained.stacks.items()}
        return cls(recipe, models, rule, share, stacks)

    def save(self, path: Path | str) -> None:
        """Writes the whole model as one .safetensors file, which `load` opens.

        Raises:
            KitError: the name has another ending, the model has no rule yet, or the file cannot be written.
        """
        if Path(path).suffix != ".safetensors":
            raise KitError(f"{printable(path)}: end the name of a model file with .safetensors")
        if self.rule is None:
            raise KitError(f"{printable(path)}: the model has no rule yet: choose one first, with `make thresholds`")
        content = model_file.Content(self.recipe, self.models, self.rule, self.share, self.stacks)
        model_file.write(Path(path), content)

    def to(self, device: torch.device) -> "Model":
        """A copy of the model on another device; the networks are copied one at a time."""
        copies = {label: [copy.deepcopy(net).to(device) for net in models] for label, models in self.models.items()}
        return replace(self, models=copies)

    @property
    def sizes(self) -> set[int]:
        """Input sizes of the networks, in pixels per side."""
        return {part.stages[-1].size for part in self.recipe.parts()}

    @property
    def batch_size(self) -> int:
        """The largest batch size among the members."""
        return max(part.stages[-1].batch_size for part in self.recipe.parts())

    def resized(self, pixels: np.ndarray) -> dict[int, np.ndarray]:
        """Resizes an image, uint8 (H, W), to each of `sizes`: uint8 (size, size)."""
        return {size: resize_image(pixels, size) for size in self.sizes}

    def maps(self, images: Iterable[np.ndarray]) -> Iterator[Map]:
        """Yields the map of each image, uint8 (H, W) of any size."""
        for batch in _batches(images, self.batch_size):
            yield from self.inputs([self.resized(pixels) for pixels in batch])

    def inputs(self, images: Sequence[Mapping[int, np.ndarray]]) -> Iterator[Map]:
        """Yields the map of each image of a batch, with TTA if the recipe asks for it.

        Args:
            images: Each image at all `sizes`, uint8 (size, size). For up to `batch_size` images, each member computes
                batches of the size of its training; for more, proportionally larger ones.
        """
        tta = self.recipe.tta and self.mirrored
        return self._combine(self._member_probabilities(images, mirrored=tta), tta=tta)

    def answers(
        self, images: Sequence[Mapping[int, np.ndarray]], *, mirrored: bool = True
    ) -> Iterator[tuple[Map, ...]]:
        """Yields the maps of each image of a batch: without TTA and, if the mirror images are predicted, with it."""
        members = self._member_probabilities(images, mirrored=mirrored)
        return zip(*(self._combine(members, tta=tta) for tta in ((False, True) if mirrored else (False,))), strict=True)

    def _member_probabilities(
        self, images: Sequence[Mapping[int, np.ndarray]], *, mirrored: bool
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Returns the `probabilities` of each part of the recipe."""
        answers = []
        scale = math.ceil(len(images) / self.batch_size)
        for part in self.recipe.parts():
            stage = part.stages[-1]
            resized = np.stack([image[stage.size] for image in images])  # (B, size, size)
            batches = np.split(resized, range(stage.batch_size * scale, len(resized), stage.batch_size * scale))
            models = self.models[part.label]
            both = [probabilities(models, batch, part, mirrored=mirrored, half=self.half) for batch in batches]
            plain, averaged = (torch.cat(tensors) for tensors in zip(*both, strict=True))
            answers.append((plain, averaged))
        return answers

    def _combine(self, members: Sequence[tuple[torch.Tensor, torch.Tensor]], *, tta: bool) -> Iterator[Map]:
        """Yields the map of each image from the probabilities of all parts."""
        by_role: dict[str, list[np.ndarray]] = {"segment": [], "classify": []}
        for part, both in zip(self.recipe.parts(), members, strict=True):
            by_role[part.role].append(both[tta].cpu().numpy())
        maps = [to_levels(answer) for answer in by_role["segment"]]
        means = (
            (mean_map(levels, self.recipe.weights) for levels in zip(*maps, strict=True))
            if maps
            else repeat(np.empty((0, 0), np.uint8))
        )
        if stack := self.stacks.get(tta):
            stacked = stack.probability(np.stack(by_role["classify"], axis=1))
            return map(Map, means, map(float, stacked))
        return map(Map, means, repeat(None) if maps else map(float, by_role["classify"][0]))

    @overload
    def predict(self, images: Path | str) -> Prediction: ...  # type: ignore[overload-overlap]  # a str is a Sequence

    @overload
    def predict(self, images: np.ndarray) -> Prediction | list[Prediction]: ...

    @overload
    def predict(self, images: Sequence[Picture]) -> list[Prediction]: ...

    def predict(self, images: Picture | Sequence[Picture]) -> Prediction | list[Prediction]:
        """Predicts probability and mask of one or several images, each at its own size.

        Args:
            images: One image: uint8 (H, W) or (H, W, 1); uint8 (H, W, 3), or (H, W, 4) with alpha, of which the
                luminance is used; or the path to a DICOM file or a picture. Several: uint8 (N, H, W), or a sequence of
                arrays and paths.

        Returns:
            A `Prediction` for one image, a list of them for several.

        Raises:
            KitError: a file cannot be read, or an array has another shape or type.
        """
        if isinstance(images, Path | str) or (
            isinstance(images, np.ndarray) and (images.ndim == 2 or _has_channels(images))
        ):
            return next(self._predictions([images]))
        return list(self._predictions(images))

    def _predictions(self, images: Iterable[Picture]) -> Iterator[Prediction]:
        for batch in _batches(map(_pixels, images), self.batch_size):
            for pixels, (levels, probability) in zip(batch, self.maps(batch), strict=True):
                full, rule = upsample(levels, pixels.shape), self.rule
                assert rule is not None, "a model that is loaded has a rule"
                yield Prediction(pixels, PROBABILITIES.astype(np.float32)[full], rule.mask(full, probability))


load = Model.load


@torch.inference_mode()
def probabilities(
    models: Sequence[nn.Module], images: np.ndarray, recipe: Recipe, *, mirrored: bool = True, half: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the networks' mean probability of each pixel, or with `classify`, that the image has any pneumothorax.

    Images and their mirror images go through a network as one batch (paper section 4.3).

    Args:
        models: Networks in evaluation mode, on one device.
        images: uint8 (B, H, W).
        recipe: The networks' recipe, for its role, precision and `image_evidence`.
        mirrored: Whether to predict the mirror images as well; if false, both results are without TTA.
        half: Whether a GPU computes in the recipe's precision; if false, in 32 bits.

    Returns:
        Two float32 tensors (B, H, W), with `classify` (B,), in [0, 1], on the models' device: without TTA, and averaged
        with the mirror images.

    Raises:
        KitError: a network returns NaN.
    """
    device = next(models[0].parameters()).device
    batch = torch.from_numpy(images)[:, None].to(device)  # (B, 1, H, W)
    both = torch.cat([batch, batch.flip(-1)]) if mirrored else batch  # (2B or B, 1, H, W)
    mean = torch.zeros((), device=device)
    for model in models:
        precision = AUTOCAST.get(recipe.precision) if half and device.type == "cuda" else None
        with torch.autocast(device.type, precision, enabled=precision is not None):
            masks, image = model(both)
        if recipe.role == "classify":
            probability = image.float().sigmoid()  # (2B,)
        else:
            probability = networks.pixel_probabilities(masks, image if recipe.image_evidence else None)[:, 0]
        mean = mean + probability / len(models)
    if not mean.isfinite().all():
        raise KitError(
            f"{recipe.name}: a network answers with NaN: train it again with a lower learning_rate, or with "
            "SET='precision=32-true'"
        )
    plain, mirror = mean.chunk(2) if mirrored else (mean, mean)
    if recipe.role == "segment" and mirrored:
        mirror = mirror.flip(-1)
    return plain, (plain + mirror) / 2


def load_networks(recipe: Recipe, weights: Sequence[Path], device: torch.device | str | None = None) -> list[nn.Module]:
    """Loads networks ready to predict, one for each file of weights.

    Args:
        device: Device to compute on; default: the GPU of this process, else the CPU.

    Raises:
        KitError: a file is missing, broken or of another network.
    """
    allocator.keep_freed_memory()
    device = _device(device)
    return [
        networks.load_weights(networks.build(recipe.network, pretrained=False), path).to(device).eval()
        for path in weights
    ]


def _device(device: torch.device | str | None) -> torch.device | str:
    if device is not None:
        return device
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


def _has_channels(image: np.ndarray) -> bool:
    """Whether an array is one picture with one, three or four channels, rather than radiographs so few pixels wide."""
    return image.ndim == 3 and image.shape[2] in (1, 3, 4)


def _pixels(image: Picture) -> np.ndarray:
    """Returns the grey levels of an image, uint8 (H, W)."""
    if isinstance(image, Path | str):
        if Path(image).is_dir():
            raise KitError(f"predict: {printable(image)} is a folder: give a list of its files")
        return pictures.read_image(image).pixels
    if isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size:
        if image.ndim == 2:
            return image
        if _has_channels(image):
            return image[..., 0] if image.shape[2] == 1 else pictures.luminance(image)
    what = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise KitError(
        f"predict: an image is {what}: give grey levels as uint8 (height, width), colours as (height, width, 3), or "
        "the path of a DICOM file or a picture"
    )
