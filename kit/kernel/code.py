"""The code of a kernel: one script, or the same script as a notebook to read."""

import json
import re
from importlib import resources

from kit.core.errors import KitError

CELL = re.compile(r"^# %% ", re.MULTILINE)
"""Start of a part of the script: the rest of the line is its title, and the comments below the title explain it."""
_PART = re.compile(r"(.*)\n((?:#.*\n)*)([^\0]*)")
"""A part's title, explanation and code."""
SHARED = re.compile(r"^from kit\.kernel\.script_shared import (\(.*?\)|.*?)\n", re.MULTILINE | re.DOTALL)
"""The import of the shared part, which the finished script has above the rest instead."""


def script(kind: str, dataset: str, manifest: str, time_limit: float, **blanks: str) -> str:
    """Returns the source of a kernel's script, with its constants filled in.

    Args:
        kind: `predict` or `train`.
        dataset: Name of the kernel's data set.
        manifest: SHA-256 of the data set's manifest.
        time_limit: Seconds after which the script ends by itself.
        blanks: Further placeholders in the script, with their values.
    """
    shared, rest = _template("script_shared.py"), SHARED.sub("", _template(f"script_{kind}.py"))
    _, about, rest = rest.split('"""', 2)
    _, _, shared = shared.split('"""', 2)
    # In each part, the imports end before the first comment.
    (imports, shared), (more, rest) = (re.split(r"\n\n(?=# )", part.strip(), maxsplit=1) for part in (shared, rest))
    lines = {*imports.split("\n"), *more.strip().split("\n")}
    imports = "\n".join(sorted(lines, key=lambda line: (line.startswith("from"), line)))
    text = f'"""{about}"""\n\n{imports}\n\n{shared}\n\n\n{rest}\n'
    for blank, value in {
        "slug-of-the-dataset": dataset,
        "sha256-of-the-manifest": manifest,
        "TIME_LIMIT = 0.0": f"TIME_LIMIT = {time_limit}",
        **blanks,
    }.items():
        text = text.replace(blank, value)
    return text


def notebook(text: str, title: str) -> str:
    """Turns a script into a notebook of the same code, with cells for Colab before a training, and pictures at its end.

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
        explanation = re.sub(r"^# ?", "", prose, flags=re.MULTILINE)
        cells.append(_cell("markdown", f"## {heading}\n\n{explanation}"))
        cells += [_cell("code", source)] if source.strip() else []
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    kernelspec = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernelspec, "language_info": {"name": "python"}}
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}, indent=1) + "\n"


def as_script(text: str) -> str:
    """Returns the code of a notebook's cells, in order; a script is returned as it is."""
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
