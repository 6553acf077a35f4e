"""The paper's Figure 7 from the network itself: the blocks of its encoder and of its decoder, step by step."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from matplotlib.axes import Axes

from kit.recipes.schema import Recipe
from kit.report import figures
from kit.report.figures import INK, MUTED, Figure

if TYPE_CHECKING:
    import torch

ROW, WIDTH, MIDDLE, LEFT = 0.36, 4.4, 3.1, 1.0
"""Inches of a step and of a block, and where in it the steps and the way around them stand."""
FRAME = {"boxstyle": "round,pad=0.3", "facecolor": "none", "edgecolor": MUTED, "linewidth": 0.8}
ARROW = {"arrowstyle": "->", "color": MUTED, "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}


class Step(NamedTuple):
    """What one module of a block does."""

    text: str
    shape: str
    """What it gives: height × width × channels."""


class Block(NamedTuple):
    """A part of a network that it repeats."""

    title: str
    given: str
    """The shape of what comes in."""
    steps: list[Step]
    shortcut: list[Step] | None
    """What goes around the steps and is added to them; no step of its own for what is added as it is; None: nothing."""
    joined: int
    """How many of the steps come before the sum."""


def of(recipe: Recipe) -> list[Block]:
    """Blocks of a recipe's network at the size of its last stage.

    Returns:
        Of the encoder the first block that changes its input's shape and the first that keeps it, as far as there are
        such; and the first block of a U-Net's decoder.
    """
    import torch

    from kit import networks

    size = recipe.stages[-1].size
    network = networks.build(recipe.network, pretrained=False).eval().to("meta")  # shapes alone
    seen: list[Block] = []
    repeated = _repeated(network.net.encoder)
    for module in repeated:
        _watch(module, type(module).__name__, seen)
    if recipe.network.architecture == "Unet":
        _watch(network.net.decoder.blocks[0], type(network.net.decoder.blocks[0]).__name__, seen)
    network(torch.zeros(1, 1, size, size, device="meta"))
    encoder, decoder = seen[: len(repeated)], seen[len(repeated) :]
    changing = [block for block in encoder if block.given != block.steps[-1].shape]
    keeping = [block for block in encoder if block.given == block.steps[-1].shape]
    named = ((changing, "encoder, to another shape"), (keeping, "encoder, same shape"), (decoder, "decoder"))
    return [found[0]._replace(title=f"{title}\n{found[0].title}") for found, title in named if found]


def _repeated(encoder: "torch.nn.Module") -> "list[torch.nn.Module]":
    """The blocks that the encoder is made of: modules of the class that holds most of its convolutions."""
    from torch import nn

    convolutions = {
        module: sum(isinstance(part, nn.Conv2d) for part in module.modules())
        for module in encoder.modules()
        if module is not encoder and not isinstance(module, nn.Sequential | nn.ModuleList | nn.Conv2d)
    }
    count = Counter(type(module) for module in convolutions)
    held: Counter[type] = Counter()
    for module, number in convolutions.items():
        if number > 1 and count[type(module)] > 1:
            held[type(module)] += number
    [(kind, _)] = held.most_common(1)
    return [module for module in encoder.modules() if type(module) is kind]


def _watch(block: "torch.nn.Module", title: str, seen: list[Block]) -> None:
    """Notes what a block does when it is called next, as a `Block`."""
    steps: list[tuple[bool, list[str]]] = []  # of the shortcut or not; text, shape of the input, shape
    whole: tuple[str, ...] = ()
    for name, module in block.named_modules():
        text = "" if name.startswith(whole) else _text(module)
        if type(module).__name__ in GATES:
            whole += (f"{name}.",)  # what is inside goes around, too
        if text:
            aside = name.startswith("downsample")

            def begun(module: "torch.nn.Module", inputs: Any, text: str = text, aside: bool = aside) -> None:
                steps.append((aside, [text, _shape(inputs[0]), ""]))

            def ended(module: "torch.nn.Module", inputs: Any, output: "torch.Tensor", text: str = text) -> None:
                next(note for _, note in reversed(steps) if note[0] == text and not note[2])[2] = _shape(output)

            module.register_forward_pre_hook(begun)
            module.register_forward_hook(ended)
    block.register_forward_hook(partial(_note, title, steps, seen), with_kwargs=True)


def _note(
    title: str,
    steps: list[tuple[bool, list[str]]],
    seen: list[Block],
    block: "torch.nn.Module",
    inputs: tuple[Any, ...],
    named: dict[str, Any],
    output: "torch.Tensor",
) -> None:
    given = _shape(next(iter([*inputs, *named.values()])))
    own = [Step(text, shape) for aside, (text, _, shape) in steps if not aside]
    if not _shape(output).startswith(POINT):
        own = _with_excitation(own)
    around = [Step(text, shape) for aside, (text, _, shape) in steps if aside]
    entering = next(before for aside, (_, before, _) in steps if not aside)
    if entering != given:  # a decoder's block enlarges, and joins what the encoder has of that size
        own = [*_joining(given, entering), *own]
    keeps = given == _shape(output)
    last = len(own) - (own[-1].text in ACTIVATIONS)
    seen.append(Block(title, given, own, around if around else [] if keeps else None, last))


def _with_excitation(steps: list[Step]) -> list[Step]:
    """Steps with one in the place of those on the mean of the image, which multiply what was there before."""
    found: list[Step] = []
    for step in steps:
        if not step.shape.startswith(POINT):
            found.append(step)
        elif found and found[-1].text != EXCITED:
            found.append(Step(EXCITED, found[-1].shape))
    return found


def _joining(given: str, entering: str) -> Iterator[Step]:
    channels, joined = (int(shape.split("×")[2]) for shape in (given, entering))
    size = entering.rpartition("×")[0]
    yield Step("up-sampling 2×2", f"{size}×{channels}")
    if joined > channels:
        yield Step(f"with {joined - channels} of the encoder", entering)


ACTIVATIONS = {"ReLU", "ReLU6", "SiLU", "Swish", "Hardswish", "Sigmoid", "GELU", "Hardsigmoid", "LeakyReLU"}
"""Names of modules that are shown by them. What is added comes before one that ends a block."""


GATES = {"SCSEModule": "scSE"}
"""Modules that multiply what they are given by what several ways make of it, and their names."""
EXCITED = "squeeze and excitation"
POINT = "1×1×"
"""Shape of the mean of an image, and of what is left of a small one in the last blocks."""


def _text(module: "torch.nn.Module") -> str:
    """What a module is called in the figure; empty for what is not shown."""
    from torch import nn

    if isinstance(module, nn.Conv2d):
        height, width = module.kernel_size
        groups = f", {module.groups} groups" if module.groups > 1 else ""
        stride = f", stride {module.stride[0]}" if module.stride[0] > 1 else ""
        return f"convolution {height}×{width}{groups}{stride}"
    if isinstance(module, nn.BatchNorm2d):
        return "batch normalisation"
    name = type(module).__name__
    return name if name in ACTIVATIONS else GATES.get(name, "")


def _shape(tensor: "torch.Tensor") -> str:
    _, channels, height, width = tensor.shape
    return f"{height}×{width}×{channels}"


@figures.styled
def draw(recipe: Recipe) -> Figure:
    """Figure 7: the blocks of a recipe's network, with the shape of what each step gives.

    Args:
        recipe: Of an ensemble the first segmenting member is drawn.
    """
    part = next(part for part in recipe.parts() if part.role == "segment")
    blocks = of(part)
    longest = max(len(block.steps) + (block.shortcut is not None) for block in blocks)
    figure = figures.Canvas(figsize=(WIDTH * len(blocks), ROW * (longest + 1) + 0.6), layout="constrained")
    for axes, block in zip(figure.subplots(1, len(blocks), squeeze=False)[0], blocks, strict=True):
        axes.set_axis_off()
        axes.set(xlim=(0, WIDTH), ylim=(-ROW * (longest + 0.5), 0.5 * ROW))
        axes.set_title(block.title, loc="center")
        _column(axes, block)
    rows = [
        [block.title.replace("\n", ": "), way, step.text, step.shape]
        for block in blocks
        for way, steps in (("steps", block.steps), ("shortcut", block.shortcut or []))
        for step in steps
    ]
    alt = "; ".join(f"{b.title.replace(chr(10), ': ')}: {b.given} to {b.steps[-1].shape}" for b in blocks) + "."
    data = pd.DataFrame(rows, columns=["block", "way", "step", "shape"])
    return figures.finish(figure, "figure-7", f"The blocks of {part.network.encoder}", alt, data)


def _column(axes: Axes, block: Block) -> None:
    """One block from top to bottom, what goes around it on the left."""
    middle = WIDTH / 2 if block.shortcut is None else MIDDLE
    axes.text(middle, 0, block.given, ha="center", va="center", fontsize=8, color=MUTED)
    y = 0.0
    for place, step in enumerate(block.steps):
        if block.shortcut is not None and place == block.joined:
            y = _sum(axes, y, block.shortcut)
        y = _box(axes, middle, y, step)
    if block.shortcut is not None and block.joined == len(block.steps):
        _sum(axes, y, block.shortcut)


def _sum(axes: Axes, y: float, shortcut: list[Step]) -> float:
    """The sum below the step at y, with the way around from the top of the column; gives its own place."""
    here, start = y - ROW, -0.42 * ROW
    ends = [start]
    axes.plot([MIDDLE, LEFT], [start, start], color=MUTED, linewidth=0.9)
    for place, step in enumerate(shortcut, 1):
        ends.append(_box(axes, LEFT, start + (here - start) * place / (len(shortcut) + 1) + ROW, step, arrow=False))
    for above, below in zip(ends, [*ends[1:], here], strict=True):
        gap = 0.32 * ROW
        axes.plot(
            [LEFT, LEFT], [above - gap * (above != start), below + gap * (below != here)], color=MUTED, linewidth=0.9
        )
    axes.annotate("", (MIDDLE - 0.13, here), (LEFT, here), arrowprops=ARROW)
    axes.annotate("", (MIDDLE, here + 0.3 * ROW), (MIDDLE, y - 0.3 * ROW), arrowprops=ARROW)
    axes.text(MIDDLE, here, "+", ha="center", va="center", fontsize=9, bbox={**FRAME, "boxstyle": "circle,pad=0.15"})
    return here


def _box(axes: Axes, x: float, y: float, step: Step, arrow: bool = True) -> float:
    """A step below the one at y; gives its own place."""
    here = y - ROW
    if arrow:
        axes.annotate("", (x, here + 0.3 * ROW), (x, y - 0.3 * ROW), arrowprops=ARROW)
    text = f"{step.text}  →  {step.shape}" if step.text not in ACTIVATIONS else step.text
    axes.text(x, here, text, ha="center", va="center", fontsize=6.5, color=INK, bbox=FRAME)
    return here
