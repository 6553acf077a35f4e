"""Structure and speed of a network: the layers of Table 3, the blocks of Figure 7, parameters, times."""

import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from kit.competition import rle
from kit.recipes.schema import Recipe
from kit.report import summary
from kit.run import Run, Trained

if TYPE_CHECKING:
    import torch
    from torch import nn

SAMPLES = 100
"""Number of images whose prediction is timed, as in the paper."""
ACTIVATIONS = {"ReLU", "ReLU6", "SiLU", "Swish", "Hardswish", "Sigmoid", "GELU", "Hardsigmoid", "LeakyReLU"}
"""Class names of activations, which are shown by name; a skip connection is added before an activation at the end."""


def _run(recipe: Recipe, watch: Any) -> None:
    """Runs a recipe's network at the size of its last stage, on shapes alone.

    Args:
        recipe: A recipe without members.
        watch: Called with the network first, to register hooks.
    """
    import torch

    from kit import networks

    size = recipe.stages[-1].size
    network = networks.build(recipe.network, pretrained=False).eval().to("meta")
    watch(network.net)
    network(torch.zeros(1, 1, size, size, device="meta"))


def layers(recipe: Recipe) -> list[tuple[str, str, str]]:
    """Lists the layers of a U-Net with a ResNet as in the paper's Table 3, from the network itself.

    Returns:
        Name, output size and filters of each layer, for a decoder block the input and output filters. The list is
        empty for other networks.
    """
    shapes: dict[str, tuple[str, str]] = {}

    def note(name: str, module: "nn.Module", inputs: Any, output: "torch.Tensor") -> None:
        _, channels, height, width = output.shape
        first: Any = module.conv1 if name.startswith("Decoder") else None
        filters = f"{first[0].in_channels} → {channels}" if name.startswith("Decoder") else str(channels)
        shapes.setdefault(name, (f"{height}×{width}", "" if name == "MaxPool" else filters))  # a ReLU's first use

    def watch(net: Any) -> None:
        if recipe.network.architecture != "Unet" or not hasattr(net.encoder, "layer4"):
            return
        modules = {"Conv1": net.encoder.relu, "MaxPool": net.encoder.maxpool}
        modules |= {f"Encoder{i}": getattr(net.encoder, f"layer{i}") for i in range(1, 5)}
        modules |= {f"Decoder{i}": block for i, block in enumerate(net.decoder.blocks, 1)}
        for name, module in (modules | {"Conv2": net.segmentation_head}).items():
            module.register_forward_hook(partial(note, name))

    _run(recipe, watch)
    size = f"{recipe.stages[-1].size}×{recipe.stages[-1].size}"
    return [("Input", size, ""), *((name, *shape) for name, shape in shapes.items())] if shapes else []


class Step(NamedTuple):
    """One module of a block."""

    text: str
    input_shape: str
    """Height × width × channels."""
    output_shape: str


class Block(NamedTuple):
    """A building block that a network repeats."""

    title: str
    steps: list[Step]
    """The modules in order, and the skip connection as a step of its own, whose text begins with a plus."""


def blocks(recipe: Recipe) -> list[Block]:
    """Returns blocks of a recipe's network at the size of its last stage.

    Returns:
        The first block of the encoder that changes the shape of its input, the first that keeps it, and the first
        block of a U-Net's decoder, as far as they exist.
    """
    encoder: list[Block] = []
    decoder: list[Block] = []

    def watch(net: Any) -> None:
        for module in _repeated(net.encoder):
            _watch(module, encoder)
        if recipe.network.architecture == "Unet":
            _watch(net.decoder.blocks[0], decoder)

    _run(recipe, watch)
    changing = [block for block in encoder if block.steps[0].input_shape != block.steps[-1].output_shape]
    keeping = [block for block in encoder if block not in changing]
    kinds = {"encoder, to another shape": changing, "encoder, same shape": keeping, "decoder": decoder}
    return [kind[0]._replace(title=f"{title}: {kind[0].title}") for title, kind in kinds.items() if kind]


def _repeated(encoder: "nn.Module") -> "list[nn.Module]":
    """Returns the encoder's building blocks: the modules of the repeated class that holds most of its convolutions."""
    from torch import nn

    parts = [part for part in encoder.modules() if part is not encoder]
    convolutions = {
        part: sum(isinstance(inner, nn.Conv2d) for inner in part.modules())
        for part in parts
        if not isinstance(part, nn.Sequential | nn.ModuleList | nn.Conv2d)
    }
    count, held = Counter(map(type, convolutions)), Counter[type]()
    for part, number in convolutions.items():
        if number > 1 and count[type(part)] > 1:
            held[type(part)] += number
    [(kind, _)] = held.most_common(1)
    return [part for part in parts if type(part) is kind]


