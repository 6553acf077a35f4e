"""What a network is made of and how long it takes: Table 3, the blocks of Figure 7, parameters, an epoch, a sample."""

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
"""Images whose prediction is timed, as in the paper."""
ACTIVATIONS = {"ReLU", "ReLU6", "SiLU", "Swish", "Hardswish", "Sigmoid", "GELU", "Hardsigmoid", "LeakyReLU"}
"""Names of modules that are shown by them. What is added comes before one that ends a block."""


def _run(recipe: Recipe, watch: Any) -> None:
    """Runs a recipe's network at the size of its last stage, for shapes alone.

    Args:
        recipe: Without members.
        watch: Called with the network beforehand, to put hooks on it.
    """
    import torch

    from kit import networks

    size = recipe.stages[-1].size
    network = networks.build(recipe.network, pretrained=False).eval().to("meta")
    watch(network.net)
    network(torch.zeros(1, 1, size, size, device="meta"))


def layers(recipe: Recipe) -> list[tuple[str, str, str]]:
    """The layers of a U-Net with a ResNet, as the paper's Table 3 lists them, from the network itself.

    Returns:
        Name, output size and filters of each; of a decoder's block the filters that come in and go out. An empty
        list for networks whose parts have other names.
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
        named = {"Conv1": net.encoder.relu, "MaxPool": net.encoder.maxpool}
        named |= {f"Encoder{i}": getattr(net.encoder, f"layer{i}") for i in range(1, 5)}
        named |= {f"Decoder{i}": block for i, block in enumerate(net.decoder.blocks, 1)}
        for name, module in (named | {"Conv2": net.segmentation_head}).items():
            module.register_forward_hook(partial(note, name))

    _run(recipe, watch)
    size = f"{recipe.stages[-1].size}×{recipe.stages[-1].size}"
    return [("Input", size, ""), *((name, *shape) for name, shape in shapes.items())] if shapes else []


class Step(NamedTuple):
    """What one module of a block does."""

    text: str
    given: str
    """Shape of what comes in: height × width × channels."""
    shape: str
    """Shape of what it gives."""


class Block(NamedTuple):
    """A part of a network that it repeats."""

    title: str
    steps: list[Step]
    """What goes around them is a step of its own, where it is added; its text begins with a plus."""


def blocks(recipe: Recipe) -> list[Block]:
    """Blocks of a recipe's network at the size of its last stage.

    Returns:
        Of the encoder the first block that changes its input's shape and the first that keeps it, as far as there are
        such; and the first block of a U-Net's decoder.
    """
    encoder: list[Block] = []
    decoder: list[Block] = []

    def watch(net: Any) -> None:
        for module in _repeated(net.encoder):
            _watch(module, encoder)
        if recipe.network.architecture == "Unet":
            _watch(net.decoder.blocks[0], decoder)

    _run(recipe, watch)
    changing = [block for block in encoder if block.steps[0].given != block.steps[-1].shape]
    keeping = [block for block in encoder if block.steps[0].given == block.steps[-1].shape]
    named = {"encoder, to another shape": changing, "encoder, same shape": keeping, "decoder": decoder}
    return [found[0]._replace(title=f"{title}: {found[0].title}") for title, found in named.items() if found]


def _repeated(encoder: "nn.Module") -> "list[nn.Module]":
    """The blocks that the encoder is made of: modules of the class that holds most of its convolutions."""
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
    """Notes what a block does when it is called next."""
    steps: list[Step] = []
    around: list[Step] = []

    def step(text: str, aside: bool, module: "nn.Module", inputs: Any, output: "torch.Tensor") -> None:
        (around if aside else steps).append(Step(text, _shape(inputs[0]), _shape(output)))

    def end(module: "nn.Module", inputs: Any, named: dict[str, Any], output: "torch.Tensor") -> None:
        given = _shape(next(iter([*inputs, *named.values()])))
        seen.append(Block(type(module).__name__, _in_order(steps, around, given, _shape(output))))

    for name, module in block.named_modules():
        if text := _text(module):
            module.register_forward_hook(partial(step, text, name.startswith("downsample")))
    block.register_forward_hook(end, with_kwargs=True)


def _in_order(steps: list[Step], around: list[Step], given: str, shape: str) -> list[Step]:
    """The steps of a block, with what it does before them, and with what goes around them where that is added."""
    entering, found = steps[0].given, [*steps]
    if around or given == shape:
        place = len(found) - (found[-1].text in ACTIVATIONS)
        found.insert(place, Step(f"+ {', '.join(step.text for step in around) or 'input'}", given, shape))
    # A decoder's block enlarges, and joins what the encoder has of that size.
    return found if entering == given else [*_joining(given, entering), *found]


def _joining(given: str, entering: str) -> Iterator[Step]:
    channels, joined = (int(shape.split("×")[2]) for shape in (given, entering))
    enlarged = f"{entering.rpartition('×')[0]}×{channels}"
    yield Step("up-sampling 2×2", given, enlarged)
    if joined > channels:
        yield Step(f"with {joined - channels} of the encoder", enlarged, entering)


def _text(module: "nn.Module") -> str:
    """What a module is called in the figure; empty for what is not shown."""
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
    """Number of trainable parameters."""
    from kit import networks

    return sum(weights.numel() for weights in networks.build(recipe.network, pretrained=False).parameters())


def minutes_an_epoch(run: Run, number: int) -> float | None:
    """Mean time of an epoch of a stage, over the folds that are trained; None where none is."""
    folds = [fold for fold, stage in run.finished_stages() if stage == number]
    seconds = [summary.metrics(run, fold, number).seconds.dropna().to_numpy() for fold in folds]
    return float(np.concatenate(seconds).mean()) / 60 if seconds else None


def milliseconds(run: Run, recipe: Recipe, paths: list[Path]) -> float:
    """Mean time from a DICOM file to its RLE text by one network with TTA, an image at a time.

    Args:
        run: With weights and thresholds.
        recipe: Of the run; without members.
        paths: The first of them is predicted once more beforehand.
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
    """What this machine computes on."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"a CPU, {torch.get_num_threads()} threads"
