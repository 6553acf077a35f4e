"""Tables as Markdown."""

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """A Markdown table; None is an empty cell.

    >>> print(table(["a", "b"], [[1, None]]))
    | a | b |
    |---|---|
    | 1 |  |
    """
    lines = [header, *rows]
    text = [
        "| " + " | ".join("" if cell is None else str(cell).replace("|", "\\|") for cell in line) + " |"
        for line in lines
    ]
    return "\n".join([text[0], "|" + "---|" * len(header), *text[1:]])
