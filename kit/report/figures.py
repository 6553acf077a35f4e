"""Figures: drawn by matplotlib, kept as SVG, PNG and CSV beside the report, shown in it in its own colours."""

import hashlib
import html
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from kit.core.files import write_bytes, write_text

INK, MUTED, GRID, PAPER = "#1c2430", "#5b6675", "#d9dfe7", "#fdfdfe"
SERIES = ("#0b6fb8", "#d9622b", "#2f8f5b", "#8a4fc0", "#b08800", "#c2356f", "#3a8f9c", "#6b7280")
TRUTH, FOUND = "#0891b2", "#ea580c"
"""Of the truth and of a predicted mask: apart for every kind of colour vision, on grey X-rays too."""
VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    GRID: "line",
    PAPER: "card",
    **{colour: f"series-{number}" for number, colour in enumerate(SERIES)},
}
"""The page's CSS variable for each colour."""
STYLE = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a run may be called anything, "$x$" too
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": GRID,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "lines.linewidth": 1.8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "legend.handlelength": 1.4,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}
_DPI = 200
styled = matplotlib.rc_context(STYLE)  # type: ignore[arg-type]  # its keys are a list of 300 names
"""Decorates a function that draws."""


@dataclass(frozen=True)
class Figure:
    """A drawing with the numbers behind it."""

    name: str
    """Of its files, without an ending."""
    title: str
    alt: str
    """What a person who does not see it should know."""
    svg: str
    png: bytes
    data: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Writes NAME.svg, NAME.png and NAME.csv."""
        write_text(folder / f"{self.name}.svg", self.svg)
        write_bytes(folder / f"{self.name}.png", self.png)
        write_text(folder / f"{self.name}.csv", self.data.to_csv(index=False, lineterminator="\n", float_format="%.6g"))

    @property
    def inline(self) -> str:
        """The drawing as part of a page: in its colours, read out by its text, ids its own."""
        body = self.svg[self.svg.index("<svg") :]
        body = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{self.name}-", body)
        for colour, name in VARIABLES.items():
            body = body.replace(colour, f"var(--{name})")
        body = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font: \1 var(--sans)", body)
        body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
        [head] = re.findall(r'viewBox="[^"]*"', body[: body.index(">")])
        label = html.escape(f"{self.title}. {self.alt}", quote=True)
        return re.sub(r"<svg[^>]*>", lambda _: f'<svg {head} role="img" aria-label="{label}">', body, count=1)


def draw(width: float = 4.7, height: float = 3.3) -> tuple[Canvas, Axes]:
    """An empty figure with one pair of axes, in inches.

    Every figure is one panel of this width: it can be read on a telephone and stands beside others on a wide screen.
    """
    figure = Canvas(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def finish(figure: Canvas, name: str, title: str, alt: str, data: pd.DataFrame) -> Figure:
    """The figure as SVG and PNG, the same bytes for the same content.

    Args:
        figure: What was drawn.
        name: Of its files and of its ids in a page; a run's name may be part of it.
        title: Of the figure.
        alt: What a person who does not see it should know.
        data: The numbers behind it.
    """
    name = safe_name(name)
    buffer, pixels = io.StringIO(), io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(pixels, format="png", dpi=_DPI, facecolor=PAPER, metadata={"Software": None})
    return Figure(name, title, alt, buffer.getvalue(), pixels.getvalue(), data)


def safe_name(text: str) -> str:
    """A text as the name of a file, an id and a part of an address; texts that differ keep different names.

    >>> safe_name("exp5-against-exp2"), safe_name('a"b')
    ('exp5-against-exp2', 'a-b-39a01277')
    """
    plain = re.sub(r"[^\w.-]", "-", text, flags=re.ASCII)
    return (
        plain if plain == text else f"{plain}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    )


def plain_ticks(axis: Axis) -> None:
    """Few ticks of a logarithmic axis, as plain numbers."""
    axis.set_major_locator(LogLocator(subs=(1, 3)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def colour(number: int) -> str:
    """The colour of the n-th series; they repeat."""
    return SERIES[number % len(SERIES)]


def marks(values: Sequence[float], count: int = 6) -> list[int]:
    """Indices of at most `count` evenly spaced values, for the ticks of an axis of categories.

    >>> marks(range(11), 3)
    [0, 5, 10]
    """
    last = len(values) - 1
    return sorted({round(step * last / max(1, count - 1)) for step in range(count)})
