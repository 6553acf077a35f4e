"""Figures: drawn by matplotlib, kept as SVG files beside the report, shown in it in its own colours."""

import functools
import hashlib
import html
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from pydantic import Field

from kit.core.documents import Document
from kit.core.files import write_text

INK, MUTED, GRID, PAPER = "#1c2430", "#5b6675", "#d9dfe7", "#fdfdfe"
SERIES = ("#0b6fb8", "#d9622b", "#2f8f5b", "#8a4fc0", "#b08800", "#c2356f", "#3a8f9c", "#6b7280")
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
SIZE = (4.7, 3.3)
"""Inches of a figure: it can be read on a telephone and stands beside others on a wide screen."""
CASES = "cases"
"""Id of the points of a figure that stand for cases, in the order of its `rows`."""
P = ParamSpec("P")


class Figure(Document):
    """A drawing with the numbers behind it."""

    name: str
    """Name of its file, without an ending, and how its ids in a page begin."""
    title: str
    alt: str
    """What a person who does not see it should know."""
    data: dict[str, list[Any]]
    """Its numbers, by column."""
    rows: list[int] | None = None
    """Rows of the cases that its points stand for, in their order: to choose cases by them."""
    svg: str = Field("", exclude=True, repr=False)

    def write(self, folder: Path) -> Path:
        """Writes NAME.svg, and returns its path."""
        path = folder / f"{self.name}.svg"
        write_text(path, self.svg)
        return path

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


class Drawn(NamedTuple):
    """What a function that draws tells of its drawing; see `Figure`."""

    name: str
    title: str
    alt: str
    data: pd.DataFrame
    rows: Sequence[int] | None = None
    size: tuple[float, float] = SIZE


def figure(draw: Callable[Concatenate[Axes, P], Drawn]) -> Callable[P, Figure]:
    """Makes of a function that draws on empty axes one that returns the figure: the same bytes for the same content."""

    @functools.wraps(draw)
    def drawn(*arguments: P.args, **options: P.kwargs) -> Figure:
        with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]  # its keys are a list of 300 names
            canvas = Canvas(figsize=SIZE, layout="constrained")
            axes = canvas.subplots()
            name, title, alt, data, rows, size = draw(axes, *arguments, **options)
            canvas.set_size_inches(*size)
            axes.set_title(title)
            name, picture = safe_name(name), io.StringIO()
            with matplotlib.rc_context({"svg.hashsalt": name}):
                canvas.savefig(picture, format="svg", metadata={"Date": None, "Creator": None})
        columns = {str(column): plain(data[column]) for column in data}
        chosen = None if rows is None else [int(row) for row in rows]
        return Figure(name=name, title=title, alt=alt, data=columns, rows=chosen, svg=picture.getvalue())

    return drawn


def plain(column: pd.Series) -> list[Any]:
    """A column as JSON values: what is missing or infinite is None.

    >>> plain(pd.Series([1.5, float("inf"), float("nan")]))
    [1.5, None, None]
    """
    return [None if pd.isna(value) or value in (np.inf, -np.inf) else value for value in column.tolist()]


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON values."""
    columns = {str(name): plain(table[name]) for name in table}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def safe_name(text: str) -> str:
    """A text as the name of a file, an id and a part of an address; texts that differ keep different names.

    >>> safe_name("exp5-against-exp2"), safe_name('a"b')
    ('exp5-against-exp2', 'a-b-39a01277')
    """
    plain = re.sub(r"[^\w.-]", "-", text, flags=re.ASCII)
    return (
        plain if plain == text else f"{plain}-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
    )


def scatter_cases(axes: Axes, x: Any, y: Any, positive: np.ndarray) -> None:
    """One point per case, in the order of `Figure.rows`, positive or negative in colours that a legend tells."""
    axes.scatter(x, y, s=16, c=np.array(SERIES)[positive.astype(int)], alpha=0.55, linewidths=0, gid=CASES)
    for number, name in enumerate(("negative", "positive")):
        axes.scatter([], [], s=16, color=SERIES[number], label=name)


def colour(number: int) -> str:
    """The colour of the n-th series; they repeat."""
    return SERIES[number % len(SERIES)]
