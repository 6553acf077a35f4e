"""Lets the site show the notebook of notebooks/ as a page, beside the file itself."""

import json
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

NOTEBOOK = "notebooks/kaggle-train.ipynb"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page, with a link to the file below its title."""
    cells = json.loads(Path(config.docs_dir, NOTEBOOK).read_text("utf-8"))["cells"]
    forms = {"markdown": "{}", "code": "```python\n{}\n```"}
    parts = [forms[cell["cell_type"]].format("".join(cell["source"])) for cell in cells]
    parts.insert(1, f"[The notebook]({Path(NOTEBOOK).name}) as a file.")
    files.append(File.generated(config, NOTEBOOK.replace(".ipynb", ".md"), content="\n\n".join(parts)))
    return files
