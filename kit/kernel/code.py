"""The code of a kernel: one script, or the same script as a notebook to read."""

import json
import re
from importlib import resources

from kit.core.errors import KitError

CELL = re.compile(r"^# %% ", re.MULTILINE)
"""Begins a part of the script; the line is its title, and comments right below it tell a reader about it."""
_PART = re.compile(r"(.*)\n((?:#.*\n)*)([^\0]*)")
"""The title of a part, what it tells a reader, and its code."""
SHARED = re.compile(r"^from kit\.kernel\.script_shared import (\(.*?\)|.*?)\n", re.MULTILINE | re.DOTALL)
"""By what name a part of a script knows the shared part, which stands above it in the whole."""


def script(kind: str, dataset: str, manifest: str, time_limit: float, **blanks: str) -> str:
    """A kernel's source, with its constants filled in.

    Args:
        kind: `predict` or `train`.
        dataset: Name of the data set with its files.
        manifest: SHA-256 of the data set's manifest.
        time_limit: Seconds after which it comes to its end.
        blanks: What stands for further words of that kind's script.
    """
    shared, own = _template("script_shared.py"), SHARED.sub("", _template(f"script_{kind}.py"))
    _, about, own = own.split('"""', 2)
    _, _, shared = shared.split('"""', 2)
    (imports, shared), (more, own) = (re.split(r"\n\n(?=# )", part.strip(), maxsplit=1) for part in (shared, own))
    lines = {*imports.split("\n"), *more.strip().split("\n")}
    imports = "\n".join(sorted(lines, key=lambda line: (line.startswith("from"), line)))
    text = f'"""{about}"""\n\n{imports}\n\n{shared}\n\n\n{own}\n'
    for blank, value in {
        "slug-of-the-dataset": dataset,
        "sha256-of-the-manifest": manifest,
        "TIME_LIMIT = 0.0": f"TIME_LIMIT = {time_limit}",
        **blanks,
    }.items():
        text = text.replace(blank, value)
    return text


def notebook(text: str, title: str) -> str:
    """A script as a notebook: a cell for each of its parts, what Colab needs where it trains, and pictures at its end.

    It runs the very script, so that it writes the same bytes.

    Args:
        title: Heading of the notebook.
    """
    head, *parts = CELL.split(text)
    _, about, head = head.split('"""', 2)
    kind = "predict" if "SUBMISSION = " in text else "train"
    parts = [f"What it was built for\n{head}", *parts, *CELL.split(_template(f"cells_after_{kind}.txt"))[1:]]
    if kind == "train":
        parts = CELL.split(_template("cells_before_train.txt"))[1:] + parts
    cells = [_cell("markdown", f"# {title}\n\n{about}")]
    for _, heading, prose, source, _ in map(_PART.split, parts):
        told = re.sub(r"^# ?", "", prose, flags=re.MULTILINE)
        cells.append(_cell("markdown", f"## {heading}\n\n{told}"))
        cells += [_cell("code", source)] if source.strip() else []
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    about_it = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return json.dumps({"cells": cells, "metadata": about_it, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def as_script(text: str) -> str:
    """The code of a notebook's cells in their order."""
    if not text.startswith("{"):
        return text
    try:
        cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
        return "\n\n".join("".join(cell["source"]) for cell in cells) + "\n"
    except (ValueError, LookupError, TypeError, RecursionError):
        raise KitError("the kernel's file is no valid notebook: run `make kernel` again") from None


def _template(name: str) -> str:
    return (resources.files("kit.kernel") / name).read_text("utf-8")


def _cell(kind: str, source: str) -> dict:
    cell = {"cell_type": kind, "id": "", "metadata": {}, "source": source.strip().splitlines(keepends=True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})
