"""Figures, drawn by matplotlib: SVG files beside the report, embedded in the page in the colours of its theme."""

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
    "text.parse_math": False,  # a run's name may contain "$x$"
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
"""Width and height of a figure in inches: legible on a phone, and several fit side by side on a wide screen."""
CASES = "cases"
"""Id of the SVG group whose points stand for cases, in the order of `Figure.rows`."""
P = ParamSpec("P")


class Figure(Document):
    """A drawing with the numbers behind it."""

    name: str
    """File name without its ending, and prefix of the figure's ids in a page."""
    title: str
    alt: str
    """Text alternative for people who cannot see the figure."""
    data: dict[str, list[Any]]
    """The numbers, by column."""
    rows: list[int] | None = None
    """Row of the case behind each point, so that points select cases; None if points are no cases."""
    svg: str = Field("", exclude=True, repr=False)

    def write(self, folder: Path) -> Path:
        """Writes NAME.svg, and returns its path."""
        path = folder / f"{self.name}.svg"
        write_text(path, self.svg)
        return path

    @property
    def inline(self) -> str:
        """The SVG for a page: with the colours of the page, a label for screen readers, and ids that are unique."""
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
    """Return value of a drawing function, see `Figure`."""

    name: str
    title: str
    alt: str
    data: pd.DataFrame
    rows: Sequence[int] | None = None
    size: tuple[float, float] = SIZE


def figure(draw: Callable[Concatenate[Axes, P], Drawn]) -> Callable[P, Figure]:
    """Turns a function that draws on empty axes into one that returns a `Figure`, with reproducible bytes."""

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
        case_rows = None if rows is None else [int(row) for row in rows]
        return Figure(name=name, title=title, alt=alt, data=columns, rows=case_rows, svg=picture.getvalue())

    return drawn


def plain(column: pd.Series) -> list[Any]:
    """Converts a column to JSON values; missing and infinite values become None.

    >>> plain(pd.Series([1.5, float("inf"), float("nan")]))
    [1.5, None, None]
    """
    return [None if pd.isna(value) or value in (np.inf, -np.inf) else value for value in column.tolist()]


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Converts a table to a list of rows of JSON values."""
    columns = {str(name): plain(table[name]) for name in table}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def safe_name(text: str) -> str:
    """Makes a text safe as a file name, an id and a part of a URL; different texts get different names.

    >>> safe_name("exp5-against-exp2"), safe_name('a"b')
    ('exp5-against-exp2', 'a-b-39a01277')
    """
    safe = re.sub(r"[^\w.-]", "-", text, flags=re.ASCII)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return text if safe == text else f"{safe}-{digest[:8]}"


def scatter_cases(axes: Axes, x: Any, y: Any, positive: np.ndarray) -> None:
    """Draws one point per case, in the order of `Figure.rows`, and legend entries for positives and negatives."""
    axes.scatter(x, y, s=16, c=np.array(SERIES)[positive.astype(int)], alpha=0.55, linewidths=0, gid=CASES)
    for number, name in enumerate(("negative", "positive")):
        axes.scatter([], [], s=16, color=SERIES[number], label=name)


def colour(number: int) -> str:
    """Returns the colour of the n-th series; colours repeat."""
    return SERIES[number % len(SERIES)]