def _watch(block: "nn.Module", seen: list[Block]) -> None:
    """Registers hooks that add the block to `seen` when it is called."""
    steps: list[Step] = []
    skip: list[Step] = []

    def note_step(path: list[Step], text: str, module: "nn.Module", inputs: Any, output: "torch.Tensor") -> None:
        path.append(Step(text, _shape(inputs[0]), _shape(output)))

    def note_block(module: "nn.Module", inputs: Any, named: dict[str, Any], output: "torch.Tensor") -> None:
        shape = _shape(next(iter([*inputs, *named.values()])))
        seen.append(Block(type(module).__name__, _in_order(steps, skip, shape, _shape(output))))

    for name, module in block.named_modules():
        if text := _text(module):
            path = skip if name.startswith("downsample") else steps
            module.register_forward_hook(partial(note_step, path, text))
    block.register_forward_hook(note_block, with_kwargs=True)


def _in_order(steps: list[Step], skip: list[Step], input_shape: str, output_shape: str) -> list[Step]:
    """Adds to a block's steps its skip connection and, for a decoder block, up-sampling and concatenation."""
    first_input, ordered = steps[0].input_shape, [*steps]
    if skip or input_shape == output_shape:
        position = len(ordered) - (ordered[-1].text in ACTIVATIONS)
        text = f"+ {', '.join(step.text for step in skip) or 'input'}"
        ordered.insert(position, Step(text, input_shape, output_shape))
    return ordered if first_input == input_shape else [*_up_sampling(input_shape, first_input), *ordered]


def _up_sampling(input_shape: str, output_shape: str) -> Iterator[Step]:
    channels, joined = (int(shape.split("×")[2]) for shape in (input_shape, output_shape))
    enlarged = f"{output_shape.rpartition('×')[0]}×{channels}"
    yield Step("up-sampling 2×2", input_shape, enlarged)
    if joined > channels:
        yield Step(f"with {joined - channels} of the encoder", enlarged, output_shape)


def _text(module: "nn.Module") -> str:
    """Names a module in the figure; empty for modules that are not shown."""
    from torch import nn

    if isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        groups = f", {module.groups} groups" if module.groups > 1 else ""
        stride = f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
        return f"convolution {height}×{width}{groups}{stride}"
    if isinstance(module, nn.BatchNorm2d):
        return "batch normalisation"
    return name if (name := type(module).__name__) in ACTIVATIONS else ""


def _shape(tensor: "torch.Tensor") -> str:
    _, channels, height, width = tensor.shape
    return f"{height}×{width}×{channels}"


def parameters(recipe: Recipe) -> int:
    """Returns the number of trainable parameters."""
    from kit import networks

    return sum(weights.numel() for weights in networks.build(recipe.network, pretrained=False).parameters())


def minutes_an_epoch(run: Run, number: int) -> float | None:
    """Returns the mean time of an epoch of a stage over the trained folds; None if no fold is trained."""
    folds = [fold for fold, stage in run.finished_stages() if stage == number]
    seconds = [summary.metrics(run, fold, number).seconds.dropna().to_numpy() for fold in folds]
    return float(np.concatenate(seconds).mean()) / 60 if seconds else None


def milliseconds(run: Run, recipe: Recipe, paths: list[Path]) -> float:
    """Measures the mean time from a DICOM file to its RLE text by one network with TTA, one image at a time.

    Args:
        run: A run with weights and thresholds.
        recipe: Recipe of the run, without members.
        paths: Paths of the images; the first one is predicted once more beforehand, as a warm-up.
    """
    from kit.inference.model import Model

    weights = {recipe.label: run.final_weights(recipe)[:1]}
    model, spent = Model.load(Trained(recipe, weights, run.thresholds)), []
    for path in [paths[0], *paths]:
        start = time.perf_counter()
        rle.encode(model.predict(path).mask)
        spent.append(time.perf_counter() - start)
    return 1000 * sum(spent[1:]) / len(paths)


def device() -> str:
    """Describes the device that this machine computes on."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"a CPU, {torch.get_num_threads()} threads"
